"""Spans of user code inside jobs, whatever becomes of the job: they nest, and nothing complains."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import StatusCode

from spanloom import RetryPolicy, async_map, batch_gather, propagate, stream, use_callback_manager
from spanloom.handlers.otel import remote_parent
from spanloom.handlers.otel._live import EVENT_KEY
from spanloom.testing import virtual_clock
from tests.environments import without_ours
from tests.handlers.otel_setup import Setup, id_of, parent_of, trace_of

LANES = ["task", "context"]


@pytest.fixture(autouse=True)
def nothing_was_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, "opentelemetry.context")
    yield
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert "detach" not in caplog.text


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


class Inheriting(SpanProcessor):
    """Copies what a span is to have of its parent, as many do with a tenant or a user."""

    def on_start(self, span: Any, parent_context: context_api.Context | None = None) -> None:
        parent: Any = trace_api.get_current_span(parent_context)
        if parent.is_recording():
            span.set_attribute("parent", parent.name)
            span.set_attribute("tenant", parent.attributes.get("tenant", "?"))


@pytest.mark.parametrize("lane", LANES)
def test_the_current_span_can_be_read_like_the_sdks(otel: Setup, lane: Any) -> None:
    """A processor that looks at the parent of a span finds there what it is used to."""
    otel.provider.add_span_processor(Inheriting())

    async def job(number: int) -> None:
        span: Any = trace_api.get_current_span()
        span.set_attribute("tenant", f"t{number}")
        span.update_name(f"job {number}")
        with otel.tracer.start_as_current_span(f"user {number}"):
            pass
        assert span.end_time is None
        assert f'"tenant": "t{number}"' in span.to_json()
        read.append((span.context.span_id, span.parent.span_id, span.start_time, span.resource, span.kind))
        with pytest.raises(AttributeError):
            assert span.nothing_of_the_sort

    read: list[Any] = []
    otel.run(async_map(job, range(2), isolation=lane, desc="batch"))
    for number in range(2):
        user, done = otel.span(f"user {number}"), otel.span(f"job {number}")
        assert (attribute(user, "parent"), attribute(user, "tenant")) == (f"job {number}", f"t{number}")
        assert read[number] == (id_of(done), parent_of(done), done.start_time, done.resource, done.kind)


def test_a_span_that_is_not_recorded_shows_nothing() -> None:
    """As the SDK's own span, which is another kind of object then."""
    otel = Setup(ALWAYS_OFF)
    with otel.manager.event("event"):
        span: Any = trace_api.get_current_span()
        assert not span.is_recording()
        with pytest.raises(AttributeError):
            assert span.attributes
    with pytest.raises(AttributeError):  # over: what was current before it answers, an invalid span
        assert span.attributes


def test_what_is_attached_inside_of_an_event_stays(otel: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Baggage that is set to last outlives the event it was set in, as without us; that of the environment does not."""
    monkeypatch.setenv("TRACEPARENT", f"00-{1:032x}-{2:016x}-01")
    monkeypatch.setenv("BAGGAGE", "from=environment")

    def attach(key: str) -> None:
        context_api.attach(baggage.set_baggage(key, "set"))

    def scenario() -> None:
        with otel.manager.event("outer"):
            with otel.manager.event("inner"):
                attach("first")
            assert baggage.get_all() == {"from": "environment", "first": "set"}
            assert trace_api.get_current_span().is_recording()
        assert not trace_api.get_current_span().get_span_context().is_valid
        assert baggage.get_baggage("first") == "set"
        with otel.manager.event("cleared"):
            context_api.attach(baggage.clear())
        assert baggage.get_all() == {}
        with otel.manager.event("untouched"):
            assert baggage.get_all() == {}
        with remote_parent({"traceparent": f"00-{3:032x}-{4:016x}-01", "baggage": "from=sender"}):
            with otel.manager.event("received"):
                attach("second")
            assert baggage.get_all() == {"from": "sender", "second": "set"}
        assert baggage.get_all() == {}

    contextvars.Context().run(scenario)
    assert {trace_of(span) for span in otel.spans()} == {1, 3}
    (received,) = otel.named("received")
    assert parent_of(received) == 4


def test_baggage_of_the_environment_is_gone_after_the_trace(
    otel: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is current inside of the trace only, also where something else was attached there."""
    monkeypatch.setenv("BAGGAGE", "from=environment")

    def scenario() -> None:
        key = context_api.create_key("mine")
        with otel.manager.event("outer"):
            assert baggage.get_all() == {"from": "environment"}
            context_api.attach(context_api.set_value(key, "set"))
        assert baggage.get_all() == {}
        assert context_api.get_value(key) == "set"

    contextvars.Context().run(scenario)


def test_values_are_kept_as_they_were_when_they_were_given(otel: Setup) -> None:
    """What user code gives to the current span is what the span says, whatever becomes of it before the job ends."""

    async def job(number: int) -> None:
        names, attributes, nested = ["a"], {"names": ["b"]}, ["c"]
        span = trace_api.get_current_span()
        span.set_attribute("names", names)
        span.set_attributes({"nested": nested})
        span.add_event("event", attributes)
        span.add_link(id_span := trace_api.SpanContext(1, 2, is_remote=False), attributes)
        assert id_span.is_valid
        for given in (names, attributes["names"], nested):
            given.append("late")
        attributes["late"] = []

    async def main() -> None:
        await async_map(job, [0], desc="batch")

    otel.run(main())
    (span,) = [span for span in otel.spans() if attribute(span, "names") is not None]
    assert (attribute(span, "names"), attribute(span, "nested")) == (("a",), ("c",))
    assert [dict(event.attributes or {}) for event in span.events] == [{"names": ("b",)}]
    assert [dict(link.attributes or {}) for link in span.links] == [{"names": ("b",)}]


# however a job ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", LANES)
def test_a_user_span_lies_under_its_job_however_the_job_ends(otel: Setup, isolation: Any) -> None:
    """Good, failed, timed out, cancelled by itself or with its batch: span and job are together in every case."""

    async def job(number: int) -> None:
        trace_api.get_current_span().set_attribute("number", number)
        with otel.tracer.start_as_current_span("query", attributes={"number": number}):
            await asyncio.sleep(0)
            match number % 4:
                case 1:
                    raise ValueError(number)
                case 2:
                    raise TimeoutError
                case 3:
                    await asyncio.sleep(60)

    options = {"limit": 5, "isolation": isolation, "on_error": "return"}

    async def cancelled() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await async_map(job, [3, 7, 11], desc="batch", **options)

    with use_callback_manager(otel.manager), virtual_clock() as runner:
        runner.run(async_map(job, range(40), timeout=0.2, desc="batch", **options))
        runner.run(cancelled())
    jobs = {id_of(span): span for span in otel.named("job")}
    queries = otel.named("query")
    assert len(jobs) == len(queries) == 43
    for query in queries:
        job_span = jobs[parent_of(query) or 0]
        assert attribute(job_span, "number") == attribute(query, "number")
        assert trace_of(job_span) == trace_of(query)
    outcomes = Counter(attribute(span, "spanloom.outcome") for span in jobs.values())
    assert outcomes == {"ok": 10, "error": 10, "timeout": 20, "cancelled": 3}


@pytest.mark.parametrize("isolation", LANES)
def test_what_a_job_leaves_current_reaches_no_other_job(otel: Setup, isolation: Any) -> None:
    """A job that attaches a span and never detaches it is alone with that."""

    async def job(number: int) -> None:
        with otel.tracer.start_as_current_span("query", attributes={"number": number}):
            await asyncio.sleep(0)
        if number % 3 == 0:
            span = otel.tracer.start_span("left behind")
            context_api.attach(trace_api.set_span_in_context(span))
            span.end()

    otel.run(async_map(job, range(30), limit=2, isolation=isolation, desc="batch"))
    jobs = {id_of(span): span for span in otel.named("job")}
    queries = otel.named("query")
    assert [attribute(jobs[parent_of(span) or 0], "spanloom.job.index") for span in queries] == [
        attribute(span, "number") for span in queries
    ]
    assert {parent_of(span) for span in jobs.values()} == {id_of(otel.span("batch"))}


@pytest.mark.parametrize("isolation", LANES)
def test_after_a_step_inside_a_job_the_job_is_current_again(otel: Setup, isolation: Any) -> None:
    """A span opened after a step that has ended is the job's child, not the step's; so are attributes."""

    async def job(number: int) -> None:
        with otel.manager.event(name="step"):
            trace_api.get_current_span().set_attribute("of", "step")
        trace_api.get_current_span().set_attribute("of", "job")
        with otel.tracer.start_as_current_span("query"):
            pass

    otel.run(async_map(job, [0], isolation=isolation, desc="batch"))
    job_span = otel.span("job")
    assert parent_of(otel.span("query")) == parent_of(otel.span("step")) == id_of(job_span)
    assert attribute(job_span, "of") == "job"
    assert attribute(otel.span("step"), "of") == "step"


@pytest.mark.parametrize("isolation", LANES)
def test_attempts_are_current_one_after_the_other(otel: Setup, isolation: Any) -> None:
    """Each attempt's span has the user's span of that attempt below it; failed ones are ERROR, the job is not."""

    async def job(number: int) -> None:
        trace_api.get_current_span().set_attribute("seen", True)
        with otel.tracer.start_as_current_span("query") as span:
            if not any(entry.name == "query" for entry in otel.exporter.get_finished_spans()):
                span.set_attribute("first", True)
                raise OSError("busy")

    policy = RetryPolicy(attempts=2, base_delay=0.001)
    otel.run(async_map(job, [0], retry=policy, isolation=isolation, desc="batch"))
    attempts = [span for span in otel.spans() if attribute(span, "spanloom.type") == "attempt"]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [attribute(span, "seen") for span in attempts] == [True, True]
    assert [parent_of(span) for span in otel.named("query")] == [id_of(span) for span in attempts]
    (job_span,) = [span for span in otel.spans() if attribute(span, "spanloom.type") == "job"]
    assert (job_span.status.status_code, job_span.events) == (StatusCode.UNSET, ())
    assert attribute(job_span, "spanloom.attempt") == 2
    assert {parent_of(span) for span in attempts} == {id_of(job_span)}


@pytest.mark.parametrize("isolation", LANES)
def test_tasks_and_threads_of_a_job_write_to_its_span(otel: Setup, isolation: Any) -> None:
    """What child tasks, `to_thread` and propagated threads set on the current span is on the job's span."""

    def set_attribute(name: str) -> None:
        trace_api.get_current_span().set_attribute(name, True)

    async def child() -> None:
        set_attribute("task")

    async def job(number: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
        await asyncio.to_thread(set_attribute, "to_thread")
        thread = threading.Thread(target=propagate(set_attribute), args=("thread",))
        thread.start()
        thread.join()
        plain = threading.Thread(target=set_attribute, args=("stranger",))
        plain.start()
        plain.join()

    otel.run(async_map(job, range(3), isolation=isolation, limit=1, desc="batch"))
    for span in otel.named("job"):
        assert {"task", "to_thread", "thread"} <= set(span.attributes or {})
        assert "stranger" not in (span.attributes or {})


WAYS_TO_LOOK: dict[str, Any] = {
    "get": lambda context: {key: context.get(key) for key in KEYS},
    "[]": lambda context: {key: context[key] for key in KEYS},
    "in": lambda context: {key: context.get(key) for key in KEYS if key in context},
    "copy": lambda context: context.copy(),
    "dict": dict,
    "**": lambda context: {**context},
    "|": lambda context: context | {},
    "| to": lambda context: {} | context,
    "update": lambda context: [found := {}, found.update(context)][0],
    "items": lambda context: dict(context.items()),
    "keys and values": lambda context: dict(zip(context.keys(), context.values(), strict=True)),
    "iter": lambda context: {key: context.get(key) for key in context},
    "reversed": lambda context: {key: context.get(key) for key in reversed(context)},
    "len": lambda context: dict(context) if len(context) == len(KEYS) else {},
    "bool": lambda context: dict(context) if context else {},
    "==": lambda context: context if context == dict(context.items()) else {},
    "!=": lambda context: {} if context != {**context} else context,
    "repr": lambda context: dict(context) if "'b'" in repr(context) else {},
    "set_value": lambda context: {key: context_api.set_value("mine", 1, context)[key] for key in KEYS},
}
KEYS = (
    *trace_api.set_span_in_context(trace_api.INVALID_SPAN, context_api.Context()),
    *baggage.set_baggage("a", "b", context_api.Context()),
    EVENT_KEY,
)


@pytest.mark.parametrize("isolation", LANES)
@pytest.mark.parametrize("way", WAYS_TO_LOOK)
def test_what_is_current_in_a_job_is_a_context_however_it_is_looked_into(
    otel: Setup, way: str, isolation: Any
) -> None:
    """Nothing is in it before somebody looks; whoever does finds what is current, by whichever method of a mapping."""

    async def job(number: int) -> None:
        current = context_api.get_current()
        assert isinstance(current, context_api.Context)
        found = WAYS_TO_LOOK[way](current)
        span, *_ = (found[key] for key in KEYS)
        assert set(found) == set(KEYS)
        assert span is found[EVENT_KEY] is trace_api.get_current_span()
        assert baggage.get_all(context_api.Context(found)) == {"a": "b"}
        with pytest.raises(ValueError):
            current["a"] = 1
        span.set_attribute("number", number)

    async def main() -> None:
        context_api.attach(baggage.set_baggage("a", "b"))
        await async_map(job, range(3), isolation=isolation, limit=1, desc="batch")

    otel.run(main())
    assert [(attribute(span, "number")) for span in otel.named("job")] == [0, 1, 2]


@pytest.mark.parametrize("isolation", LANES)
def test_what_is_current_in_a_job_can_be_taken_along(otel: Setup, isolation: Any) -> None:
    """As OpenTelemetry's instrumentation of threads does it: without a look into it, and to where nothing is known."""

    def elsewhere(context: context_api.Context, number: int) -> None:
        context_api.attach(context)
        with otel.tracer.start_as_current_span(f"thread {number}"):
            pass

    async def job(number: int) -> None:
        thread = threading.Thread(target=elsewhere, args=(context_api.get_current(), number))
        thread.start()
        if number:
            thread.join()
        else:
            threads.append(thread)

    threads: list[threading.Thread] = []
    otel.run(async_map(job, range(2), isolation=isolation, limit=1, desc="batch"))
    threads[0].join()
    jobs = {attribute(span, "spanloom.job.index"): span for span in otel.named("job")}
    for number in range(2):
        span = otel.span(f"thread {number}")
        assert (trace_of(span), parent_of(span)) == (trace_of(jobs[number]), id_of(jobs[number]))


# generators ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", LANES)
def test_generators_may_be_closed_early_anywhere(otel: Setup, isolation: Any) -> None:
    """A thousand generators, exhausted, left, closed in another task, forgotten: right parents, and no complaint."""

    @otel.manager.trace("numbers")
    async def numbers(number: int) -> AsyncIterator[int]:
        for index in range(3):
            with otel.tracer.start_as_current_span("inside", attributes={"number": number}):
                await asyncio.sleep(0)
            yield index

    async def job(number: int) -> None:
        generator: Any = numbers(number)
        match number % 5:
            case 0:
                async for _ in generator:
                    pass
            case 1:
                async with contextlib.aclosing(generator):
                    await anext(generator)
            case 2:
                await anext(generator)
                await asyncio.create_task(generator.aclose())
            case 3:
                await anext(generator)  # and left to the garbage collector
            case 4:
                await anext(generator)
                raise ValueError(number)
        with otel.tracer.start_as_current_span("after", attributes={"number": number}):
            pass

    async def main() -> None:
        await async_map(job, range(1000), limit=50, isolation=isolation, on_error="return", desc="batch")
        gc.collect()
        await asyncio.sleep(0.01)

    otel.run(main())
    jobs = {id_of(span): attribute(span, "spanloom.job.index") for span in otel.named("job")}
    calls = {id_of(span): jobs[parent_of(span) or 0] for span in otel.named("numbers")}
    assert sorted(calls.values()) == list(range(1000))
    inside, after = otel.named("inside"), otel.named("after")
    assert (len(inside), len(after)) == (200 * 3 + 800, 800)
    assert all(calls[parent_of(span) or 0] == attribute(span, "number") for span in inside)
    assert all(jobs[parent_of(span) or 0] == attribute(span, "number") for span in after)


@pytest.mark.parametrize("isolation", LANES)
def test_user_spans_may_span_the_yields_of_a_generator(otel: Setup, isolation: Any) -> None:
    """The instrumentations' own style: a span that is current across `yield`, in a generator closed by its job."""

    async def pages(number: int) -> AsyncIterator[int]:
        with otel.tracer.start_as_current_span("pages", attributes={"number": number}):
            for index in range(3):
                with otel.manager.event(name="page"):
                    await asyncio.sleep(0)
                yield index

    async def job(number: int) -> None:
        async with contextlib.aclosing(pages(number)) as generator:
            async for index in generator:
                if index == number % 3:
                    break
        if number % 2:
            raise ValueError(number)

    otel.run(async_map(job, range(300), limit=20, isolation=isolation, on_error="return", desc="batch"))
    jobs = {id_of(span): attribute(span, "spanloom.job.index") for span in otel.named("job")}
    users = {id_of(span): attribute(span, "number") for span in otel.named("pages")}
    assert len(users) == len(jobs) == 300
    assert all(jobs[parent_of(span) or 0] == attribute(span, "number") for span in otel.named("pages"))
    per_user = Counter(users[parent_of(span) or 0] for span in otel.named("page"))
    assert per_user == {number: number % 3 + 1 for number in range(300)}


def test_a_traced_generator_is_current_while_its_body_runs_and_no_longer(otel: Setup) -> None:
    """Between two items the caller's span is current, in whichever task; a span across a yield stays in place."""

    @otel.manager.trace("numbers")
    async def numbers() -> AsyncIterator[str]:
        trace_api.get_current_span().set_attribute("a", 1)
        yield "plain"
        trace_api.get_current_span().set_attribute("b", 2)
        with otel.tracer.start_as_current_span("across"):
            yield "in a span"
            with otel.tracer.start_as_current_span("deep"):
                pass
        trace_api.get_current_span().set_attribute("c", 3)

    async def main() -> None:
        with otel.tracer.start_as_current_span("request") as request:
            generator = numbers()
            await anext(generator)
            assert trace_api.get_current_span() is request
            assert [item async for item in generator] == ["in a span"]
            assert trace_api.get_current_span() is request
            other = numbers()
            await anext(other)
            await asyncio.create_task(aclose(other))

    async def aclose(generator: Any) -> None:
        with otel.tracer.start_as_current_span("closer") as closer:
            await generator.aclose()
            assert trace_api.get_current_span() is closer

    otel.run(main())
    whole = otel.named("numbers")[0]
    assert [attribute(whole, key) for key in "abc"] == [1, 2, 3]
    assert parent_of(otel.span("across")) == id_of(whole)
    assert parent_of(otel.span("deep")) == id_of(otel.span("across"))


def test_a_stream_left_early_leaves_the_caller_as_it_was(otel: Setup) -> None:
    """Leaving the block cancels the jobs; the caller's own span is current again, and so is its context."""

    async def job(number: int) -> None:
        with otel.tracer.start_as_current_span("query"):
            await asyncio.sleep(0 if number == 0 else 60)

    async def main() -> None:
        with otel.tracer.start_as_current_span("request") as request:
            before = context_api.get_current()
            async with stream(job, range(10), limit=3) as outcomes:
                async for _ in outcomes:
                    break
            assert trace_api.get_current_span() is request
            assert context_api.get_current() is before

    otel.run(main())
    jobs = [span for span in otel.spans() if attribute(span, "spanloom.type") == "job"]
    assert {parent_of(span) for span in otel.named("query")} <= {id_of(span) for span in jobs}
    assert Counter(attribute(span, "spanloom.outcome") for span in jobs)["ok"] == 1


# other shapes ------------------------------------------------------------------------------------------------


def test_awaitables_that_are_given_run_under_their_job(otel: Setup) -> None:
    """`batch_gather` of coroutines is no different from a map."""

    async def job(number: int) -> None:
        with otel.tracer.start_as_current_span("query"):
            await asyncio.sleep(0)

    otel.run(batch_gather([job(number) for number in range(7)], batch_size=3, desc="batch"))
    assert {parent_of(span) for span in otel.named("query")} == {id_of(span) for span in otel.named("job")}


@pytest.mark.parametrize("isolation", LANES)
def test_what_is_not_sampled_has_no_stand_ins_and_no_spans(isolation: Any) -> None:
    """In a trace that is not sampled a job sees one span that records nothing, and user spans are not recorded."""
    otel = Setup(ParentBased(ALWAYS_OFF))
    seen: set[int] = set()

    async def job(number: int) -> None:
        current = trace_api.get_current_span()
        seen.add(current.get_span_context().span_id)
        assert not current.is_recording()
        with otel.tracer.start_as_current_span("query") as span:
            assert not span.is_recording()

    otel.run(async_map(job, range(20), isolation=isolation))
    assert len(seen) == 1
    assert otel.spans() == []
    starts = otel.handler._starts()
    assert starts is not None
    assert not starts._notes


def test_what_is_recorded_for_processors_only_is_recorded() -> None:
    """A sampler may say that spans are for processors and not for exporters: what user code sets is on them."""

    class RecordOnly(Sampler):
        def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
            return SamplingResult(Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "RecordOnly"

    seen: list[ReadableSpan] = []

    class Looking(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.append(span)

    otel = Setup(RecordOnly())
    otel.provider.add_span_processor(Looking())

    async def job(_: object) -> None:
        trace_api.get_current_span().set_attribute("mine", True)

    otel.run(async_map(job, [0], desc="batch"))
    assert otel.spans() == []  # not for exporters
    assert [(span.name, attribute(span, "mine")) for span in seen] == [("job", True), ("batch", None)]
    otel.manager.close()


def test_a_span_of_the_input_is_the_parent_of_the_jobs_that_it_makes(otel: Setup) -> None:
    """Items that are produced inside a span of the caller's make jobs inside that span."""

    async def job(number: int) -> None:
        pass

    def items() -> Iterator[int]:
        for number in range(3):
            with otel.tracer.start_as_current_span("produce", attributes={"number": number}):
                yield number

    otel.run(async_map(job, items(), limit=1, desc="batch"))
    produced = {id_of(span): attribute(span, "number") for span in otel.named("produce")}
    assert [produced[parent_of(span) or 0] for span in otel.named("job")] == [0, 1, 2]
    assert {parent_of(span) for span in otel.named("produce")} == {id_of(otel.span("batch"))}


@pytest.mark.parametrize("isolation", LANES)
def test_baggage_is_the_job_s_too(otel: Setup, isolation: Any) -> None:
    """What the caller put beside its span is there in every job, and a worker is not exchanged for that."""
    tasks = set()

    async def job(number: int) -> None:
        assert context_api.get_value("mine") == "kept"
        tasks.add(asyncio.current_task())
        await asyncio.sleep(0)

    async def main() -> None:
        context_api.attach(context_api.set_value("mine", "kept"))
        await async_map(job, range(20), limit=2, isolation=isolation, desc="batch")

    otel.run(main())
    assert len(tasks) == (20 if isolation == "task" else 2)
    assert {parent_of(span) for span in otel.named("job")} == {id_of(otel.span("batch"))}


# generators that end elsewhere inside a span of the user's ------------------------------------------------------

STRAY = """
import asyncio, gc, logging
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from spanloom import CallbackManager, async_map, use_callback_manager
from spanloom.handlers.otel import OpenTelemetryHandler

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("user")
manager = CallbackManager([OpenTelemetryHandler(provider)])

async def pages():
    for number in range(3):
        with tracer.start_as_current_span("page"):
            yield number

async def job(number):
    generator = pages()
    await anext(generator)
    if number % 3 == 0:
        await asyncio.create_task(generator.aclose())
    elif number % 3 == 1:
        raise ValueError(number)

async def main():
    for isolation in ("task", "context"):
        await async_map(job, range(30), limit=5, isolation=isolation, on_error="return", desc="batch")
    gc.collect()
    await asyncio.sleep(0.01)
    assert not trace.get_current_span().get_span_context().is_valid

with use_callback_manager(manager):
    asyncio.run(main())
assert manager.close()
spans = exporter.get_finished_spans()
jobs = {span.context.span_id for span in spans if span.name == "job"}
assert len(jobs) == len([span for span in spans if span.name == "page"]) == 60
assert {span.parent.span_id for span in spans if span.name == "page"} == jobs
try:
    token = context.attach(context.Context())
    context.detach(token)
    context.detach(token)  # a mistake is still told
finally:
    print(type(context._RUNTIME_CONTEXT).__name__)
"""


def run_stray(folder: Path, **variables: str) -> tuple[str, list[str]]:
    """Run the program as if spanloom were installed as its project file says; return what it prints and logs."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    info = folder / "spanloom_here-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: spanloom-here\nVersion: 0\n", encoding="utf-8"
    )
    points = project["entry-points"]["opentelemetry_context"]
    lines = ["[opentelemetry_context]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    clean = without_ours()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STRAY],
        env=clean | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip(), [line for line in done.stderr.splitlines() if line and line[0] not in " T"]


def test_the_lenient_context_says_nothing_of_generators_that_end_elsewhere(tmp_path: Path) -> None:
    """`OTEL_PYTHON_CONTEXT=spanloom`: user spans across a yield, ended anywhere, nest as they should, in silence."""
    printed, logged = run_stray(tmp_path, OTEL_PYTHON_CONTEXT="spanloom")
    assert printed == "LenientRuntimeContext"
    detached = [line for line in logged if line.startswith("Failed to detach")]
    assert len(detached) == 1  # that of a token which is used twice
    assert logged[-1].startswith("RuntimeError")


def test_opentelemetry_s_own_context_nests_them_just_as_well(tmp_path: Path) -> None:
    """Without it the spans are the same, and what is logged is OpenTelemetry's own business."""
    printed, logged = run_stray(tmp_path)
    assert printed == "ContextVarsRuntimeContext"
    assert sum(line.startswith("Failed to detach") for line in logged) > 1
