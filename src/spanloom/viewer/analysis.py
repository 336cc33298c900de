"""Everything that is shown of a run, found in one pass over its records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from spanloom.events.types import EventType
from spanloom.store.model import Record, Run, RunState
from spanloom.viewer._curve import Concurrency, Curve
from spanloom.viewer._errors import ErrorGroup, Errors
from spanloom.viewer._names import Names, NameStats
from spanloom.viewer._open import OpenGroup, StillOpen
from spanloom.viewer._path import Chain, CriticalPath
from spanloom.viewer._sweep import Node, end_of, sweep
from spanloom.viewer._tree import Kept, Place, Slowest, Tree

__all__ = ["Analysis", "analyse"]

_SLOWEST: Final = 10
"""Jobs that are kept one by one because they took longest."""


class Analysis(msgspec.Struct, frozen=True):
    """What there is to say about a run.

    Attributes:
        run: The run.
        events: How many events there are.
        duration_ns: How long it lasted, or lasts; to its last event, if that is later than its end.
        covered_ns: For how long anything was open: the part of the duration that the events can explain.
        names: Statistics by type and name.
        tree: The roots of the tree.
        errors: Groups of errors, the largest first.
        slowest: The slowest jobs, the slowest first.
        path: The critical path of the whole run.
        concurrency: How many jobs ran at once; ``None`` without jobs.
        open: What never ended, or has not yet.
        open_events: How many events that are, the enclosing ones included.
        unplaced: Events whose parent is not in the record; they are shown under their batch, or at the top of the tree.
        unwritten: Indices of jobs of which only events inside them are in the record: they had just started.
    """

    run: Run
    events: int
    duration_ns: int
    covered_ns: int
    names: list[NameStats]
    tree: list[Place]
    errors: list[ErrorGroup]
    slowest: list[Kept]
    path: Chain
    concurrency: Concurrency | None
    open: list[OpenGroup]
    open_events: int
    unplaced: int
    unwritten: list[int]

    @property
    def is_well(self) -> bool:
        """Whether no job failed, no event was lost, and the process neither died nor ended with an error."""
        run = self.run
        died = run.state == RunState.INTERRUPTED
        return not (died or run.exit_code or run.dropped or self.total("failed", "job"))

    def total(self, what: str, type: str | None = None) -> int:
        """Return the sum of attribute `what` of the statistics of `type`, or of all types."""
        return sum(getattr(stats, what) for stats in self.names if type is None or stats.type == type)


def analyse(run: Run, records: Iterable[Record], *, buckets: int = 60) -> Analysis:
    """Find everything that is shown of `run`.

    Takes one pass, and memory for what was open at once, not for what there was in all.

    Args:
        run: The run.
        records: All its records, in order of start.
        buckets: Most spans of time to divide the concurrency into.
    """
    end_ns = end_of(run)
    watcher = _Watcher(end_ns)
    crossing = sweep(records, end_ns, watcher)
    return Analysis(
        run=run,
        events=watcher.events,
        duration_ns=crossing.end_ns,
        covered_ns=crossing.covered_ns,
        names=watcher.names.all(),
        tree=watcher.tree.roots,
        errors=watcher.errors.groups(),
        slowest=watcher.slowest.kept(),
        path=watcher.path.whole,
        concurrency=watcher.curve.concurrency(buckets),
        open=watcher.open.groups(),
        open_events=watcher.open.count,
        unplaced=crossing.unplaced,
        unwritten=sorted(index for _, index in crossing.unwritten),
    )


class _Watcher:
    """Tells all the others what the sweep line crosses."""

    def __init__(self, end_ns: int) -> None:
        self.events = 0
        self.names = Names()
        self.tree = Tree()
        self.path = CriticalPath()
        self.errors = Errors()
        self.slowest = Slowest(_SLOWEST)
        self.curve = Curve(end_ns)
        self.open = StillOpen()

    def started(self, node: Node, place: Place | None) -> None:
        record = node.record
        self.events += 1
        node.stats = self.names.of(record.type, record.name)
        node.place = self.tree.place(record, place)
        if not record.is_point:
            self.path.started(node)
            if record.type == EventType.JOB and record.status != "skipped":
                self.curve.step(node.start_ns, 1)

    def ended(self, node: Node) -> None:
        record, parent = node.record, node.parent
        if record.type == EventType.BACKOFF:
            node.backoff_ns += node.end_ns - node.start_ns
        if parent is not None:
            parent.backoff_ns += node.backoff_ns
            span_ns = node.end_ns - node.start_ns
            if not record.is_point and (parent.below is None or parent.below_ns < span_ns):
                parent.below, parent.below_ns = _named(node), span_ns
        node.stats.add(node)
        node.place.add(node)
        self.errors.ended(node)
        self.open.ended(node)
        if not record.is_point:
            self.path.ended(node)
            if record.type == EventType.JOB and record.status != "skipped":
                self.curve.step(node.end_ns, -1)
                self.slowest.offer(node)


def _named(node: Node) -> Record:
    """Return what says most about where the time of `node` went: of an attempt, that is what took most of it."""
    inside = node.below
    is_most = node.below_ns * 2 >= node.end_ns - node.start_ns
    return inside if node.record.type == EventType.ATTEMPT and inside is not None and is_most else node.record
