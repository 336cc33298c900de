"""Batches that no trace could hold: divided among traces that are linked, or sifted, with nothing of note left out."""

from __future__ import annotations

import asyncio
import random
import threading
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from spanloom.callbacks import CallbackManager, get_callback_manager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.concurrency.retry import RetryPolicy
from spanloom.handlers.otel import OpenTelemetryHandler, TailPolicy, _finish
from tests.handlers.otel_setup import Setup
from tests.handlers.test_otel_export import Receiver

PATIENCE = RetryPolicy(attempts=3, base_delay=0.0001, max_delay=0.0001)


@dataclass(frozen=True)
class Seen:
    """What a reader of traces knows of one span."""

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: dict[str, Any]
    links: tuple[tuple[int, int, dict[str, Any]], ...]

    @property
    def type(self) -> str | None:
        return self.attributes.get("spanloom.type")

    @property
    def index(self) -> int | None:
        return self.attributes.get("spanloom.job.index")


def from_sdk(spans: Sequence[ReadableSpan]) -> list[Seen]:
    return [
        Seen(
            span.context.trace_id,
            span.context.span_id,
            span.parent.span_id if span.parent is not None else 0,
            span.name,
            span.start_time or 0,
            span.end_time or 0,
            not span.status.is_ok,
            dict(span.attributes or {}),
            tuple(
                (link.context.trace_id, link.context.span_id, dict(link.attributes or {}))
                for link in span.links
            ),
        )
        for span in spans
        if span.context is not None
    ]


def from_otlp(spans: Sequence[Any]) -> list[Seen]:
    def number(raw: bytes) -> int:
        return int.from_bytes(raw, "big")

    def plain(attributes: Any) -> dict[str, Any]:
        return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in attributes}

    return [
        Seen(
            number(span.trace_id),
            number(span.span_id),
            number(span.parent_span_id),
            span.name,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code == 2,
            plain(span.attributes),
            tuple(
                (number(link.trace_id), number(link.span_id), plain(link.attributes)) for link in span.links
            ),
        )
        for span in spans
    ]


def check(spans: Sequence[Seen], limit: int) -> None:
    """Check what must hold of all traces of a run together."""
    traces: dict[int, list[Seen]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    for trace_id, inside in traces.items():
        ours = [span for span in inside if span.type is not None]
        assert len(ours) <= limit
        ids = {span.span_id for span in inside}
        roots = [span for span in inside if span.parent_id not in ids]
        assert [root.parent_id for root in roots] == [0], f"{trace_id:x} has {len(roots)} roots"
    for span in spans:
        for trace_id, span_id, _ in span.links:
            assert by_id[span_id].trace_id == trace_id
    for shard in (span for span in spans if span.type == "shard"):
        owner = by_id[int(shard.attributes["spanloom.shard.of"], 16)]
        assert any(link[1] == owner.span_id and link[2]["spanloom.link"] == "owner" for link in shard.links)
        inside = [span for span in traces[shard.trace_id] if span.type is not None and span is not shard]
        children = [span for span in inside if span.parent_id == shard.span_id]
        assert shard.attributes["spanloom.shard.spans"] == len(inside) + 1
        assert shard.start_ns == min(span.start_ns for span in inside)
        assert shard.end_ns == max(span.end_ns for span in inside)
        if owner.type == "batch" and any(span.type == "job" for span in children):
            jobs = [span for span in children if span.type == "job"]
            outcomes = Counter(span.attributes["spanloom.outcome"] for span in jobs)
            numbers = {
                key: shard.attributes[f"spanloom.shard.{key}"]
                for key in ("jobs", "ok", "failed", "cancelled")
            }
            assert numbers == {
                "jobs": len(jobs),
                "ok": outcomes["ok"],
                "failed": outcomes["error"] + outcomes["timeout"],
                "cancelled": outcomes["cancelled"],
            }
            assert shard.attributes["spanloom.outcome"] == ("error" if numbers["failed"] else "ok")
            assert shard.attributes["spanloom.batch.id"] == owner.attributes["spanloom.batch.id"]


class Pipeline:
    """A batch of jobs of which some fail, some are retried, some have steps and some a batch of their own inside."""

    def __init__(self, count: int, tracer: Any = None, *, seed: int = 1) -> None:
        rng = random.Random(seed)
        numbers = range(count)
        share = max(1, count // 250)
        self.count = count
        self.failing = set(rng.sample(numbers, share))
        self.retried = set(rng.sample([n for n in numbers if n not in self.failing], share))
        self.stepping = set(rng.sample(numbers, count // 20))
        self.nesting = set(rng.sample(numbers, max(1, count // 2000)))
        self.tracer = tracer
        self.tries: Counter[int] = Counter()

    async def job(self, number: int) -> int:
        self.tries[number] += 1
        if number in self.stepping:
            with get_callback_manager().event(name="step"):
                await asyncio.sleep(0)
            if self.tracer is not None:
                with self.tracer.start_as_current_span("user"):
                    await asyncio.sleep(0)
        if number in self.nesting and self.tries[number] == 1:
            await async_map(self.inner, range(10), limit=4, desc="inner")
        if number in self.failing or (number in self.retried and self.tries[number] == 1):
            raise ValueError(f"no {number}")
        await asyncio.sleep(0)
        return number

    async def inner(self, _: int) -> None:
        await asyncio.sleep(0)

    async def run(self, limit: int = 64) -> None:
        with get_callback_manager().as_trace("run"):
            await async_map(
                self.job, range(self.count), limit=limit, on_error="skip", retry=PATIENCE, desc="jobs"
            )

    def check(self, spans: Sequence[Seen]) -> None:
        """Check that nothing is missing and that the batch tells the truth."""
        jobs = [span for span in spans if span.type == "job" and span.name == "Pipeline.job"]
        assert sorted(span.index or 0 for span in jobs) == list(range(self.count))
        self.check_numbers(spans)
        assert sum(span.name == "step" for span in spans) == sum(
            self.tries[number] for number in self.stepping
        )
        attempts = [span for span in spans if span.type == "attempt"]
        assert len(attempts) == self.tries.total()

    def check_numbers(self, spans: Sequence[Seen]) -> None:
        jobs = [span for span in spans if span.type == "job" and span.name == "Pipeline.job"]
        assert {span.index for span in jobs if span.is_error} == self.failing
        (batch,) = [span for span in spans if span.type == "batch" and span.name == "jobs"]
        told = {key: batch.attributes[f"spanloom.batch.{key}"] for key in ("size", "ok", "failed", "retried")}
        assert told == {
            "size": self.count,
            "ok": self.count - len(self.failing),
            "failed": len(self.failing),
            "retried": 2 * len(self.failing) + len(self.retried),
        }
        by_id = {span.span_id: span for span in spans}
        users = [span for span in spans if span.type is None]
        for span in users:  # those in jobs that have a span
            if span.parent_id in by_id:
                assert span.trace_id == by_id[span.parent_id].trace_id


class Watching(SpanProcessor):
    """A processor that might do anything, so spans take the SDK's way."""


def spans_of(count: int, *, way: str, limit: int = 64, **options: Any) -> tuple[Pipeline, list[Seen], str]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    if way == "sdk":
        provider.add_span_processor(Watching())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = OpenTelemetryHandler(provider, **options)
    manager = CallbackManager([handler], raise_handler_errors=True)
    pipeline = Pipeline(count, provider.get_tracer("user"))
    with use_callback_manager(manager):
        asyncio.run(pipeline.run(limit))
    assert manager.flush(60)
    path = handler.path or ""
    assert manager.stats().handlers[0].dropped == 0
    assert manager.close(30)
    return pipeline, from_sdk(exporter.get_finished_spans()), path


class TestDivided:
    @pytest.mark.parametrize("way", ["lean", "sdk"])
    def test_no_trace_is_above_the_limit_and_nothing_is_missing(self, way: str) -> None:
        """5,000 jobs with attempts, steps, batches and user spans inside, a tenth of the default limit."""
        pipeline, spans, path = spans_of(5000, way=way, max_spans_per_trace=50)
        assert path.startswith(way)
        check(spans, 50)
        pipeline.check(spans)
        (batch,) = [span for span in spans if span.type == "batch" and span.name == "jobs"]
        of_batch = [
            span for span in spans if span.attributes.get("spanloom.shard.of") == f"{batch.span_id:016x}"
        ]
        assert batch.attributes["spanloom.shards"] == len(of_batch) > 100
        assert len(batch.links) == min(128, len(of_batch))

    def test_both_ways_of_building_spans_divide_a_run_the_same(self) -> None:
        """Two handlers that see one run, one with the SDK in between, put every event into the same trace."""
        setups = [Setup(max_spans_per_trace=40), Setup(max_spans_per_trace=40)]
        setups[1].provider.add_span_processor(Watching())
        manager = CallbackManager([setup.handler for setup in setups], raise_handler_errors=True)
        pipeline = Pipeline(1000)
        with use_callback_manager(manager):
            asyncio.run(pipeline.run())
        assert manager.flush(30)
        lean, sdk = (
            sorted(from_sdk(setup.exporter.get_finished_spans()), key=lambda s: s.span_id) for setup in setups
        )
        assert [setup.handler.path.split(":")[0] for setup in setups if setup.handler.path] == ["lean", "sdk"]
        check(lean, 40)
        assert lean == sdk

    def test_a_batch_within_the_limit_stays_in_one_trace(self) -> None:
        """Nothing of shards is to be seen where there are none."""
        setup = Setup()

        async def job(_: int) -> None:
            await asyncio.sleep(0)

        setup.run(async_map(job, range(499), desc="jobs"))
        spans = from_sdk(setup.spans())
        assert len({span.trace_id for span in spans}) == 1
        assert len(spans) == 500
        assert not any("shard" in key for span in spans for key in span.attributes)

    def test_the_limit_can_be_taken_away(self) -> None:
        """``None`` puts everything into one trace, however large."""
        setup = Setup(max_spans_per_trace=None)

        async def job(_: int) -> None:
            pass

        setup.run(async_map(job, range(2000)))
        assert len({span.trace_id for span in from_sdk(setup.spans())}) == 1

    def test_the_fast_lane_is_divided_as_well(self) -> None:
        """Jobs that share the tasks of workers have a place of their own each."""
        setup = Setup(max_spans_per_trace=100)

        async def job(number: int) -> None:
            with setup.tracer.start_as_current_span(f"user {number}"):
                await asyncio.sleep(0)

        setup.run(async_map(job, range(1000), isolation="context", limit=8, desc="jobs"))
        spans = from_sdk(setup.spans())
        check(spans, 100)
        by_id = {span.span_id: span for span in spans}
        assert all(
            by_id[span.parent_id].trace_id == span.trace_id
            and by_id[span.parent_id].index == int(span.name[5:])
            for span in spans
            if span.name.startswith("user")
        )
        assert len({span.trace_id for span in spans}) == 12

    def test_an_input_of_unknown_size_begins_in_the_run_and_goes_on_in_shards(self) -> None:
        """The first half of the limit is with the batch, what comes then is in shards, in order of the index."""
        setup = Setup(max_spans_per_trace=100)

        async def job(_: int) -> None:
            await asyncio.sleep(0)

        setup.run(async_map(job, (number for number in range(500)), desc="jobs"))
        spans = from_sdk(setup.spans())
        check(spans, 100)
        (batch,) = [span for span in spans if span.type == "batch"]
        at_home = [span.index for span in spans if span.trace_id == batch.trace_id and span.type == "job"]
        assert sorted(at_home, key=lambda index: index or 0) == list(range(49))
        shards = [span for span in spans if span.type == "shard"]
        ranges = sorted(
            (s.attributes["spanloom.shard.first_job"], s.attributes["spanloom.shard.last_job"])
            for s in shards
        )
        assert ranges == [(49, 147), (148, 246), (247, 345), (346, 444), (445, 499)]

    def test_shards_know_their_neighbours_and_the_batch_those_with_failures_first(self) -> None:
        """A span may have few links: then the shards in which something failed are the ones that it links to."""
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(max_links=3))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        manager = CallbackManager(
            [OpenTelemetryHandler(provider, max_spans_per_trace=11)], raise_handler_errors=True
        )

        async def job(number: int) -> None:
            if number in (33, 77):
                raise ValueError

        with use_callback_manager(manager):
            asyncio.run(async_map(job, range(100), on_error="skip", desc="jobs"))
        assert manager.flush(5)
        spans = from_sdk(exporter.get_finished_spans())
        check(spans, 11)
        (batch,) = [span for span in spans if span.type == "batch"]
        assert batch.attributes["spanloom.shards"] == 10
        assert [link[2]["spanloom.shard.index"] for link in batch.links] == [0, 3, 7]
        shards = sorted(
            (s for s in spans if s.type == "shard"), key=lambda s: s.attributes["spanloom.shard.index"]
        )
        assert [[link[2]["spanloom.link"] for link in shard.links] for shard in shards] == [
            ["owner", "next"], *[["owner", "previous", "next"]] * 8, ["owner", "previous"],
        ]  # fmt: skip

    def test_several_batches_under_a_span_of_the_users_share_its_trace(self) -> None:
        """What we put into the caller's trace is counted together, and a root stays with its caller."""
        setup = Setup(max_spans_per_trace=100)

        async def job(_: int) -> None:
            pass

        async def main() -> None:
            with setup.tracer.start_as_current_span("request"):
                for _ in range(3):
                    await async_map(job, range(60), desc="jobs")

        setup.run(main())
        spans = from_sdk(setup.spans())
        (request,) = [span for span in spans if span.name == "request"]
        check(spans, 100)
        batches = [span for span in spans if span.type == "batch"]
        assert [(span.trace_id, span.parent_id) for span in batches] == [
            (request.trace_id, request.span_id)
        ] * 3
        assert Counter(span.trace_id for span in spans)[request.trace_id] == 1 + 3 + 60

    def test_a_link_to_a_job_leads_into_its_shard(self) -> None:
        """An event that was linked to jobs while they ran, or after the batch, names their spans where they lie."""
        setup = Setup(max_spans_per_trace=20)
        jobs: list[Any] = []

        async def job(_: int) -> None:
            jobs.append(setup.manager.current.get())
            await asyncio.sleep(0)

        async def main() -> None:
            with setup.manager.as_trace("run"):
                await async_map(job, range(100), desc="jobs")
                with setup.manager.event(name="merge") as merge:
                    for event in jobs[::9]:
                        merge.link(event)

        setup.run(main())
        spans = from_sdk(setup.spans())
        check(spans, 20)
        (merge,) = [span for span in spans if span.name == "merge"]
        assert len(merge.links) == 12
        assert len({trace_id for trace_id, _, _ in merge.links}) == 6

    def test_events_that_are_no_jobs_are_divided_as_well(self) -> None:
        """A run of 250 steps: those beyond the limit are in shards of the run's root."""
        setup = Setup(max_spans_per_trace=100)
        with use_callback_manager(setup.manager), setup.manager.as_trace("run"):
            for _ in range(250):
                with setup.manager.event(name="step"), setup.tracer.start_as_current_span("user"):
                    pass
        spans = from_sdk(setup.spans())
        check(spans, 100)
        (root,) = [span for span in spans if span.name == "run"]
        assert root.attributes["spanloom.shards"] == 2
        assert sum(span.name == "run shard" for span in spans) == 2

    def test_a_job_with_more_children_than_a_trace_holds_is_divided(self) -> None:
        """Its steps lie under roots that link to the job, and the job's span tells of them."""
        setup = Setup(max_spans_per_trace=20)

        async def job(_: int) -> None:
            for _ in range(50):
                with get_callback_manager().event(name="step"):
                    await asyncio.sleep(0)

        setup.run(async_map(job, range(3), desc="jobs"))
        spans = from_sdk(setup.spans())
        check(spans, 20)
        assert sum(span.name == "step" for span in spans) == 150
        jobs = [span for span in spans if span.type == "job"]
        assert all(span.attributes["spanloom.shards"] >= 2 for span in jobs)


class Picky(Sampler):
    """Asked about every span: drops those named so."""

    def __init__(self) -> None:
        self.traces: Counter[int] = Counter()

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        self.traces[trace_id] += 1
        return SamplingResult(Decision.DROP if name == "drop" else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "picky"


class TestSampling:
    def test_what_is_not_sampled_has_no_shards(self) -> None:
        """The decision is the run's; nothing is counted for a run that is dropped."""
        setup = Setup(sampler=ALWAYS_OFF, max_spans_per_trace=10)

        async def job(_: int) -> None:
            with setup.tracer.start_as_current_span("user"):
                pass

        setup.run(async_map(job, range(100)))
        assert setup.spans() == []

    def test_a_sampler_that_is_asked_about_every_span_is_asked_in_its_trace(self) -> None:
        """It sees the trace that the span will lie in, and what it drops does not keep a shard open."""
        sampler = Picky()
        setup = Setup(sampler=sampler, max_spans_per_trace=20)

        async def job(number: int) -> None:
            with get_callback_manager().event(name="drop" if number % 2 else "keep"):
                pass

        setup.run(async_map(job, range(100), desc="jobs"))
        spans = from_sdk(setup.spans())
        assert {span.trace_id for span in spans} == set(sampler.traces)
        assert max(sampler.traces.values()) <= 20
        assert Counter(span.name for span in spans)["keep"] == 50
        assert Counter(span.name for span in spans)["drop"] == 0
        ids = {(span.trace_id, span.span_id) for span in spans}
        assert all((span.trace_id, span.parent_id) in ids for span in spans if span.parent_id)

    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            ("vendor=x", "vendor=x"),
            ("ot=th:8;x:1,vendor=x", "ot=th:8;x:1;rv:29b7c1a2d3e4f5,vendor=x"),
            ("ot=th:8;rv:0123456789abcd", "ot=th:8;rv:0123456789abcd"),
        ],
    )
    @pytest.mark.parametrize("flags", [1, 3])
    def test_flags_and_state_of_the_callers_trace_are_the_shards_as_well(
        self, state: str, expected: str, flags: int
    ) -> None:
        """Where a threshold is in the state, so is what it is compared to: a shard is sampled like its run."""
        setup = Setup(max_spans_per_trace=10)
        parent = SpanContext(
            0x4BF92F3577B34DA6A329B7C1A2D3E4F5,
            0xF067AA0BA902B7,
            True,
            TraceFlags(flags),
            TraceState.from_header([state]),
        )
        users: list[SpanContext] = []

        async def job(_: int) -> None:
            with setup.tracer.start_as_current_span("user") as span:
                users.append(span.get_span_context())

        from opentelemetry import context as context_api

        token = context_api.attach(set_span_in_context(NonRecordingSpan(parent)))
        try:
            setup.run(async_map(job, range(30), desc="jobs"))
        finally:
            context_api.detach(token)
        contexts = [span.context for span in setup.spans() if span.context is not None]
        shards = [context for context in contexts if context.trace_id != parent.trace_id]
        assert len({context.trace_id for context in shards}) == 4
        assert {context.trace_state.to_header() for context in shards} == {expected}
        assert {int(context.trace_flags) for context in shards} == {flags}
        assert {context.trace_state.to_header() for context in users} == {expected}


class TestSifted:
    @pytest.mark.parametrize("way", ["lean", "sdk"])
    def test_what_failed_is_there_and_a_few_of_the_others(self, way: str) -> None:
        """Of 5,000 jobs the failed, the retried, 5 slow ones and 7 more; all traces are whole, all numbers exact."""
        policy = TailPolicy(slowest=5, random=7)
        pipeline, spans, path = spans_of(5000, way=way, max_spans_per_trace=50, tail=policy)
        assert path.startswith(way)
        ours = [span for span in spans if span.type is not None]
        traces = {span.trace_id for span in ours}
        pipeline.check_numbers(spans)
        jobs = {span.index for span in ours if span.type == "job" and span.name == "Pipeline.job"}
        assert pipeline.failing | pipeline.retried < jobs
        assert len(jobs) == len(pipeline.failing | pipeline.retried) + 12
        (batch,) = [span for span in ours if span.type == "batch" and span.name == "jobs"]
        assert batch.attributes["spanloom.batch.left_out"] == 5000 - len(jobs)
        ids = {span.span_id for span in ours}
        assert all(span.parent_id in ids or span.parent_id == 0 for span in ours)
        assert all(count <= 50 for count in Counter(span.trace_id for span in ours).values())
        assert len(traces) < 5000 / 50

    def test_kept_jobs_lie_together_where_user_code_asks_for_nothing(self) -> None:
        """Of 3,000 jobs 60 are kept, and all of them are in the trace of their run."""
        setup = Setup(tail=TailPolicy(slowest=10, random=20))

        async def job(number: int) -> None:
            await asyncio.sleep(0)
            if number % 100 == 0:
                raise ValueError(number)

        setup.run(async_map(job, range(3000), on_error="skip", desc="jobs"))
        spans = from_sdk(setup.spans())
        assert len({span.trace_id for span in spans}) == 1
        assert len(spans) == 1 + 30 + 30

    def test_point_events_and_user_attributes_of_jobs_that_are_left_out_leave_nothing(self) -> None:
        """What was noted of a job goes with it, and comes out with one that is kept."""
        setup = Setup(tail=TailPolicy(slowest=0, random=3))

        async def job(number: int) -> None:
            from opentelemetry import trace

            trace.get_current_span().set_attribute("number", number)
            get_callback_manager().emit(name="point")

        setup.run(async_map(job, range(500), desc="jobs"))
        jobs = [span for span in setup.spans() if (span.attributes or {}).get("spanloom.type") == "job"]
        assert len(jobs) == 3
        assert all([event.name for event in span.events] == ["point"] for span in jobs)
        assert all(
            (span.attributes or {})["number"] == (span.attributes or {})["spanloom.job.index"]
            for span in jobs
        )
        assert setup.handler._connection is not None
        builder = setup.handler._connection.builder
        assert not builder._points.waiting
        assert not builder._starts.notes

    def test_user_spans_in_jobs_without_a_span_are_still_exported(self) -> None:
        """They are the provider's own; their trace has a root although their job is missing."""
        setup = Setup(max_spans_per_trace=50, tail=TailPolicy(slowest=0, random=0))

        async def job(_: int) -> None:
            with setup.tracer.start_as_current_span("user"):
                pass

        setup.run(async_map(job, range(200), desc="jobs"))
        spans = from_sdk(setup.spans())
        assert Counter(span.name for span in spans)["user"] == 200
        traces = defaultdict(list)
        for span in spans:
            traces[span.trace_id].append(span)
        assert all(any(span.parent_id == 0 for span in inside) for inside in traces.values())
        assert all(len(inside) <= 50 + 1 for inside in traces.values())

    def test_nothing_is_held_for_a_run_that_is_not_sampled(self) -> None:
        """The policy costs nothing where there are no spans."""
        setup = Setup(sampler=ALWAYS_OFF, tail=TailPolicy())

        async def job(_: int) -> None:
            pass

        setup.run(async_map(job, range(500)))
        assert setup.spans() == []
        assert setup.handler._connection is not None
        builder = setup.handler._connection.builder
        assert builder._tail is not None
        assert builder._tail.held == 0


class TestSpooled:
    @pytest.mark.parametrize("tail", [None, TailPolicy(slowest=5, random=5)])
    def test_spans_that_are_built_where_their_events_end_are_divided_as_well(
        self, tail: TailPolicy | None, tmp_path: Path
    ) -> None:
        """With a spool, a job is built before its batch ends, in the task that ran it: nothing else is different."""
        receiver = Receiver()
        try:
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(
                BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces"))
            )
            handler = OpenTelemetryHandler(provider, max_spans_per_trace=50, spool=tmp_path, tail=tail)
            manager = CallbackManager([handler], raise_handler_errors=True)
            pipeline = Pipeline(1000)
            with use_callback_manager(manager):
                asyncio.run(pipeline.run())
            assert manager.flush(60)
            assert manager.close(10)
            provider.shutdown()
            spans = from_otlp(receiver.spans())
        finally:
            receiver.close()
        check(spans, 50)
        if tail is None:
            pipeline.check(spans)
        else:
            pipeline.check_numbers(spans)

    def test_batches_of_many_threads_at_once_are_divided_as_well(self) -> None:
        """Each of four threads has a loop, a manager's event and a batch of its own; the limit is that of all."""
        setup = Setup(max_spans_per_trace=50)

        async def job(_: int) -> None:
            with get_callback_manager().event(name="step"):
                await asyncio.sleep(0)

        def work() -> None:
            asyncio.run(async_map(job, range(500), limit=16, desc="jobs"))

        with use_callback_manager(setup.manager), setup.manager.as_trace("run"):
            threads = [threading.Thread(target=copy_context().run, args=(work,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        spans = from_sdk(setup.spans())
        check(spans, 50)
        assert Counter(span.type for span in spans)["job"] == 2000
        assert Counter(span.name for span in spans)["step"] == 2000


@pytest.mark.slow
class TestHundredThousand:
    def test_a_run_of_100_000_jobs_arrives_at_a_receiver_whole(self) -> None:
        """By OTLP, at the default limit: every job, every failure, every shard, and all links lead somewhere."""
        receiver = Receiver()
        try:
            provider = TracerProvider(shutdown_on_exit=False)
            exporter = OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces")
            provider.add_span_processor(BatchSpanProcessor(exporter))
            handler = OpenTelemetryHandler(provider)
            manager = CallbackManager([handler], raise_handler_errors=True)
            pipeline = Pipeline(100_000, provider.get_tracer("user"))
            with use_callback_manager(manager):
                asyncio.run(pipeline.run())
            assert manager.flush(120)
            assert manager.stats().handlers[0].dropped == 0
            manager.close(10)
            provider.shutdown()
            spans = from_otlp(receiver.spans())
        finally:
            receiver.close()
        check([span for span in spans if span.type is not None], 500)
        pipeline.check(spans)


@pytest.mark.parametrize("way", ["lean", "sdk"])
def test_our_own_links_are_not_searched_for_secrets(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes longer than the spans of the jobs; what user code links to is searched as ever."""
    named: list[str] = []

    def noting(key: str, value: object) -> object:
        named.append(key)
        return value

    monkeypatch.setattr(_finish, "redact_named", noting)
    _, seen, _ = spans_of(200, way=way, max_spans_per_trace=50)
    links = [about for span in seen for _, _, about in span.links]
    assert {about["spanloom.link"] for about in links} == {"owner", "shard", "previous", "next"}
    assert "spanloom.link" not in named


def test_memory_does_not_grow_with_the_number_of_jobs() -> None:
    """What this handler keeps of 8,000 more jobs in shards, or under a policy, is a few bytes of each."""

    async def job(_: int) -> None:
        pass

    def kept(count: int, **options: Any) -> int:
        setup = Setup(**options)
        setup.exporter.shutdown()  # it takes spans and keeps none
        with use_callback_manager(setup.manager), setup.manager.as_trace("run"):
            tracemalloc.start()
            try:
                for _ in range(count // 1000):
                    asyncio.run(async_map(job, range(1000), limit=64))
                    assert setup.manager.flush(10)
                ours = tracemalloc.take_snapshot().filter_traces(
                    [tracemalloc.Filter(True, "*/handlers/otel/*")]
                )
            finally:
                tracemalloc.stop()
        return sum(trace.size for trace in ours.traces)

    for options in ({}, {"tail": TailPolicy()}):
        few, many = kept(4_000, **options), kept(12_000, **options)
        assert many - few < 8_000 * 6


@pytest.mark.parametrize("limit", [0, 9, -1])
def test_a_limit_that_is_too_small_is_refused(limit: int) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(ValueError, match=rf"at least 10, or None for no limit \(got {limit}\)"):
        OpenTelemetryHandler(max_spans_per_trace=limit)
