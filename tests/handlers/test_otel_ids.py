"""The ids of traces, where the provider has its own idea of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.handlers.otel import OpenTelemetryHandler


class XRay(IdGenerator):
    """Trace ids as AWS X-Ray wants them: the first 32 bits are the seconds since the epoch."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        self.made.append(int(time.time()) << 96 | self._random.generate_trace_id() & (1 << 96) - 1)
        return self.made[-1]


class Watching(SpanProcessor):
    """A processor that might do anything, so spans take the SDK's way."""


class Otel:
    def __init__(self, generator: IdGenerator, way: str, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(id_generator=generator, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        if way == "sdk":
            self.provider.add_span_processor(Watching())
        self.handler = OpenTelemetryHandler(self.provider, **options)
        self.manager = CallbackManager([self.handler], raise_handler_errors=True)

    def traces(self) -> dict[str, set[int]]:
        """Flush, and return the trace ids of the spans by their names."""
        assert self.manager.flush(10)
        found: dict[str, set[int]] = {}
        for span in self.exporter.get_finished_spans():
            assert span.context is not None
            found.setdefault(span.name, set()).add(span.context.trace_id)
        return found


ways = pytest.mark.parametrize("way", ["lean", "sdk"])


@ways
def test_a_trace_that_begins_here_has_the_id_that_the_generator_gives(way: str) -> None:
    """One id for each trace; spans of user code inside, and what is sent to other processes, have the same."""
    generator = XRay()
    otel = Otel(generator, way)
    sent: dict[str, str] = {}

    async def job(_: int) -> None:
        with otel.provider.get_tracer("user").start_as_current_span("user"):
            inject(sent)

    with use_callback_manager(otel.manager):
        asyncio.run(async_map(job, range(3), desc="batch"))
        with otel.manager.event(name="second"):
            pass
    first, second = generator.made
    traces = otel.traces()
    assert traces.pop("second") == {second}
    assert set(itertools.chain(*traces.values())) == {first}
    assert sent["traceparent"].split("-")[1] == f"{first:032x}"
    assert str(otel.handler.path).startswith(way)


@ways
def test_a_trace_that_goes_on_keeps_its_id(way: str) -> None:
    """Under a span of the user's the generator is not asked: it has been, for that span."""
    generator = XRay()
    otel = Otel(generator, way)
    with otel.provider.get_tracer("user").start_as_current_span("outer"), otel.manager.event(name="inner"):
        pass
    assert len(generator.made) == 1
    assert otel.traces() == {"outer": {generator.made[0]}, "inner": {generator.made[0]}}


@ways
def test_shards_begin_with_the_same_time(way: str) -> None:
    """Of each shard's id the first 32 bits are the run's."""
    generator = XRay()
    otel = Otel(generator, way, max_spans_per_trace=20)

    async def job(_: int) -> None:
        pass

    with use_callback_manager(otel.manager):
        asyncio.run(async_map(job, range(100), desc="batch"))
    (run,) = generator.made
    (shards,) = [ids for name, ids in otel.traces().items() if name.endswith("shard")]
    assert len(shards) > 4
    assert run not in shards
    assert {trace_id >> 96 for trace_id in shards} == {run >> 96}


@ways
@pytest.mark.parametrize("wrong", [0, 1 << 128])
def test_what_is_no_id_is_not_taken(way: str, wrong: int) -> None:
    """A generator that gives nothing valid leaves the event's own id."""

    class Wrong(XRay):
        def generate_trace_id(self) -> int:
            return wrong

    otel = Otel(Wrong(), way)
    with otel.manager.event(name="step") as step:
        pass
    assert otel.traces() == {"step": {step.trace_id}}


@pytest.mark.parametrize("is_random", [True, False])
@ways
def test_ids_are_called_random_only_if_the_generator_calls_them_so(way: str, is_random: bool) -> None:
    """The W3C flag is that of a span which the SDK makes by the same generator."""

    class Saying(XRay):
        def is_trace_id_random(self) -> bool:
            return is_random

    otel = Otel(Saying(), way)
    with otel.provider.get_tracer("user").start_as_current_span("theirs"):
        pass
    with otel.manager.event(name="ours"):
        pass
    otel.traces()
    flags = {
        span.name: span.context.trace_flags for span in otel.exporter.get_finished_spans() if span.context
    }
    assert flags["ours"] == flags["theirs"]
