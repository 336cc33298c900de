"""A provider that a handler is attached to flushes and shuts down what goes past its processors, too."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanloom.callbacks import CallbackManager, get_callback_manager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.handlers.otel import OpenTelemetryHandler, configure
from spanloom.handlers.otel._attached import Attached
from tests.handlers.otel_peers import HttpCollector, listener, silent
from tests.waited import waited

JOBS = 100


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpCollector]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HttpCollector() as collector:
        yield collector


class Marking(SpanProcessor):
    """A processor that the lean way cannot serve."""

    def on_start(self, span: object, parent_context: object = None) -> None:
        span.set_attribute("mine", 1)  # type: ignore[attr-defined] -- the SDK's span


def provider_to(url: str) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(url, timeout=1), schedule_delay_millis=60_000)
    )
    return provider


def attached_to(provider: TracerProvider) -> list[Attached]:
    inside = provider._active_span_processor._span_processors
    return [processor for processor in inside if isinstance(processor, Attached)]


def run(manager: CallbackManager) -> None:
    async def job(_: int) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await async_map(job, range(JOBS), limit=10, desc="batch")

    with use_callback_manager(manager):
        asyncio.run(main())


@pytest.mark.parametrize("way", ["lean", "sdk"])
def test_the_providers_flush_sends_everything_that_has_ended(collector: HttpCollector, way: str) -> None:
    """Also what the handler's own thread has not seen yet; each span once, and so again after more of them."""
    provider = provider_to(collector.url)
    if way == "sdk":
        provider.add_span_processor(Marking())
    manager = CallbackManager([handler := OpenTelemetryHandler(provider)], raise_handler_errors=True)
    for times in (1, 2):
        run(manager)
        assert provider.force_flush(10_000) is True
        assert len(set(collector.span_ids)) == len(collector.span_ids) == times * (JOBS + 1)
    assert str(handler.path).startswith(way)
    assert manager.close(5)
    provider.shutdown()
    assert len(collector.span_ids) == 2 * (JOBS + 1)


def test_the_providers_shutdown_sends_everything_and_ends_nothing(collector: HttpCollector) -> None:
    """What ends after it is sent all the same: it is not for us to lose what the program does in its last moments."""
    provider = provider_to(collector.url)
    manager = CallbackManager([OpenTelemetryHandler(provider)], raise_handler_errors=True)
    run(manager)
    provider.shutdown()
    assert len(collector.span_ids) == JOBS + 1
    run(manager)
    manager.close(5)
    assert len(set(collector.span_ids)) == len(collector.span_ids) == 2 * (JOBS + 1)


def test_what_other_exporters_are_to_get_reaches_them_before_they_shut_down() -> None:
    """Events that wait for the handler's thread become spans first."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    manager = CallbackManager([OpenTelemetryHandler(provider)], raise_handler_errors=True)
    run(manager)
    provider.shutdown()
    assert len(exporter.get_finished_spans()) == JOBS + 1
    manager.close(5)


def test_a_provider_has_one_processor_for_all_handlers_and_keeps_none_alive(collector: HttpCollector) -> None:
    """Handlers come and go; those that are there are flushed, and what is left of the others is nothing."""
    provider = provider_to(collector.url)
    gone: list[weakref.ref[OpenTelemetryHandler]] = []
    for _ in range(5):
        with CallbackManager([handler := OpenTelemetryHandler(provider)]) as manager:
            run(manager)
        gone.append(weakref.ref(handler))
        del handler, manager
    both = [CallbackManager([OpenTelemetryHandler(provider)]) for _ in range(2)]
    for manager in both:
        run(manager)
    gc.collect()
    assert [ref() for ref in gone] == [None] * 5
    (attached,) = attached_to(provider)
    assert len(attached.handlers) == 2
    assert provider._active_span_processor._span_processors[0] is attached
    before = len(collector.span_ids)
    assert provider.force_flush(10_000) is True
    assert len(collector.span_ids) == before + 2 * (JOBS + 1)
    for manager in both:
        manager.close(5)
    provider.shutdown()


def test_a_flush_of_the_handler_does_not_flush_itself_once_more(collector: HttpCollector) -> None:
    """Manager, handler, provider, and back: the way ends there, with nothing waiting for itself."""
    provider = provider_to(collector.url)
    manager = CallbackManager([OpenTelemetryHandler(provider)], raise_handler_errors=True)
    run(manager)
    began = time.monotonic()
    assert manager.flush(20)
    assert time.monotonic() - began < 10
    results: list[bool] = []
    run(manager)
    threads = [threading.Thread(target=lambda: results.append(manager.flush(20))) for _ in range(4)]
    threads += [
        threading.Thread(target=lambda: results.append(provider.force_flush(20_000))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)
    assert results == [True] * 8
    assert len(set(collector.span_ids)) == len(collector.span_ids) == 2 * (JOBS + 1)
    manager.close(5)
    provider.shutdown()


def test_a_hook_that_flushes_the_provider_is_not_kept_waiting() -> None:
    """On the handler's own thread, what waits for that thread cannot be waited for."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    results: list[bool] = []

    class Flushing(SimpleSpanProcessor):
        def on_end(self, span: object) -> None:
            super().on_end(span)  # type: ignore[arg-type] -- the SDK's span
            results.append(provider.force_flush(20_000))

    provider.add_span_processor(Flushing(exporter))
    manager = CallbackManager([OpenTelemetryHandler(provider)], raise_handler_errors=True)
    began = time.monotonic()
    with manager.event(name="step"):
        pass
    assert manager.flush(20)
    assert time.monotonic() - began < 10
    assert results == [False]  # what it knows is that not everything has been handed over
    manager.close(5)


def test_a_dead_collector_leaves_the_other_processors_half_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The flush comes back in time and says that something is left; what others export is exported."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with listener(silent) as port:
        exporter = InMemorySpanExporter()
        provider = provider_to(f"http://127.0.0.1:{port}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
        manager = CallbackManager([OpenTelemetryHandler(provider)])
        run(manager)
        with waited() as seconds:
            assert provider.force_flush(2_000) is False
        assert seconds() < 5
        assert len(exporter.get_finished_spans()) == JOBS + 1
        (attached,) = attached_to(provider)
        with waited() as seconds:
            attached.shutdown()  # the flush has just waited in vain
        assert seconds() < 1
        manager.close(0.1)


def test_configure_flushes_by_its_provider_as_well(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was given a provider by `configure` and flushes that has sent the jobs of the default manager."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
    with configure() as configuration:
        run(get_callback_manager())
        assert configuration.tracer_provider.force_flush(10_000)
        assert len(collector.span_ids) == JOBS + 1
    assert len(collector.span_ids) == JOBS + 1


def test_a_provider_that_calls_its_processors_at_once_is_left_alone(collector: HttpCollector) -> None:
    """Its threads would be asked about every span; a flush of the manager does everything."""
    provider = TracerProvider(
        shutdown_on_exit=False, active_span_processor=(many := ConcurrentMultiSpanProcessor(2))
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector.url)))
    manager = CallbackManager([OpenTelemetryHandler(provider)], raise_handler_errors=True)
    run(manager)
    assert manager.flush(10)
    assert len(collector.span_ids) == JOBS + 1
    assert len(many._span_processors) == 1
    manager.close(5)
    provider.shutdown()
