"""Spans built without the SDK's tracer: the same objects, within the same limits, at the exporter's pace."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, TraceState

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.handlers.otel import OpenTelemetryHandler, _kin, _lean
from spanloom.handlers.otel._draft import Draft, Origin
from spanloom.handlers.otel._kin import JobSpan
from tests.handlers.otlp import Receiver

REMOTE = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("k", "v")]))


class Passive(SpanProcessor):
    """Does nothing, which we cannot know: it has the spans built by the SDK."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK logs every attribute that it drops or cuts, a thousand times in a property test."""
    for name in ("opentelemetry.attributes", "opentelemetry.trace.status"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)


async def job(number: int) -> None:
    await asyncio.sleep(0)


def jobs_of(
    provider: TracerProvider, count: int, *, remote: SpanContext | None = None
) -> OpenTelemetryHandler:
    """Run `count` jobs whose spans go to `provider`, all the way to its exporters."""
    handler = OpenTelemetryHandler(provider, max_spans_per_trace=None)
    manager = CallbackManager([handler], raise_handler_errors=True)

    async def main() -> None:
        if remote is not None:
            context_api.attach(trace_api.set_span_in_context(NonRecordingSpan(remote)))
        await async_map(job, range(count), limit=10, desc="batch")

    with use_callback_manager(manager):
        asyncio.run(main())
    assert manager.close(30)
    return handler


def both(count: int, **options: Any) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """Return the jobs' spans of a run the lean way, and of another the SDK's."""
    found = []
    for processors in ([], [Passive()]):
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False, **options)
        for processor in (*processors, SimpleSpanProcessor(exporter)):
            provider.add_span_processor(processor)
        jobs_of(provider, count, remote=REMOTE)
        found.append([span for span in exporter.get_finished_spans() if span.name == "job"])
    return found[0], found[1]


# span objects ---------------------------------------------------------------------------------------------


def members_of(span: ReadableSpan) -> dict[str, Any]:
    """Return everything that a span tells by its public names, but for what differs from run to run."""
    public = [
        name
        for name in dir(ReadableSpan)
        if not name.startswith("_") and name not in {"to_json", "instrumentation_info"}
    ]
    found = {name: getattr(span, name) for name in public}
    found["get_span_context"] = found["get_span_context"]() == found["context"]
    context, parent = found.pop("context"), found.pop("parent")
    found["context"] = (context.trace_id, *context[2:])
    found["parent"] = (parent.trace_id, *parent[2:])
    found["attributes"] = {**found["attributes"], "spanloom.job.queue_s": None}
    found["status"] = (span.status.status_code, span.status.description)
    for changing in ("start_time", "end_time", "resource"):
        assert found.pop(changing) is not None
    return found


def test_a_job_s_span_says_what_the_sdk_s_says() -> None:
    """Every public name of a readable span gives the same, whoever made it."""
    lean, theirs = both(3)
    assert [type(span) for span in lean] == [JobSpan] * 3
    assert all(isinstance(span, ReadableSpan) and type(span) is not JobSpan for span in theirs)
    assert [members_of(span) for span in lean] == [members_of(span) for span in theirs]
    with pytest.warns(DeprecationWarning, match="instrumentation_scope"):
        assert lean[0].instrumentation_info == theirs[0].instrumentation_info


def test_a_job_s_span_as_json_is_the_sdk_s() -> None:
    """The console exporter and whoever else writes `to_json` see no difference."""
    lean, theirs = both(1)

    def parsed(span: ReadableSpan) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(span.to_json())
        for changing in ("start_time", "end_time", "parent_id"):
            assert isinstance(found.pop(changing), str)
        del found["context"]["span_id"], found["attributes"]["spanloom.job.queue_s"]
        return found

    assert parsed(lean[0]) == parsed(theirs[0])


def test_a_span_of_limits_that_bite_is_the_sdk_s() -> None:
    """Limits below what a job's span says drop and cut just what the SDK would."""
    limits = SpanLimits(max_span_attributes=2, max_span_attribute_length=1)
    lean, theirs = both(2, span_limits=limits)
    assert [span.dropped_attributes for span in lean] == [2, 2]
    assert [members_of(span) for span in lean] == [members_of(span) for span in theirs]


def test_a_span_can_be_copied_and_lacks_what_a_span_lacks() -> None:
    """It behaves as an object of its class: copies are equal, unknown names are errors."""
    (span, _), _ = both(2)
    other = copy.copy(span)
    assert other.to_json() == span.to_json()
    assert other.context == span.context
    with pytest.raises(AttributeError, match="nonsense"):
        span.nonsense  # type: ignore[attr-defined]  # noqa: B018 -- that is the question
    with pytest.raises(AttributeError):
        JobSpan.__new__(JobSpan).name  # noqa: B018 -- the same


def test_the_console_exporter_prints_every_span() -> None:
    """An exporter of the SDK's that reads everything, attached by anyone."""
    out = io.StringIO()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=lambda s: s.to_json(None) + "\n"))
    )
    jobs_of(provider, 3)
    printed = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [span["name"] for span in printed] == ["job", "job", "job", "batch"]
    assert sorted(span["attributes"]["spanloom.job.index"] for span in printed[:3]) == [0, 1, 2]


def test_attributes_that_nobody_reads_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that counts spans, or looks at ids, has no attribute made for it."""
    made: list[Any] = []
    original = _kin.end_attributes

    def counted(*args: Any) -> Any:
        made.append(args)
        return original(*args)

    monkeypatch.setattr(_kin, "end_attributes", counted)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    jobs_of(provider, 2)
    span, other, _ = exporter.get_finished_spans()
    assert span.context != other.context
    assert made == []
    assert sorted(found.attributes["spanloom.job.index"] for found in (span, other) if found.attributes) == [
        0,
        1,
    ]
    assert len(made) == 2
    assert (span.name, (span.attributes or {})["spanloom.type"]) == ("job", "job")
    assert len(made) == 2


def test_nothing_is_built_of_what_is_not_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that the caller has not sampled makes no span and no attribute."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def fail(*_: object) -> Any:
        raise AssertionError

    for name in ("Draft", "finish"):
        monkeypatch.setattr(_lean, name, fail)
    monkeypatch.setattr("spanloom.handlers.otel._starts.end_attributes", fail)
    monkeypatch.setattr(_kin, "end_attributes", fail)
    monkeypatch.setattr(_kin, "JobSpan", fail)
    jobs_of(provider, 100, remote=SpanContext(7, 8, is_remote=True))
    assert exporter.get_finished_spans() == ()


# drafts ------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
keys = st.text(max_size=3)
attributes = st.dictionaries(keys, values, max_size=4)
contexts = st.builds(SpanContext, st.integers(0, 3), st.integers(0, 3), st.booleans())
codes = st.sampled_from(StatusCode)
calls = st.lists(
    st.one_of(
        st.tuples(st.just("set_attribute"), keys, values),
        st.tuples(st.just("add_event"), st.text(max_size=3), st.none() | attributes, st.integers(1, 9)),
        st.tuples(st.just("add_link"), contexts, st.none() | attributes),
        st.tuples(st.just("update_name"), st.text(max_size=3)),
        st.tuples(st.just("set_status"), codes, st.none() | st.text(max_size=3)),
        st.tuples(st.just("set_status"), st.builds(Status, codes, st.none() | st.text(max_size=3))),
    ),
    max_size=12,
)
counts = st.none() | st.integers(0, 3)
limits = st.builds(
    lambda *numbers: SpanLimits(*(SpanLimits.UNSET if number is None else number for number in numbers)),
    *[counts] * 8,
)


@settings(deadline=None, max_examples=300)
@given(attributes, calls, limits)
def test_a_draft_becomes_what_the_sdk_s_span_becomes(
    first: dict[str, Any], calls: list[tuple[Any, ...]], limits: SpanLimits
) -> None:
    """The same calls give the same span, limits, dropped counts and order included."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits, resource=Resource({}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer: Any = provider.get_tracer("draft")
    theirs = tracer.start_span("name", attributes=dict(first), start_time=1)
    ours = Draft(Origin(tracer), "name", theirs.get_span_context(), None, 1, dict(first))
    for span in (theirs, ours):
        for method, *arguments in calls:
            getattr(span, method)(*arguments)
    theirs.end(2)
    (expected,) = exporter.get_finished_spans()
    span = ours.end(2)
    assert span.to_json() == expected.to_json()
    for name in (
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "resource",
        "instrumentation_scope",
    ):
        assert getattr(span, name) == getattr(expected, name)
    dropped = [
        [item.dropped_attributes for item in (*found.events, *found.links)] for found in (span, expected)
    ]
    assert dropped[0] == dropped[1]
    assert list(span.attributes or {}) == list(expected.attributes or {})


# outlets -------------------------------------------------------------------------------------------------------


class Slow(SpanExporter):
    """Counts spans, and takes its time over every batch of them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.spans: list[ReadableSpan] = []
        self.never = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.never.wait(self.seconds)
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize("is_lean", [True, False])
@pytest.mark.parametrize(("queue", "batch"), [(10, 10), (1, 1), (300, 7)])
def test_a_small_queue_loses_nothing(
    is_lean: bool, queue: int, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch processor with a queue far smaller than a list of events is given no more than it holds."""
    exporter = Slow(0.001)
    provider = TracerProvider(shutdown_on_exit=False)
    if not is_lean:
        provider.add_span_processor(Passive())
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=queue, max_export_batch_size=batch)
    )
    handler = jobs_of(provider, 1000)
    provider.shutdown()
    assert (
        len({span.context.span_id for span in exporter.spans if span.context}) == len(exporter.spans) == 1001
    )
    assert "Queue full" not in caplog.text
    assert handler.path is None  # it is closed


@pytest.mark.parametrize("is_lean", [True, False])
def test_a_collector_and_another_exporter_get_the_same_spans(
    is_lean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans go to a collector as bytes and to an exporter as objects, every one to both, once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    receiver = Receiver()
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    if not is_lean:
        provider.add_span_processor(Passive())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(receiver.url)))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    jobs_of(provider, 700)
    sent = [int.from_bytes(span.span_id, "big") for span in receiver.spans()]
    kept = [span.context.span_id for span in memory.get_finished_spans() if span.context]
    assert len(sent) == len(kept) == 701
    assert set(sent) == set(kept)
    provider.shutdown()
    receiver.close()


def test_user_spans_still_go_through_the_provider_s_own_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline of ours stands for the processor where our spans are concerned, and nowhere else."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    receiver = Receiver()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(receiver.url)))
    manager = CallbackManager([OpenTelemetryHandler(provider)], raise_handler_errors=True)
    with manager.event(name="step"), provider.get_tracer("user").start_as_current_span("query"):
        pass
    assert manager.close(5)
    step, query = sorted(receiver.spans(), key=lambda span: str(span.name), reverse=True)
    assert (step.name, query.name) == ("step", "query")
    assert (query.parent_span_id, query.trace_id) == (step.span_id, step.trace_id)
    provider.shutdown()
    receiver.close()


@pytest.mark.parametrize("is_lean", [True, False])
def test_a_span_that_cannot_be_sent_is_named_and_harms_no_other(
    is_lean: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """User code links to an id that no protocol can carry: that span is lost, counted, and named in the log."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    receiver = Receiver()
    provider = TracerProvider(shutdown_on_exit=False)
    if not is_lean:
        provider.add_span_processor(Passive())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(receiver.url)))
    handler = OpenTelemetryHandler(provider)
    manager = CallbackManager([handler], raise_handler_errors=True)
    for name in ("before", "broken", "after"):
        with manager.event(name=name):
            if name == "broken":
                trace_api.get_current_span().add_link(SpanContext(1 << 200, 1, is_remote=False), {"a": 1})
    assert manager.close(5)
    assert [span.name for span in receiver.spans()] == ["before", "after"]
    stats = handler.stats()
    assert (stats.produced, stats.exported, stats.dropped) == (3, 2, 1)
    assert stats.reasons == {"not encodable": 1}
    assert [record.getMessage()[:41] for record in caplog.records if "spanloom" in record.name] == [
        "the span 'broken' cannot be sent by OTLP:"
    ]
    provider.shutdown()
    receiver.close()


def test_more_batches_than_are_remembered_are_built_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand batches at once keep what their jobs share for some of them only."""
    monkeypatch.setattr(_lean, "MAX_KIN", 2)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = OpenTelemetryHandler(provider)
    manager = CallbackManager([handler], raise_handler_errors=True)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(async_map(job, range(20), limit=2, desc=f"batch {number}"))

    with use_callback_manager(manager):
        asyncio.run(main())
    manager.flush(5)
    spans = exporter.get_finished_spans()
    batches = {span.context.span_id: span.name for span in spans if span.context and span.name != "job"}
    parents = [span.parent.span_id for span in spans if span.name == "job" and span.parent]
    assert len(batches) == 10
    assert {parent: parents.count(parent) for parent in parents} == dict.fromkeys(batches, 20)
    manager.close()
