"""A batch of 100,000 jobs in Jaeger: it opens, with every failed job in it, and no trace is larger than the limit."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from spanloom.callbacks import CallbackManager, get_callback_manager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.handlers.otel import OpenTelemetryHandler, TailPolicy
from tests.jaeger.conftest import poll
from tests.jaeger.facts import SpanFacts, from_older_api, from_otlp
from tools.backends import Jaeger

COUNT = 100_000
LIMIT = 500
FAILING = frozenset(range(137, COUNT, 331))


async def job(number: int) -> None:
    """Fail, or have a step inside, or do nothing for a turn of the loop."""
    if number % 100 == 7:
        with get_callback_manager().event(name="step"):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(0)
    if number in FAILING:
        raise ValueError(f"no {number}")


def run(jaeger: Jaeger, service: str, **options: Any) -> None:
    """Run the batch; its spans are in Jaeger when this returns."""
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{jaeger.http_url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    manager = CallbackManager([OpenTelemetryHandler(provider, **options)], raise_handler_errors=True)
    with use_callback_manager(manager):
        asyncio.run(async_map(job, range(COUNT), limit=64, on_error="skip", desc="embed"))
    assert manager.flush(120)
    assert manager.stats().handlers[0].dropped == 0
    assert manager.close(10)
    provider.shutdown()


def found(jaeger: Jaeger, service: str, **tags: str) -> list[SpanFacts]:
    """Return the spans of all traces in which Jaeger's page would find these tags."""
    return from_older_api(jaeger.traces(service, limit=10_000, tags=json.dumps(tags)), service)


def is_job(span: SpanFacts) -> bool:
    return span.attributes.get("spanloom.type") == "job"


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Talk to Jaeger directly."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.usefixtures("no_proxy")
def test_a_batch_of_100_000_jobs_opens(jaeger: Jaeger) -> None:
    """From the batch's span to any failed job, by links and by search, in both APIs; no trace above the limit."""
    service = "large"
    run(jaeger, service)
    (batch,) = poll(
        lambda: [
            span for span in found(jaeger, service, **{"spanloom.type": "batch"}) if span.name == "embed"
        ],
        lambda spans: len(spans) == 1,
    )
    told = {key: batch.attributes[f"spanloom.batch.{key}"] for key in ("size", "ok", "failed")}
    assert told == {"size": COUNT, "ok": COUNT - len(FAILING), "failed": len(FAILING)}
    shards = batch.attributes["spanloom.shards"]
    assert COUNT / LIMIT <= shards <= COUNT / LIMIT * 1.1

    whole = poll(
        lambda: found(jaeger, service, **{"spanloom.batch.id": batch.attributes["spanloom.batch.id"]}),
        lambda spans: sum(map(is_job, spans)) >= COUNT,
    )
    assert sorted(span.attributes["spanloom.job.index"] for span in whole if is_job(span)) == list(
        range(COUNT)
    )
    sizes = Counter(span.trace_id for span in whole)
    assert len(sizes) == shards + 1
    assert max(sizes.values()) <= LIMIT
    ids = {(span.trace_id, span.span_id) for span in whole}
    assert all((span.trace_id, span.parent_id) in ids for span in whole if span.parent_id)
    failed = {
        span.attributes["spanloom.job.index"] for span in whole if is_job(span) and span.status == "ERROR"
    }
    assert failed == FAILING

    assert len(batch.links) == 128
    for trace_id, span_id, _ in batch.links[:: len(batch.links) // 4]:
        shard = from_otlp(jaeger.trace(trace_id), service)
        assert len(shard) == sizes[trace_id]
        (root,) = [span for span in shard if not span.parent_id]
        assert root.span_id == span_id
        assert (batch.trace_id, batch.span_id) in {link[:2] for link in root.links}
        of_shard = [span for span in shard if is_job(span)]
        assert root.attributes["spanloom.shard.failed"] == sum(span.status == "ERROR" for span in of_shard)
        indices = {span.attributes["spanloom.job.index"] for span in of_shard}
        first, last = (root.attributes[f"spanloom.shard.{which}_job"] for which in ("first", "last"))
        assert indices == set(range(first, last + 1))


@pytest.mark.usefixtures("no_proxy")
def test_a_sifted_batch_opens_as_one_trace(jaeger: Jaeger) -> None:
    """With a policy, every failed job and a few of the others are in two traces instead of two hundred."""
    service = "sifted"
    since_ns = time.time_ns()
    run(jaeger, service, tail=TailPolicy(slowest=30, random=40))
    spans = poll(
        lambda: from_otlp(jaeger.find_spans(service, since_ns, time.time_ns()), service),
        lambda spans: any(span.name == "embed" for span in spans),
    )
    jobs = [span for span in spans if is_job(span)]
    failed = {span.attributes["spanloom.job.index"] for span in jobs if span.status == "ERROR"}
    assert failed == FAILING
    assert len(jobs) == len(FAILING) + 30 + 40
    (batch,) = [span for span in spans if span.name == "embed"]
    assert batch.attributes["spanloom.batch.left_out"] == COUNT - len(jobs)
    assert batch.attributes["spanloom.batch.size"] == COUNT
    assert len({span.trace_id for span in spans}) == 2
