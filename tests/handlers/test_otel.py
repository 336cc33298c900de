"""Spans and metrics of events: ids, parents, times, status, attributes, sampling."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, TraceState

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.concurrency.retry import retry
from spanloom.events import Event
from spanloom.handlers.otel import OpenTelemetryHandler
from tests.handlers import otel_setup
from tests.handlers.otel_setup import id_of, parent_of, trace_of


class Recorder:
    """Keeps every ended event, to compare the spans with."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event_end(self, event: Event) -> None:
        self.events.append(event)


class Setup(otel_setup.Setup):
    """The same, with a second handler that keeps the events, to compare the spans with."""

    def __init__(self, sampler: Sampler | None = None, **options: Any) -> None:
        super().__init__(sampler, **options)
        self.recorder = Recorder()
        self.manager.add_handler(self.recorder)


@pytest.fixture(autouse=True)
def nothing_was_detached(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert "detach" not in caplog.text


@pytest.fixture
def otel() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    setup.manager.close()


# ids, parents, times ----------------------------------------------------------------------------------


async def fails(number: int) -> None:
    await asyncio.sleep(0)
    if number == 1:
        raise ValueError("one")


def test_every_event_is_a_span_with_its_ids_parent_and_times(otel: Setup) -> None:
    """The trace in the backend is the tree of events: nothing added, nothing missing, nothing moved."""

    async def outer(number: int) -> None:
        with otel.manager.event("step", name="prepare"):
            await async_map(fails, range(3), limit=2, desc="inner", on_error="return")

    async def main() -> None:
        with otel.manager.as_trace("all"):
            await async_map(outer, range(4), limit=2)

    otel.run(main())
    expected = {
        event.event_id: (event.name, event.parent_id, event.trace_id, event.start_wall_ns, event.end_wall_ns)
        for event in otel.recorder.events
    }
    actual = {
        id_of(span): (span.name, parent_of(span), trace_of(span), span.start_time, span.end_time)
        for span in otel.spans()
    }
    assert len(actual) == 1 + 1 + 4 + 4 + 4 + 12
    assert actual == expected


def test_a_thousand_concurrent_traces_stay_apart(otel: Setup) -> None:
    """Each root has a trace of its own, and its job is in it."""

    async def one(number: int) -> None:
        with otel.manager.as_trace(f"trace {number}"):
            await async_map(asyncio.sleep, [0], desc="batch")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(1000):
                group.create_task(one(number))

    otel.run(main())
    spans = otel.spans()
    assert len(spans) == 3000
    by_trace: dict[int, list[str]] = {}
    for span in spans:
        by_trace.setdefault(trace_of(span), []).append(span.name)
    assert len(by_trace) == 1000
    assert all(len(names) == 3 for names in by_trace.values())


def test_the_scope_and_the_resource_are_the_provider_s(otel: Setup) -> None:
    """Spans come from the instrumentation scope `spanloom` and carry the resource of the program."""
    otel.run(async_map(fails, [0]))
    for span in otel.spans():
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.name == "spanloom"
        assert span.resource is otel.provider.resource
        assert span.kind is trace_api.SpanKind.INTERNAL


# status and attributes --------------------------------------------------------------------------------


def test_a_good_end_leaves_the_status_unset(otel: Setup) -> None:
    """OK is for users to say; what a job says of itself is in its attributes."""
    otel.run(async_map(fails, [0], desc="batch"))
    job = otel.span("fails")
    assert job.status.status_code is StatusCode.UNSET
    assert job.attributes is not None
    assert {key: value for key, value in job.attributes.items() if key != "spanloom.job.queue_s"} == {
        "spanloom.type": "job",
        "spanloom.outcome": "ok",
        "spanloom.job.index": 0,
    }
    queue_s = job.attributes["spanloom.job.queue_s"]
    assert isinstance(queue_s, float)
    assert 0 < queue_s < 1


def test_an_error_is_an_error_with_its_type_message_and_place(otel: Setup) -> None:
    """A failed job says what was raised and where, as the semantic conventions name it."""
    otel.run(async_map(fails, [1], on_error="return", desc="batch"))
    job = otel.span("fails")
    assert (job.status.status_code, job.status.description) == (StatusCode.ERROR, "one")
    assert job.attributes is not None
    assert job.attributes["error.type"] == "ValueError"
    assert job.attributes["spanloom.outcome"] == "error"
    assert job.attributes["code.file.path"] == __file__
    assert job.attributes["code.function.name"] == "fails"
    assert job.attributes["code.line.number"] == fails.__code__.co_firstlineno + 3
    (exception,) = job.events
    assert exception.name == "exception"
    assert exception.timestamp == job.end_time
    assert exception.attributes is not None
    assert exception.attributes["exception.type"] == "ValueError"
    assert exception.attributes["exception.message"] == "one"
    assert "in fails\nValueError: one" in str(exception.attributes["exception.stacktrace"])
    batch = otel.span("batch")
    assert batch.status.status_code is StatusCode.UNSET


def test_a_cancelled_event_is_not_an_error(otel: Setup) -> None:
    """Cancelled is neither good nor bad: UNSET, with the outcome as an attribute and no exception."""
    with pytest.raises(asyncio.CancelledError), otel.manager.event(name="step"):
        raise asyncio.CancelledError
    span = otel.span("step")
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None
    assert span.attributes["spanloom.outcome"] == "cancelled"
    assert "error.type" not in span.attributes
    assert span.events == ()


def test_a_timeout_is_an_error_of_its_type(otel: Setup) -> None:
    """Timeouts are found by `error.type`, and by the outcome."""
    with pytest.raises(TimeoutError), otel.manager.event(name="step"):
        raise TimeoutError("5 s")
    span = otel.span("step")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "5 s")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "TimeoutError"
    assert span.attributes["spanloom.outcome"] == "timeout"


def test_a_retry_that_succeeds_in_the_end_is_not_an_error(otel: Setup) -> None:
    """The failed attempt is a child with ERROR; the retry around it is UNSET."""
    calls: list[int] = []

    async def flaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("busy")
        return "done"

    assert otel.run(retry(flaky, base_delay=0.001)) == "done"
    spans = otel.spans()
    attempts = [span for span in spans if (span.attributes or {}).get("spanloom.type") == "attempt"]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [(span.attributes or {})["spanloom.attempt"] for span in attempts] == [1, 2]
    (whole,) = [span for span in spans if (span.attributes or {}).get("spanloom.type") == "retry"]
    assert whole.status.status_code is StatusCode.UNSET
    assert {parent_of(span) for span in attempts} == {id_of(whole)}


def test_a_batch_says_its_totals(otel: Setup) -> None:
    """The span of a batch carries exact numbers."""
    otel.run(async_map(fails, range(5), limit=2, on_error="return", desc="batch"))
    batch = otel.span("batch")
    assert batch.attributes == {
        "spanloom.type": "batch",
        "spanloom.outcome": "ok",
        "spanloom.batch.runner": "async_map",
        "spanloom.batch.limit": 2,
        "spanloom.batch.size": 5,
        "spanloom.batch.ok": 4,
        "spanloom.batch.failed": 1,
        "spanloom.batch.cancelled": 0,
        "spanloom.batch.retried": 0,
    }


def test_payload_scalars_become_bounded_attributes(otel: Setup) -> None:
    """Numbers, booleans and texts are kept, cut to size; nothing else is, and no code of the user's runs."""

    class Loud(str):
        def __str__(self) -> str:
            raise AssertionError

        __format__ = __repr__ = __len__ = __str__  # type: ignore[assignment]  # one body for all of them

    payload: dict[str, object] = {
        "text": "x" * 1000,
        "loud": Loud("quiet"),
        "surrogate": "a\ud800b",
        "number": 7,
        "big": 1 << 70,
        "real": 0.5,
        "flag": True,
        "list": [1, 2],
        "object": object(),
        "none": None,
    }
    with otel.manager.event(name="step", payload=payload):
        pass
    attributes = dict(otel.span("step").attributes or {})
    assert attributes == {
        "spanloom.type": "step",
        "spanloom.outcome": "ok",
        "spanloom.payload.text": "x" * 255 + "…",
        "spanloom.payload.loud": "quiet",
        "spanloom.payload.surrogate": "a?b",
        "spanloom.payload.number": 7,
        "spanloom.payload.big": hex(1 << 70),
        "spanloom.payload.real": 0.5,
        "spanloom.payload.flag": True,
    }
    assert type(attributes["spanloom.payload.loud"]) is str


def test_many_payload_values_do_not_become_many_attributes() -> None:
    """A payload of a thousand values makes a span of a few dozen attributes, each no longer than was asked for."""
    otel = Setup(max_text=5)
    with otel.manager.event(name="step", payload={f"key {number}": "long text" for number in range(1000)}):
        pass
    attributes = otel.span("step").attributes or {}
    assert len(attributes) == 2 + 32
    assert attributes["spanloom.payload.key 0"] == "long…"


# point events -------------------------------------------------------------------------------------------


def test_a_point_event_is_a_span_event_of_its_parent(otel: Setup) -> None:
    """A mark inside a step is shown on the step's span, with its time and payload."""
    with otel.manager.event(name="step"):
        otel.manager.emit(payload={"page": 3}, name="page done")
    span = otel.span("step")
    (event,) = span.events
    assert event.name == "page done"
    assert event.attributes == {"spanloom.payload.page": 3}
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= event.timestamp <= span.end_time


def test_a_point_event_without_a_parent_is_a_span_of_no_length(otel: Setup) -> None:
    """Nothing is lost for want of a span to put it on."""
    otel.manager.emit(name="alone")
    span = otel.span("alone")
    assert span.start_time == span.end_time
    assert span.parent is None


def test_a_mark_of_a_task_that_outlives_its_parent_is_a_span_of_no_length(otel: Setup) -> None:
    """An event that has ended is nobody's parent: the mark lies under what is open around it, here under nothing."""

    async def main() -> None:
        async def late() -> None:
            await asyncio.sleep(0.01)
            otel.manager.emit(name="late")

        with otel.manager.event(name="step"):
            task = asyncio.create_task(late())
        await task

    otel.run(main())
    step, late = otel.spans()
    assert (step.name, late.name, parent_of(late)) == ("step", "late", None)
    assert late.start_time == late.end_time


def test_a_point_event_that_arrives_after_its_parent_becomes_a_span_at_the_end(otel: Setup) -> None:
    """A thread that marks a step of another thread while that ends it does not lose its mark."""
    with otel.manager.event(name="step"):
        otel.manager.emit(name="late")
    late, step = otel.manager.recorder.ended()
    other = Setup()
    other.handler.on_events([step])
    other.handler.on_events([late])
    assert [span.name for span in other.spans()] == ["step"]
    other.manager.close()
    step_span, late_span = other.exporter.get_finished_spans()
    assert (late_span.name, parent_of(late_span)) == ("late", id_of(step_span))


def test_point_events_of_one_span_are_bounded(otel: Setup) -> None:
    """A loop that marks every turn makes a span of 128 events and the number of the others."""
    with otel.manager.event(name="step"):
        for _ in range(1000):
            otel.manager.emit()
    span = otel.span("step")
    assert len(span.events) == 128
    assert (span.attributes or {})["spanloom.omitted"] == 872


# parents from outside ------------------------------------------------------------------------------------


def test_a_root_event_is_a_child_of_the_span_around_it(otel: Setup) -> None:
    """A batch inside a request's span is part of the request's trace."""

    async def main() -> None:
        with otel.tracer.start_as_current_span("request"):
            await async_map(fails, [0], desc="batch")

    otel.run(main())
    request, batch, job = otel.span("request"), otel.span("batch"), otel.span("fails")
    assert parent_of(batch) == id_of(request)
    assert parent_of(job) == id_of(batch)
    assert {trace_of(span) for span in otel.spans()} == {trace_of(request)}


@pytest.mark.parametrize("live_parents", [True, False])
def test_a_remote_parent_is_continued_with_its_flags_and_state(live_parents: bool) -> None:
    """A `traceparent` from a request decides the trace, its flags and the vendors' state."""
    otel = Setup(live_parents=live_parents)
    remote = SpanContext(
        0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("k", "v")])
    )

    async def main() -> None:
        context_api.attach(trace_api.set_span_in_context(NonRecordingSpan(remote)))
        await async_map(fails, [0], desc="batch")

    otel.run(main())
    spans = otel.spans()
    assert len(spans) == 2
    for span in spans:
        assert span.context is not None
        assert span.context.trace_id == 0xABC
        assert span.context.trace_flags == 1
        assert span.context.trace_state == TraceState([("k", "v")])
    assert parent_of(otel.span("batch")) == 0xDEF


def test_a_remote_parent_that_is_not_sampled_is_obeyed(otel: Setup) -> None:
    """What the caller does not want to see is not exported."""

    async def main() -> None:
        context_api.attach(trace_api.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True))))
        await async_map(fails, [0])

    otel.run(main())
    assert otel.spans() == []


# sampling ------------------------------------------------------------------------------------------------


def test_the_flags_are_those_of_the_sdk_s_own_spans(otel: Setup) -> None:
    """A backend cannot tell our spans from the SDK's by their flags."""
    with otel.tracer.start_as_current_span("theirs"):
        pass
    with otel.manager.event(name="ours"):
        pass
    theirs, ours = otel.span("theirs").context, otel.span("ours").context
    assert theirs is not None
    assert ours is not None
    assert ours.trace_flags == theirs.trace_flags


@pytest.mark.parametrize("sampler", [TraceIdRatioBased(0.5), ParentBased(TraceIdRatioBased(0.5))])
def test_a_trace_is_sampled_as_a_whole_and_user_spans_with_it(sampler: Sampler) -> None:
    """A sampled share of traces is complete, user code's spans included; of the others there is nothing."""
    otel = Setup(sampler)

    async def main() -> None:
        async def job(number: int) -> None:
            with otel.tracer.start_as_current_span("user"):
                await asyncio.sleep(0)

        for _ in range(200):
            await async_map(job, range(2), desc="batch")

    otel.run(main())
    by_trace: dict[int, list[str]] = {}
    for span in otel.spans():
        by_trace.setdefault(trace_of(span), []).append(span.name)
    assert 60 < len(by_trace) < 140
    assert {tuple(sorted(names)) for names in by_trace.values()} == {("batch", "job", "job", "user", "user")}


class ByName(Sampler):
    """Drops what is called `boring`, wherever it stands, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        self.asked.append(name)
        if name == "boring":
            return SamplingResult(Decision.DROP)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {"asked": True})

    def get_description(self) -> str:
        return "ByName"


def test_a_sampler_of_the_user_s_is_asked_once_about_every_event() -> None:
    """It may decide by name, and add attributes; its word at the start holds at the end."""
    sampler = ByName()
    otel = Setup(sampler)
    with otel.manager.event(name="root"), otel.manager.event(name="boring"), otel.manager.event(name="leaf"):
        context = trace_api.get_current_span().get_span_context()
        assert context.trace_flags.sampled
    assert sampler.asked == ["root", "boring", "leaf"]
    leaf, root = otel.spans()
    assert (leaf.name, root.name) == ("leaf", "root")
    assert (leaf.attributes or {})["asked"] is True
    assert (leaf.attributes or {})["spanloom.outcome"] == "ok"
    assert sampler.asked == ["root", "boring", "leaf"]


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)])
def test_nothing_is_exported_where_nothing_is_sampled(sampler: Sampler) -> None:
    """Off is off, for the user's spans inside, too, where they follow their parent."""
    otel = Setup(sampler)

    async def job(number: int) -> None:
        assert not trace_api.get_current_span().is_recording()

    otel.run(async_map(job, range(3)))
    assert otel.spans() == []


# somebody else's tracer ------------------------------------------------------------------------------------


class ForeignProvider(trace_api.TracerProvider):
    """A provider that is not the SDK's: it has no sampler, and its spans choose their own ids."""

    def __init__(self, inner: TracerProvider) -> None:
        self.inner = inner

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace_api.Tracer:
        tracer = self.inner.get_tracer("foreign")

        class Wrapped(trace_api.Tracer):
            def start_span(self, *args: Any, **kwargs: Any) -> trace_api.Span:
                return tracer.start_span(*args, **kwargs)

            start_as_current_span = trace_api.NoOpTracer.start_as_current_span

        return Wrapped()


def test_a_tracer_that_is_not_the_sdk_s_gets_the_same_tree() -> None:
    """Parents, times, status and user spans are right, whoever makes the spans."""
    plain = Setup()
    otel = OpenTelemetryHandler(ForeignProvider(plain.provider))
    recorder = Recorder()
    manager = CallbackManager([otel, recorder], raise_handler_errors=True)

    async def job(number: int) -> None:
        trace_api.get_current_span().set_attribute("mine", number)
        with plain.tracer.start_as_current_span("user"), manager.event(name="below"):
            await fails(number)

    with use_callback_manager(manager):
        asyncio.run(async_map(job, range(2), desc="batch", on_error="return"))
    assert manager.flush(5)
    spans = plain.exporter.get_finished_spans()
    batch = next(span for span in spans if span.name == "batch")
    jobs = [span for span in spans if span.name == "job"]
    users = [span for span in spans if span.name == "user"]
    assert {parent_of(span) for span in jobs} == {id_of(batch)}
    assert [parent_of(span) for span in users] == [id_of(span) for span in jobs]
    below = [span for span in spans if span.name == "below"]
    assert [parent_of(span) for span in below] == [id_of(span) for span in users]
    assert [(span.attributes or {})["mine"] for span in jobs] == [0, 1]
    assert [span.status.status_code for span in jobs] == [StatusCode.UNSET, StatusCode.ERROR]
    assert (batch.attributes or {})["spanloom.batch.failed"] == 1
    times = [(event.start_wall_ns, event.end_wall_ns) for event in recorder.events]
    assert sorted(times) == sorted((span.start_time or 0, span.end_time) for span in (*jobs, *below, batch))


# metrics ---------------------------------------------------------------------------------------------------


def metrics_of(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_metrics_count_every_event_once() -> None:
    """Durations by type, name and outcome in seconds; queue times; retries; what is running now."""
    reader = InMemoryMetricReader()
    otel = Setup(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    running: list[int] = []

    async def job(number: int) -> None:
        attempts: list[int] = []

        async def flaky() -> None:
            attempts.append(1)
            if number == 0 and len(attempts) == 1:
                raise OSError
            await asyncio.sleep(0.01)

        await retry(flaky, base_delay=0.001)
        if number == 2:
            (point,) = metrics_of(reader)["spanloom.jobs.in_flight"]
            running.append(point.value)
        await fails(number)

    otel.run(async_map(job, range(3), limit=1, desc="batch", on_error="return"))
    otel.spans()
    found = metrics_of(reader)
    durations = {
        tuple(sorted(point.attributes.items())): (point.count, point.sum)
        for point in found["spanloom.event.duration"]
        if point.attributes["spanloom.type"] == "job"
    }
    good = (("spanloom.name", "job"), ("spanloom.outcome", "ok"), ("spanloom.type", "job"))
    bad = (
        ("error.type", "ValueError"),
        ("spanloom.name", "job"),
        ("spanloom.outcome", "error"),
        ("spanloom.type", "job"),
    )
    assert {key: count for key, (count, _) in durations.items()} == {good: 2, bad: 1}
    assert 0.02 <= durations[good][1] < 1
    (queue,) = found["spanloom.job.queue.duration"]
    assert (queue.count, dict(queue.attributes)) == (3, {"spanloom.name": "job"})
    (retries,) = found["spanloom.retries"]
    assert retries.value == 1
    (in_flight,) = found["spanloom.jobs.in_flight"]
    assert (running, in_flight.value) == ([1], 0)


# the span that is current in a job ---------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["task", "context"])
def test_user_spans_nest_under_their_job(otel: Setup, isolation: Any) -> None:
    """A client library's span inside a job is the job's child, also when jobs share a worker."""

    async def job(number: int) -> None:
        with otel.tracer.start_as_current_span("query", attributes={"number": number}):
            await fails(number % 3)

    otel.run(async_map(job, range(9), limit=2, isolation=isolation, on_error="return", desc="batch"))
    spans = otel.spans()
    jobs = {id_of(span): span for span in spans if span.name == "job"}
    queries = [span for span in spans if span.name == "query"]
    assert len(queries) == len(jobs) == 9
    for query in queries:
        job_span = jobs[parent_of(query) or 0]
        assert (job_span.attributes or {})["spanloom.job.index"] == (query.attributes or {})["number"]
        assert trace_of(query) == trace_of(job_span)


def test_a_batch_inside_a_user_span_inside_a_job_is_the_user_span_s_child(otel: Setup) -> None:
    """The trace shows what happened inside what, whoever made the spans."""

    async def job(number: int) -> None:
        with otel.tracer.start_as_current_span("query"):
            await async_map(fails, [0], desc="inner")

    otel.run(async_map(job, [0], desc="outer"))
    assert parent_of(otel.span("inner")) == id_of(otel.span("query"))
    assert parent_of(otel.span("query")) == id_of(otel.span("job"))
    assert parent_of(otel.span("fails")) == id_of(otel.span("inner"))


def test_what_user_code_does_to_the_current_span_is_kept(otel: Setup) -> None:
    """Attributes, events, links, exceptions, a name and a status reach the job's span."""
    link = SpanContext(1, 2, is_remote=True)

    async def job(number: int) -> None:
        span = trace_api.get_current_span()
        assert span.is_recording()
        span.set_attribute("one", 1)
        span.set_attributes({"two": 2})
        span.add_event("seen", {"a": 1})
        span.add_link(link)
        span.update_name("renamed")
        span.record_exception(ValueError("not fatal"))
        span.set_status(Status(StatusCode.ERROR, "bad"))
        span.end()

    otel.run(async_map(job, [0], desc="batch"))
    span = otel.span("renamed")
    assert (span.attributes or {})["one"] == 1
    assert (span.attributes or {})["two"] == 2
    assert [event.name for event in span.events] == ["seen", "exception"]
    assert (span.events[1].attributes or {})["exception.message"] == "not fatal"
    assert [found.context for found in span.links] == [link]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "bad")


def test_what_user_code_does_is_bounded(otel: Setup) -> None:
    """A loop that adds an event every turn does not fill the memory; what was left out is counted."""
    with otel.manager.event(name="step"):
        for number in range(1000):
            trace_api.get_current_span().set_attribute("number", number)
    attributes = otel.span("step").attributes or {}
    assert (attributes["number"], attributes["spanloom.omitted"]) == (255, 744)


def test_the_caller_s_span_is_current_again_after_a_batch(otel: Setup) -> None:
    """Code after a batch writes to its own span, as if the batch had not been there."""

    async def main() -> None:
        with otel.tracer.start_as_current_span("request") as request:
            before = context_api.get_current()
            await async_map(fails, [0])
            assert trace_api.get_current_span() is request
            assert context_api.get_current() == before
            with otel.manager.event(name="step"):
                assert trace_api.get_current_span() is not request
            assert trace_api.get_current_span() is request

    otel.run(main())


def test_a_generator_closed_elsewhere_leaves_nothing_behind(otel: Setup) -> None:
    """What is current after an early close in another task is what was current before, and no token complains."""

    @otel.manager.trace("numbers")
    async def numbers() -> Any:
        for number in range(10):
            with otel.tracer.start_as_current_span("inside"):
                pass
            yield number

    async def main() -> None:
        with otel.tracer.start_as_current_span("request") as request:
            generator = numbers()
            assert await anext(generator) == 0
            await asyncio.create_task(generator.aclose())
            current = trace_api.get_current_span()
            assert current.get_span_context() == request.get_span_context()
            assert current.is_recording()
            current.set_attribute("kept", True)
            current.record_exception(ValueError("kept"))
            with otel.manager.event(name="after"), otel.tracer.start_as_current_span("deep"):
                pass

    otel.run(main())
    request = otel.span("request")
    assert (request.attributes or {})["kept"] is True
    assert [event.name for event in request.events] == ["exception"]
    assert parent_of(otel.span("inside")) == id_of(otel.span("numbers"))
    assert parent_of(otel.span("after")) == id_of(request)
    assert parent_of(otel.span("deep")) == id_of(otel.span("after"))


def test_held_events_that_end_elsewhere_do_not_pile_up(otel: Setup) -> None:
    """A bridge that starts and ends events by id in different threads keeps neither parents nor memory."""
    ids: list[int] = []
    with otel.tracer.start_as_current_span("request") as request:
        for _ in range(5):
            ids.append(otel.manager.on_event_start("llm", name="held"))
            thread = threading.Thread(target=otel.manager.on_event_end, args=(ids[-1],))
            thread.start()
            thread.join()
            assert trace_api.get_current_span().get_span_context() == request.get_span_context()
        live: Any = trace_api.get_current_span()
        assert trace_api.get_current_span(live.outer) is request  # one stand-in, not five
    assert len({trace_of(span) for span in otel.spans()}) == 1


def test_a_held_event_is_no_parent_of_what_its_caller_does_next(otel: Setup) -> None:
    """An event started by id does not become current for other events."""
    held = otel.manager.on_event_start("llm", name="held")
    with otel.manager.event(name="other"):
        pass
    otel.manager.on_event_end(held)
    assert otel.span("other").parent is None


def test_late_user_spans_stay_with_their_job(otel: Setup) -> None:
    """A task that a job left behind still belongs to it."""
    tasks: list[asyncio.Task[None]] = []

    async def left_behind() -> None:
        await asyncio.sleep(0.02)
        with otel.tracer.start_as_current_span("late"):
            pass

    async def job(number: int) -> None:
        tasks.append(asyncio.create_task(left_behind()))

    async def main() -> None:
        await async_map(job, [0], desc="batch")
        await asyncio.gather(*tasks)

    otel.run(main())
    assert parent_of(otel.span("late")) == id_of(otel.span("job"))


def test_without_live_parents_user_spans_are_left_alone() -> None:
    """The option is off: nothing is current that was not before, and roots still inherit."""
    otel = Setup(live_parents=False)

    async def job(number: int) -> None:
        assert trace_api.get_current_span() is request
        with otel.tracer.start_as_current_span("query"):
            pass

    request: trace_api.Span

    async def main() -> None:
        nonlocal request
        with otel.tracer.start_as_current_span("request") as request:
            await async_map(job, [0], desc="batch")

    otel.run(main())
    assert parent_of(otel.span("query")) == id_of(otel.span("request"))
    assert parent_of(otel.span("batch")) == id_of(otel.span("request"))
    assert parent_of(otel.span("job")) == id_of(otel.span("batch"))


def test_two_handlers_on_one_manager_each_get_the_whole_tree() -> None:
    """Two backends at once: neither handler's stand-ins confuse the other."""
    first, second = Setup(), Setup()
    manager = CallbackManager([first.handler, second.handler], raise_handler_errors=True)

    async def main() -> None:
        with manager.as_trace("root"):
            await async_map(fails, range(2), desc="batch", on_error="return")
        assert context_api.get_current() == context_api.Context()

    with use_callback_manager(manager):
        asyncio.run(main())
    manager.close()

    def tree(spans: Sequence[ReadableSpan]) -> set[tuple[str, int, int | None]]:
        return {(span.name, id_of(span), parent_of(span)) for span in spans}

    spans = first.exporter.get_finished_spans()
    assert len(spans) == 4
    assert tree(spans) == tree(second.exporter.get_finished_spans())
    assert [span.name for span in spans if span.parent is None] == ["root"]


def test_a_root_of_another_manager_lies_under_the_event_around_it() -> None:
    """A library with a manager of its own, called inside a step, is part of the step's trace."""
    outer, inner = Setup(), Setup()
    with outer.manager.event(name="outer"):
        with outer.manager.event(name="step"):
            root = inner.manager.on_event_start("step", name="root")
        inner.manager.on_event_end(root)  # and built when the step is over
    assert parent_of(inner.span("root")) == id_of(outer.span("step"))
    assert trace_of(inner.span("root")) == trace_of(outer.span("outer"))


def test_a_handler_added_in_the_middle_of_a_trace_sees_the_rest(otel: Setup) -> None:
    """Events that start later are exported under parents that are not."""
    otel.manager.remove_handler(otel.handler)
    with otel.manager.event(name="root"):
        otel.manager.add_handler(otel.handler)
        with otel.manager.event(name="child"):
            pass
    (child,) = otel.spans()
    root = next(event for event in otel.recorder.events if event.name == "root")
    assert (parent_of(child), trace_of(child)) == (root.event_id, root.trace_id)


def test_a_forked_child_exports_its_own_spans(otel: Setup) -> None:
    """A worker process forked after the first span delivers what it does."""
    with otel.manager.event(name="before"):
        pass
    otel.spans()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        otel.exporter.clear()
        with otel.manager.event(name="in the child"):
            pass
        done = otel.manager.flush(5)
        done = done and otel.handler.flush(5)
        os.write(write, f"{done} {[span.name for span in otel.exporter.get_finished_spans()]}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"True ['in the child']"
    os.close(read)
    os.close(write)


def test_notes_are_let_go_with_their_spans(otel: Setup) -> None:
    """After a run, the handler remembers the last traces and nothing of single events."""

    async def job(number: int) -> None:
        trace_api.get_current_span().set_attribute("number", number)
        with otel.tracer.start_as_current_span("query"), otel.manager.event(name="step"):
            otel.manager.emit()

    async def main() -> None:
        for _ in range(3):
            await async_map(job, range(500), limit=50)

    otel.run(main())
    otel.spans()
    starts: Any = otel.handler._starts()
    assert not starts._notes
    assert len(starts._traces) == 3


@pytest.mark.parametrize(
    ("what", "least"),
    [
        ("max_text", "at least 1"),
        ("max_content", "at least 16"),
        ("max_spans_per_trace", "at least 10, or None for no limit"),
    ],
)
def test_an_impossible_length_is_refused(what: str, least: str) -> None:
    """A text of no characters says nothing, and a number that is none would be told by whatever cuts the first text."""
    zero: Any = {what: 0}
    with pytest.raises(ValueError, match=rf"^{what} must be {least} \(got 0\)"):
        OpenTelemetryHandler(**zero)
    for wrong in (1e3, float("nan"), True, "256"):
        given: Any = {what: wrong}
        with pytest.raises(TypeError, match=rf"^{what} must be an int of {least} \(got {wrong!r}, "):
            OpenTelemetryHandler(**given)


def test_logging_is_quiet(otel: Setup, caplog: pytest.LogCaptureFixture) -> None:
    """A run with failures, cancels and nested batches logs nothing at all."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await async_map(asyncio.sleep, [0.01, 60, 60], desc="batch")

    with caplog.at_level(logging.WARNING):
        otel.run(main())
        assert len(otel.spans()) == 4
    assert caplog.records == []
