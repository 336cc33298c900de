"""The lean way and the SDK's way give the same spans: one run through both, compared on the wire.

Each run goes four ways at once, from the same events and the same notes of their starts: the lean way to bytes, the
lean way to objects that the SDK's exporter encodes, the SDK's way with the SDK's encoder, and the SDK's way all
through, batch processor and exporter included. The last is what the others are measured by.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, TraceState

from spanloom import link
from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.concurrency.rate import RateLimiter
from spanloom.concurrency.retry import RetryPolicy
from spanloom.events import BatchCounts, ErrorInfo, Event, EventStatus, Frame
from spanloom.events.event import JobDetail, JobEvent, JobFamily
from spanloom.events.trace import Trace
from spanloom.handlers.otel import OpenTelemetryHandler, remote_parent
from spanloom.handlers.otel._build import SpanBuilder
from spanloom.handlers.otel._outlets import Outlets, Pipe
from spanloom.handlers.otel._pipeline import open_pipeline
from spanloom.handlers.otel._starts import SpanStarts
from tests.handlers.otlp import Receiver

RESOURCE = Resource(
    {"service.name": "paths", "unicode": "größe", "list": ("a", "b")}, "https://example.org/r"
)
REMOTE = SpanContext(
    0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(3), trace_state=TraceState([("k", "v"), ("l", "w")])
)
TIGHT = {
    "max_span_attributes": 3,
    "max_events": 2,
    "max_links": 1,
    "max_event_attributes": 1,
    "max_link_attributes": 1,
    "max_attribute_length": 5,
}


class Passive(SpanProcessor):
    """Does nothing, which we cannot know."""


class Borrowed:
    """The starts of events as another builder sees them: it forgets nothing."""

    def __init__(self, starts: SpanStarts) -> None:
        self._starts = starts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._starts, name)

    def forget(self, event: Event) -> None:
        pass


class Way:
    """A provider of its own, with an exporter to a receiver of its own."""

    def __init__(self, sampler: Sampler, limits: dict[str, int], *, is_lean: bool, is_piped: bool) -> None:
        self.receiver = Receiver()
        self.is_piped = is_piped
        self.provider = TracerProvider(
            sampler, RESOURCE, shutdown_on_exit=False, span_limits=SpanLimits(**limits)
        )
        if not is_lean:
            self.provider.add_span_processor(Passive())
        exporter = OTLPSpanExporter(self.receiver.url)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.outlets = Outlets(self.open_pipe, self.provider.force_flush)

    def open_pipe(self, exporter: Any) -> Pipe | None:
        return open_pipeline(exporter) if self.is_piped else None

    def builder(self, handler: OpenTelemetryHandler) -> SpanBuilder:
        tracer = self.provider.get_tracer("spanloom", "1")
        starts: Any = Borrowed(handler._starts())  # type: ignore[arg-type]  # connected by its first event
        return SpanBuilder(tracer, starts, self.outlets, rules=handler._options.rules)

    def spans(self) -> dict[bytes, Any]:
        """Return what has arrived, by span id, user code's spans aside."""
        self.provider.force_flush()
        assert self.outlets.flush(5)
        found: dict[bytes, Any] = {}
        for _, request in self.receiver.requests:
            for resource in request.resource_spans:
                assert resource.schema_url == RESOURCE.schema_url
                assert {item.key for item in resource.resource.attributes} == set(RESOURCE.attributes)
                for scope in resource.scope_spans:
                    if scope.scope.name == "spanloom":
                        found.update({span.span_id: span for span in scope.spans})
        return found

    def close(self) -> None:
        self.outlets.close(5)
        self.provider.shutdown()
        self.receiver.close()


class Everywhere(OpenTelemetryHandler):
    """Sends every list of events the other ways, too, before it goes its own."""

    def __init__(self, provider: TracerProvider, others: Sequence[Way], **options: Any) -> None:
        # The roots of shards are built once only.
        super().__init__(provider, max_spans_per_trace=None, **options)
        self.ways = others
        self.others: list[SpanBuilder] = []

    def on_events(self, events: Sequence[Event]) -> None:
        if not self.others:
            self.others = [way.builder(self) for way in self.ways]
        for builder in self.others:
            builder.build(events)
        super().on_events(events)

    def close(self) -> None:
        for builder in self.others:
            builder.build_rest()
        super().close()


class Ways:
    """All ways, on one manager."""

    def __init__(self, sampler: Sampler, limits: dict[str, int], **options: Any) -> None:
        self.bytes = Way(sampler, limits, is_lean=True, is_piped=True)
        self.others = {
            "objects": Way(sampler, limits, is_lean=True, is_piped=False),
            "sdk, encoded": Way(sampler, limits, is_lean=False, is_piped=True),
            "sdk": Way(sampler, limits, is_lean=False, is_piped=False),
        }
        self.handler = Everywhere(self.bytes.provider, list(self.others.values()), **options)
        self.manager = CallbackManager([self.handler], raise_handler_errors=True)
        self.tracer = self.bytes.provider.get_tracer("user")

    def compare(self) -> dict[bytes, Any]:
        """Return the spans, the same whichever way they went."""
        assert self.manager.flush(10)
        assert str(self.handler.path).startswith("lean: ")
        assert [builder.plan.way for builder in self.handler.others] == ["lean", "sdk", "sdk"]
        self.manager.close()  # what is left comes out
        spans: dict[bytes, Any] = {}
        for _, request in self.bytes.receiver.requests:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    if scope.scope.name == "spanloom":
                        spans.update({span.span_id: span for span in scope.spans})
        for name, way in self.others.items():
            theirs = way.spans()
            assert theirs.keys() == spans.keys(), name
            for span_id, span in spans.items():
                assert span == theirs[span_id], name
        return spans

    def close(self) -> None:
        self.manager.close()
        for way in (self.bytes, *self.others.values()):
            way.close()


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ways]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made: list[Ways] = []

    def make(sampler: Sampler | None = None, limits: dict[str, int] | None = None, **options: Any) -> Ways:
        made.append(Ways(sampler or ParentBased(ALWAYS_ON), limits or {}, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def touch(span: trace_api.Span) -> None:
    """Do to a span whatever its interface allows, and some things that it does not."""
    values: dict[str, Any] = {
        "text": "größe" * 100,
        "surrogate": "a\ud800b",
        "huge": 1 << 80,
        "small": -(1 << 63),
        "nan": math.nan,
        "infinite": -math.inf,
        "yes": True,
        "texts": ["a", "b\udfff"],
        "numbers": (1, 2.5, 1 << 70),
        "nested": {"deep": [1, {"er": None}], "": 1},
        "bytes": b"\x00\xff",
        "none": None,
        "object": object(),
        "": "no key",
    }
    for key, value in values.items():
        span.set_attribute(key, value)
    span.set_attributes(values)
    span.set_attribute(7, 7)  # type: ignore[arg-type]  # what user code may do
    span.add_event("seen \ud800", values, 123)
    span.add_event("now")
    span.add_event("never", {"a": 1, "b": "long text"}, -5)
    span.add_event("sometimes", None, 2**63)
    span.add_link(REMOTE, {"why": "because", "more": 1})
    span.add_link(SpanContext(0, 0, is_remote=False))
    span.add_link(SpanContext(5, 6, is_remote=False))
    span.record_exception(ValueError("not fatal \udc80"), {"extra": 1})
    span.set_status(Status(StatusCode.ERROR, "bad \ud800"))


POLICY = RetryPolicy(attempts=3, base_delay=0.001)


class Raises:
    """A value that nobody can look at."""

    def __str__(self) -> str:
        raise RuntimeError


class Program:
    """What a program may run; one job of a batch for each of the methods in `cases`."""

    def __init__(self, manager: CallbackManager, tracer: trace_api.Tracer) -> None:
        self.manager = manager
        self.tracer = tracer
        self.failures: dict[int, int] = {}
        self.cases = (
            self.good, self.bad, self.late, self.touched, self.after_ok, self.too_many, self.odd, self.marks,
            self.inside_theirs, self.elsewhere, self.hangs, self.good,
        )  # fmt: skip

    async def good(self) -> None:
        await asyncio.sleep(0)

    async def bad(self) -> None:
        raise ValueError("größe \ud800")

    async def late(self) -> None:
        raise TimeoutError

    async def touched(self) -> None:
        touch(trace_api.get_current_span())

    async def after_ok(self) -> None:
        span = trace_api.get_current_span()
        span.set_status(StatusCode.OK)
        span.set_status(StatusCode.ERROR, "too late")
        raise OSError("after OK")

    async def too_many(self) -> None:
        span = trace_api.get_current_span()
        for turn in range(300):
            span.add_event(f"event {turn}", {f"key {key}": key for key in range(turn)})
            span.set_attribute(f"attribute {turn}", turn)

    async def odd(self) -> None:
        span = trace_api.get_current_span()
        span.set_attribute("raises", Raises())  # type: ignore[arg-type]  # what user code may do
        span.update_name("renamed \udfff")

    async def marks(self) -> None:
        for turn in range(200):
            payload = {"turn": turn, "text": "x" * 1000, "surrogate": "\ud800"}
            self.manager.emit(payload=payload, name="mark \ud800")

    async def inside_theirs(self) -> None:
        with self.tracer.start_as_current_span("theirs"):
            await async_map(asyncio.sleep, [0, 0], desc="in theirs")

    async def elsewhere(self) -> None:
        root = self.tracer.start_as_current_span("root of theirs", context_api.Context())
        with root, self.manager.event(name="moved"):
            pass

    async def hangs(self) -> None:
        await asyncio.sleep(60)

    async def flaky(self, number: int) -> int:
        self.failures[number] = count = self.failures.get(number, 0) + 1
        if count <= number % 3:
            raise ConnectionError(f"attempt {count}")
        return number

    async def nested(self, number: int) -> None:
        payload: dict[str, object] = {"model": "m" * 400, "tokens": 1 << 65, "cost": math.nan}
        with self.manager.event("llm", name="größe", payload=payload):
            await async_map(self.flaky, range(3), desc="inner", retry=POLICY, limit=1)

    async def run(self) -> None:
        manager = self.manager
        with manager.as_trace("everything"):
            manager.emit(payload={"page": 1}, name="in the root")
            await async_map(
                lambda case: case(), self.cases, limit=3, desc="jobs", on_error="return", timeout=1.0
            )
            await async_map(self.nested, range(3), desc="outer \ud800")
            await async_map(self.flaky, range(100, 130), retry=POLICY, limit=RateLimiter(1000, 1))
            with pytest.raises(asyncio.CancelledError), manager.event(name="cancelled"):
                raise asyncio.CancelledError
            with manager.event(name="many", payload={f"key {key}\ud800": key for key in range(100)}):
                pass
            touch(trace_api.get_current_span())
        manager.emit(name="alone", payload={"a": 1})
        await async_map(asyncio.sleep, [0] * 300, limit=50)  # indices of two bytes


@pytest.mark.slow
@pytest.mark.parametrize("limits", [{}, TIGHT, {"max_span_attributes": 0}, {"max_attribute_length": 0}])
@pytest.mark.parametrize("parent", [None, REMOTE], ids=["root", "remote"])
def test_a_run_with_everything_is_the_same_whichever_way(
    ways: Callable[..., Ways], limits: dict[str, int], parent: SpanContext | None
) -> None:
    """Names, ids, parents, times, status, attributes, events, links, flags and dropped counts are equal on the wire."""
    run = ways(limits=limits)

    async def main() -> None:
        if parent is not None:
            context_api.attach(trace_api.set_span_in_context(NonRecordingSpan(parent)))
        await Program(run.manager, run.tracer).run()

    with use_callback_manager(run.manager):
        asyncio.run(main())
    spans = run.compare()
    assert len(spans) > 400
    if not limits:
        assert {span.name for span in spans.values()} >= {
            "jobs",
            "renamed ?",
            "größe",
            "in theirs",
            "moved",
            "alone",
        }
        assert {span.status.code for span in spans.values()} == {0, 1, 2}
        moved = [link.trace_id for span in spans.values() if span.name == "moved" for link in span.links]
        assert moved == [
            span.trace_id for span in run.bytes.receiver.spans() if span.name == "root of theirs"
        ]
        assert {span.flags for span in spans.values()} == ({0x100} if parent is None else {0x100, 0x300})
    if parent is not None and not limits:
        elsewhere = ("moved", "alone")
        assert {span.trace_state for span in spans.values() if span.name not in elsewhere} == {"k=v,l=w"}


@pytest.mark.parametrize("sampler", [TraceIdRatioBased(0.5), ParentBased(TraceIdRatioBased(0.5))])
def test_a_sampled_share_is_the_same_whichever_way(ways: Callable[..., Ways], sampler: Sampler) -> None:
    """The same traces are sampled, and of the others nothing is sent."""
    run = ways(sampler)

    async def job(number: int) -> None:
        trace_api.get_current_span().set_attribute("number", number)
        if number == 1:
            raise ValueError

    async def main() -> None:
        for _ in range(60):
            await async_map(job, range(3), desc="batch", on_error="return")

    with use_callback_manager(run.manager):
        asyncio.run(main())
    spans = run.compare()
    assert 60 < len(spans) < 180
    assert len(spans) == 4 * len({span.trace_id for span in spans.values()})


def test_links_are_the_same_whichever_way(ways: Callable[..., Ways]) -> None:
    """Links by payload, of jobs and others, in a trace with a remote parent: same ids, flags, states, attributes."""
    run = ways()
    sender = {"traceparent": f"00-{7:032x}-{8:016x}-03", "tracestate": "vendor=x, v=1", "baggage": "a=1"}
    senders = [
        {"traceparent": f"00-{number:032x}-{number:016x}-01", "tracestate": "v=1"} for number in range(1, 6)
    ]

    async def job(message: dict[str, str]) -> None:
        link(message, topic="orders", weight=0.5, huge=1 << 70, odd="\ud800")

    async def main() -> None:
        with remote_parent(sender), run.manager.as_trace("earlier") as earlier:
            await async_map(job, senders, desc="batch", isolation="context")
        with run.manager.event(name="merge").link(earlier) as merge:
            for number in range(200):
                merge.link(senders[number % 5], number=number)
            with remote_parent(sender), run.manager.event(name="inside"):
                pass

    with use_callback_manager(run.manager):
        asyncio.run(main())
    spans = {span.name: span for span in run.compare().values()}
    assert (spans["earlier"].trace_id, spans["earlier"].parent_span_id) == (
        bytes(15) + b"\7",
        bytes(7) + b"\10",
    )
    (found,) = spans["job"].links
    assert {item.key for item in found.attributes} == {"topic", "weight", "huge", "odd"}
    assert spans["job"].trace_state == "vendor=x,v=1"
    assert len(spans["merge"].links) == 128
    assert spans["merge"].links[0].span_id == spans["earlier"].span_id
    assert [entry.span_id for entry in spans["inside"].links] == [bytes(7) + b"\10"]


@pytest.mark.parametrize("profile", ["gen_ai", "openinference"])
@pytest.mark.parametrize("limits", [{}, TIGHT])
def test_profiles_are_the_same_whichever_way(
    ways: Callable[..., Ways], profile: str, limits: dict[str, int]
) -> None:
    """Attributes of a profile, lists and contents among them, on plain jobs, failed ones and calls of models."""
    run = ways(limits=limits, profile=profile, capture_content=True, max_content=100)

    async def job(number: int) -> None:
        payload: dict[str, object] = {"model": "größe", "messages": [{"role": "user", "content": "x" * 500}]}
        with run.manager.event("llm", payload, name="call") as call:
            call.set(
                finish_reason=["stop", "length"], input_tokens=number, temperature=1, completion="ö" * 200
            )
        if number == 1:
            raise ValueError

    with use_callback_manager(run.manager):
        asyncio.run(async_map(job, range(20), limit=3, desc="batch", on_error="return"))
    spans = run.compare()
    assert len(spans) == 41
    if profile == "openinference" and not limits:
        assert all(
            "openinference.span.kind" in {item.key for item in span.attributes} for span in spans.values()
        )


def test_unsampled_traces_are_sent_no_way(ways: Callable[..., Ways]) -> None:
    """A remote parent that is not sampled is obeyed by all."""
    run = ways()

    async def main() -> None:
        context_api.attach(trace_api.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True))))
        await Program(run.manager, run.tracer).run()

    with use_callback_manager(run.manager):
        asyncio.run(main())
    assert {span.name for span in run.compare().values()} == {"alone"}  # no part of that trace


def ended_jobs(details: Sequence[JobDetail | None], ready_ns: int | None) -> list[JobEvent]:
    trace = Trace("batch", 5, 6)
    family = JobFamily(5, trace, "job", 7, ready_ns, BatchCounts(len(details)))
    return [JobEvent(family, 10**index, 2000, 3000 + index, detail) for index, detail in enumerate(details)]


DETAILS = [
    None,
    JobDetail(),
    JobDetail(attempt=1),
    JobDetail(attempt=300, ready_ns=1000),
    JobDetail(busy_ns=500),
    JobDetail(data={}),
    JobDetail(data={"a": 1}),
    JobDetail(status=EventStatus.SKIPPED),
    JobDetail(status=EventStatus.CANCELLED, error=ErrorInfo("CancelledError", "", ())),
    JobDetail(status=EventStatus.TIMEOUT),
    JobDetail(status=EventStatus.INTERRUPTED),
    JobDetail(status=EventStatus.ERROR, error=ErrorInfo("E", "m\ud800", (Frame("f\ud800.py", 0, "g"),))),
    None,
]


@pytest.mark.parametrize("ready_ns", [None, 500])
def test_jobs_that_no_runner_makes_are_the_same_whichever_way(
    ways: Callable[..., Ways], ready_ns: int | None
) -> None:
    """Jobs of every status, with every detail, and with an index of every length."""
    run = ways()
    jobs = ended_jobs(DETAILS, ready_ns)
    with run.manager.event(name="connects"):
        pass
    run.manager.flush(5)
    run.handler.on_events(jobs)
    spans = run.compare()
    assert {int.from_bytes(span_id, "big") for span_id in spans} >= {job.event_id for job in jobs}
