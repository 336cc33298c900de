"""Spans that are built one by one, with a spool, are those that are built list by list, without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace as trace_api
from opentelemetry.trace import SpanContext

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.events import EventType
from spanloom.handlers.otel import ExportCounts, OpenTelemetryHandler
from tests.handlers.otel_peers import HttpCollector, spans_of


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpCollector]:
    with HttpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield collector


def spans(collector: HttpCollector) -> list[Any]:
    return [span for request in collector.requests for span in spans_of(request)]


async def work(manager: CallbackManager) -> None:
    async def job(number: int) -> int:
        await asyncio.sleep(0)
        if number % 100 == 7:
            raise ValueError(number)
        if number % 100 == 8:
            manager.emit(EventType("cache"), {"hit": True})
        if number % 100 == 9:
            await async_map(inner, range(3), desc="inner")
        if number % 100 == 10:
            with manager.event("step", {"number": number}):
                pass
        return number

    async def inner(number: int) -> int:
        return number

    with manager.event("whole"):
        both = [async_map(job, range(700), limit=20, on_error="return", desc=name) for name in ("one", "two")]
        await asyncio.gather(*both)


def test_the_spool_changes_no_span(
    tmp_path: Path, collector: HttpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one run, both ways give the same spans, byte by byte: jobs, failures, points, nested batches, shards."""
    spooled, plain = OpenTelemetryHandler(spool=tmp_path), OpenTelemetryHandler()
    manager = CallbackManager([spooled, plain])
    with use_callback_manager(manager):
        asyncio.run(work(manager))
    assert manager.close()
    by_id: dict[bytes, list[bytes]] = {}
    for span in spans(collector):
        by_id.setdefault(span.span_id, []).append(span.SerializeToString(deterministic=True))
    assert len(by_id) > 1400
    assert {len(both) for both in by_id.values()} == {2}
    different = [both for both in by_id.values() if both[0] != both[1]]
    assert different == []
    assert spooled.stats().exported == plain.stats().exported == len(by_id)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["memory", "spool"])
def test_a_span_that_cannot_be_encoded_is_counted(
    tmp_path: Path, collector: HttpCollector, store: str
) -> None:
    """A link to an id that no protocol can carry loses one span, and the account says which way it went."""
    handler = OpenTelemetryHandler(spool=tmp_path if store == "spool" else None)
    manager = CallbackManager([handler])
    with use_callback_manager(manager):
        for name in ("whole", "broken"):
            with manager.event(name=name):
                if name == "broken":
                    link = SpanContext(1 << 200, 1, is_remote=False)
                    trace_api.get_current_span().add_link(link, {"a": 1})
    assert manager.close()
    assert [span.name for span in spans(collector)] == ["whole"]
    assert handler.stats() == ExportCounts(2, 1, 1, 0, {"not encodable": 1})
