"""Where finished spans go when there are several ways out: none holds up user code, and none holds up another."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.callbacks.table import hand_over_to
from spanloom.concurrency.map import async_map
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.otel._kin import JobSpan
from tests.handlers.otel_peers import HttpCollector, listener, silent
from tests.waited import waited


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpCollector]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HttpCollector() as collector:
        yield collector


class Slow(SpanExporter):
    """Takes its time, and notes on which threads that is."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.threads: set[int] = set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.threads.add(threading.get_ident())
        time.sleep(0.002)
        self.names.extend(span.name for span in spans)
        return SpanExportResult.SUCCESS


class Marking(SpanProcessor):
    """A processor that the lean way cannot serve."""

    def on_start(self, span: object, parent_context: object = None) -> None:
        span.set_attribute("mine", 1)  # type: ignore[attr-defined] -- the SDK's span


async def run(manager: CallbackManager) -> None:
    async def job(number: int) -> None:
        await asyncio.sleep(0)

    with use_callback_manager(manager), manager.event("whole"):
        await async_map(job, range(100), limit=10, desc="batch")


@pytest.mark.parametrize("way", ["lean", "sdk"])
@pytest.mark.parametrize("has_pipe", [True, False])
def test_with_a_spool_no_exporter_is_called_in_the_tasks_of_user_code(
    tmp_path: Path, collector: HttpCollector, way: str, has_pipe: bool
) -> None:
    """What goes to disk goes at once; a slow exporter beside it, or alone, gets every span on another thread."""
    provider, slow = TracerProvider(shutdown_on_exit=False), Slow()
    if way == "sdk":
        provider.add_span_processor(Marking())
    provider.add_span_processor(SimpleSpanProcessor(slow))
    if has_pipe:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector.url)))
    handler = OpenTelemetryHandler(provider, spool=tmp_path)
    manager = CallbackManager([handler], raise_handler_errors=True)
    asyncio.run(run(manager))
    assert str(handler.path).startswith(way)
    assert manager.flush(10)
    assert len(slow.names) == 102
    assert threading.get_ident() not in slow.threads
    assert len(set(collector.span_ids)) == len(collector.span_ids) == (102 if has_pipe else 0)
    assert manager.close()
    provider.shutdown()


def test_a_dead_collector_costs_another_one_no_span(collector: HttpCollector) -> None:
    """At the end, all have the whole time side by side, whichever of them was put in first."""
    provider = TracerProvider(shutdown_on_exit=False)
    with listener(silent) as port:
        for url in (f"http://127.0.0.1:{port}/v1/traces", collector.url):
            exporter = OTLPSpanExporter(url, timeout=1)
            provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
        manager = CallbackManager([OpenTelemetryHandler(provider)])
        asyncio.run(run(manager))
        assert not manager.flush(0.5)
        assert len(set(collector.span_ids)) == 102
        asyncio.run(run(manager))
        with waited() as seconds:
            assert not manager.close()
        assert seconds() < 5
    assert len(set(collector.span_ids)) == len(collector.span_ids) == 204
    provider.shutdown()


def test_an_exporter_that_hangs_costs_a_collector_no_span(collector: HttpCollector) -> None:
    """What the provider's own processors do with the time of a flush is not taken from the pipelines."""
    gone_on = threading.Event()

    class Hanging(Slow):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            gone_on.wait(30)
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Hanging()))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(collector.url), schedule_delay_millis=60_000)
    )
    manager = CallbackManager([OpenTelemetryHandler(provider)])
    asyncio.run(run(manager))
    assert not manager.flush(1.0)
    assert len(collector.span_ids) == 102
    asyncio.run(run(manager))
    manager.close()
    assert len(collector.span_ids) == 204
    gone_on.set()
    provider.shutdown()


def test_a_fork_in_the_middle_of_anything_leaves_the_child_with_free_locks() -> None:
    """Whoever held a lock of the handler or of its metrics is not in the child, which makes spans of its own."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    connected = OpenTelemetryHandler(provider, MeterProvider([reader], shutdown_on_exit=False))
    fresh = OpenTelemetryHandler(provider)
    asyncio.run(run(CallbackManager([connected], raise_handler_errors=True)))
    assert connected._connection is not None
    metrics = connected._connection.metrics
    assert metrics is not None
    exporter.clear()
    read, write = os.pipe()
    locks = metrics._lock, fresh._lock
    for lock in locks:
        lock.acquire()
    child = os.fork()
    if not child:
        signal.alarm(10)  # its default action ends a child that is stuck
        manager = CallbackManager([connected, fresh], raise_handler_errors=True)
        asyncio.run(run(manager))
        is_done = manager.flush(5)
        has_metrics = reader.get_metrics_data() is not None
        os.write(write, f"{is_done} {has_metrics} {len(exporter.get_finished_spans())}".encode())
        os._exit(0)
    for lock in locks:
        lock.release()
    os.close(write)
    with os.fdopen(read, "rb") as told:
        assert told.read() == b"True True 204"
    os.waitpid(child, 0)


def test_a_provider_that_is_shut_down_first_costs_no_span(collector: HttpCollector) -> None:
    """The provider's own hook may come first at the end of a process: the pipeline goes on until the handler's."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(collector.url)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    handler = OpenTelemetryHandler(provider)
    manager = CallbackManager([handler])
    asyncio.run(run(manager))
    assert provider.force_flush()
    provider.shutdown()
    manager.close()  # it is told of a failed flush: that of the provider
    assert handler.stats().exported == len(set(collector.span_ids)) == 102


class Queued:
    """A provider with a batch processor that exports when it is told to, and its queue."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.processor = BatchSpanProcessor(self.exporter, schedule_delay_millis=60_000)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.queue = self.processor._batch_processor._queue

    def spans(self) -> list[ReadableSpan]:
        assert self.provider.force_flush()
        return list(self.exporter.get_finished_spans())


def hand_over(queued: Queued) -> None:
    """Run, and have the spans handed to the processor, but not exported."""
    handler = OpenTelemetryHandler(queued.provider)
    asyncio.run(run(CallbackManager([handler], raise_handler_errors=True)))
    assert hand_over_to(handler, 5)


def test_spans_go_into_the_queue_of_a_batch_processor_without_being_looked_at() -> None:
    """A list of them at once, in order; of their parts none is made that nobody reads."""
    queued = Queued()
    hand_over(queued)
    waiting = list(reversed(queued.queue))
    made = [span for span in waiting if type(span) is not JobSpan or _is_set(span, "_context")]
    assert len(waiting) == 102
    assert len(made) <= 4  # the batch, the event around it, the first and the last of a list
    assert [span.name for span in queued.spans()] == [span.name for span in waiting]
    assert len({span.context.span_id for span in queued.spans() if span.context}) == 102
    queued.provider.shutdown()


def _is_set(span: JobSpan, name: str) -> bool:
    try:
        JobSpan.__dict__[name].__get__(span)
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("which", ["on_end", "emit"])
def test_a_batch_processor_that_somebody_has_patched_is_called_with_every_span(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever counts what goes to the SDK's class goes on counting."""
    queued = Queued()
    owner = BatchSpanProcessor if which == "on_end" else type(queued.processor._batch_processor)
    original = getattr(owner, which)
    seen: list[object] = []

    @functools.wraps(original)
    def counting(self: object, span: object) -> None:
        seen.append(span)
        original(self, span)

    monkeypatch.setattr(owner, which, counting)
    hand_over(queued)
    assert len(seen) == len(queued.spans()) == 102
    queued.provider.shutdown()


def test_a_batch_processor_that_is_shut_down_is_left_to_say_so(caplog: pytest.LogCaptureFixture) -> None:
    """It counts and tells what it ignores; nothing is left in a queue that nobody empties."""
    queued = Queued()
    queued.provider.shutdown()
    caplog.set_level("INFO", "opentelemetry.sdk._shared_internal")
    hand_over(queued)
    assert not queued.queue
    assert "Shutdown called, ignoring" in caplog.text


def test_a_batch_processor_begins_anew_in_another_process_before_it_takes_spans() -> None:
    """What it does when it notices a fork, it does before anything is appended."""
    queued = Queued()
    queued.queue.append(object())  # of the parent's, which sends it
    queued.processor._batch_processor._pid = -1
    hand_over(queued)
    assert len(queued.spans()) == 102
    queued.provider.shutdown()
