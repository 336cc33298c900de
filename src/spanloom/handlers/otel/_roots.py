"""The root spans of shards, inserted among the events whose spans are built, and the links from their owners' spans.

A shard's root is made like the span of any event, from an event made up for it, with attributes and links of its own.
So neither way of building spans, nor anything after it, has to know about shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, cast

from opentelemetry.trace import Link, SpanContext
from opentelemetry.util.types import AttributeValue

from spanloom.events import Event, EventStatus, EventType
from spanloom.events.event import JobEvent, ScopeEvent
from spanloom.events.trace import Trace
from spanloom.handlers.otel._job_run import JobRun, Woven
from spanloom.handlers.otel._shard import Shard
from spanloom.handlers.otel._sharding import Sharding
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._traces import TraceNote, span_context

__all__ = ["SHARD", "ShardRoots"]

SHARD: Final = "shard"
"""The type that the root of a shard has."""


class ShardRoots:
    """Weaves in the roots of shards; on one thread.

    Args:
        starts: What was noted at the start of the events.
        max_links: Links that a span may have; ``None`` for any number.
    """

    def __init__(self, starts: SpanStarts, *, max_links: int | None) -> None:
        self._starts = starts
        self._max_links = max_links

    def weave(self, events: Sequence[Event]) -> Sequence[Woven]:
        """Return `events`, jobs in runs, with the roots of the shards that are complete with them, each where it is."""
        woven: list[Woven] = []
        trace: TraceNote | None = None
        run: TraceNote | None = None
        shard: Shard | None = None
        family, low, high, start = None, 0, 0, 0
        for at, event in enumerate(events):
            if type(event) is not JobEvent:
                self._weave_jobs(events[start:at], trace, shard, run, woven)
                start = at + 1
                self._weave_scope(event, woven)
            elif event.family is not family or not low <= event.index < high:
                self._weave_jobs(events[start:at], trace, shard, run, woven)
                start = at
                family, run = event.family, self._starts.run_of(event)
                trace, shard, low, high = self._starts.range_of(event)
        self._weave_jobs(events[start:], trace, shard, run, woven)
        return woven

    def roots_after(self, jobs: list[JobEvent]) -> list[Event]:
        """Return the roots of the shards that are complete with `jobs`, all of one batch and in one shard."""
        _, shard, _, _ = self._starts.range_of(jobs[0])
        run = self._starts.run_of(jobs[0])
        if shard is None or run.sharding is None:
            return []
        shard.add_jobs(jobs)
        return self._roots(run.sharding.completed(shard), run)

    def rest(self) -> list[Event]:
        """Return the roots of all shards that are left: nothing more comes."""
        return [
            root
            for run in self._starts.runs()
            if run.sharding is not None
            for shard in run.sharding.untold()
            for root in self._roots([shard], run)
        ]

    def _weave_scope(self, event: Event, woven: list[Woven]) -> None:
        run = self._starts.run_of(event)
        sharding = run.sharding
        if sharding is None:
            woven.append(event)
            return
        woven += self._owner_ended(event, run, sharding)
        if event.parent_id is None:
            woven += self._roots(sharding.untold(), run)
        woven.append(event)
        woven += self._roots(sharding.built(event), run)

    def _weave_jobs(
        self,
        events: Sequence[Event],
        trace: TraceNote | None,
        shard: Shard | None,
        run: TraceNote | None,
        woven: list[Woven],
    ) -> None:
        """Weave in jobs of one family, all of which lie in `trace`, and in `shard` if that is one."""
        if not events or trace is None or run is None:
            return
        jobs = cast("Sequence[JobEvent]", events)
        sharding = run.sharding
        start = 0
        if sharding is not None and sharding.has_others:
            for at, job in enumerate(jobs):
                if roots := self._owner_ended(job, run, sharding):
                    woven += (*_run(jobs[start:at], trace), *roots)
                    start = at
        woven += _run(jobs[start:], trace)
        if sharding is not None and shard is not None:
            shard.add_jobs(jobs)
            woven += self._roots(sharding.completed(shard), run)

    def _roots(self, shards: Iterable[Shard], run: TraceNote) -> list[Event]:
        return [self._root(shard, run) for shard in shards if not shard.is_told]

    def _root(self, shard: Shard, run: TraceNote) -> Event:
        shard.is_told = True
        series = shard.series
        owner = series.owner
        # Without a number: names are few, and whoever makes metrics of spans counts on that.
        name = SHARD if owner is None else f"{owner.name} {SHARD}"
        # Of a shard in which nothing was built, one moment is known at least: that of its owner's start.
        start_ns = shard.start_ns or (0 if owner is None else owner.start_ns)
        root = ScopeEvent(
            SHARD,
            name,
            shard.root_id,
            None,
            Trace(name, shard.root_id, shard.trace_id),
            start_ns,
            end_ns=shard.end_ns or start_ns,
        )
        self._starts.shard_root(root, shard, run)
        links = [Link(self._owner_context(shard, run), {"spanloom.link": "owner"})]
        for which, index in (("previous", shard.index - 1), ("next", shard.index + 1)):
            if 0 <= index < len(series.shards):
                context = self._context(series.shards[index], run)
                links.append(Link(context, {"spanloom.link": which, "spanloom.shard.index": index}))
        self._starts.tell(root, _about(shard), links)
        return root

    def _owner_ended(self, event: Event, run: TraceNote, sharding: Sharding) -> list[Event]:
        """Return the roots of the shards of `event` that are left, and have its span tell of all of them."""
        left = sharding.ended(event)
        shards = sharding.shards_of(event)
        if not shards:
            return []
        attributes: dict[str, AttributeValue] = {"spanloom.shards": len(shards)}
        if event.type == EventType.BATCH:
            attributes["spanloom.batch.id"] = f"{event.event_id:016x}"
        links: list[Link] = []
        for shard in _linked(shards, self._max_links):
            about: dict[str, AttributeValue] = {
                "spanloom.link": SHARD,
                "spanloom.shard.index": shard.index,
                "spanloom.shard.failed": shard.failed,
            }
            links.append(Link(self._context(shard, run), about))
        self._starts.tell(event, attributes, links)
        return self._roots(left, run)

    def _context(self, shard: Shard, run: TraceNote) -> SpanContext:
        return span_context(self._starts.note_of(shard, run), shard.root_id)

    def _owner_context(self, shard: Shard, run: TraceNote) -> SpanContext:
        home = shard.series.home
        trace = self._starts.note_of(home, run) if isinstance(home, Shard) else run
        return span_context(trace, shard.series.owner_id)


def _run(jobs: Sequence[JobEvent], trace: TraceNote) -> Sequence[JobRun]:
    return (JobRun(jobs, trace),) if jobs else ()


def _linked(shards: list[Shard], limit: int | None) -> list[Shard]:
    """Return the shards that a span links to, which may have `limit` links: if not all, those with failures first."""
    if limit is None or len(shards) <= limit:
        return shards
    chosen = sorted(shards, key=lambda shard: not shard.failed)[:limit]
    return sorted(chosen, key=lambda shard: shard.index)


def _about(shard: Shard) -> dict[str, AttributeValue]:
    """Return the attributes of the root of `shard`."""
    series = shard.series
    about: dict[str, AttributeValue] = {
        "spanloom.outcome": str(EventStatus.ERROR if shard.failed else EventStatus.OK),
        "spanloom.shard.index": shard.index,
        "spanloom.shard.of": f"{series.owner_id:016x}",
        "spanloom.shard.spans": shard.spans + 1,
    }
    if shard.low is not None and shard.high is not None:
        about["spanloom.batch.id"] = f"{series.owner_id:016x}"
        about["spanloom.shard.first_job"] = shard.low
        about["spanloom.shard.last_job"] = shard.high
        about["spanloom.shard.jobs"] = shard.jobs
        about["spanloom.shard.ok"] = shard.jobs - shard.failed - shard.cancelled
        about["spanloom.shard.failed"] = shard.failed
        about["spanloom.shard.cancelled"] = shard.cancelled
    return about
