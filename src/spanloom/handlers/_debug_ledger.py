"""The counts of `DebugHandler`, and the trees that are still growing.

A batch's jobs are counted once, in the tree of their trace, and move to the totals when the batch ends. Readers get
the sum of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, cast

from spanloom.events.event import Event, JobEvent, JobFamily
from spanloom.events.trace import Trace
from spanloom.handlers._debug_group import Group, Node
from spanloom.handlers._debug_slowest import Slowest
from spanloom.handlers._debug_tally import Tallies
from spanloom.handlers._debug_tree import TraceTree

__all__ = ["EndedTrace", "Ledger"]

MAX_TRACES: Final = 10_000
"""Traces that may be open at once; beyond, the oldest loses its tree."""


class EndedTrace(NamedTuple):
    """A trace whose root has ended.

    Attributes:
        trace: The trace.
        root: Its tree.
        left_out: Events that are not in the tree.
    """

    trace: Trace
    root: Node
    left_out: int


class Ledger:
    """Everything counted so far. Not thread-safe.

    Args:
        open_batches: The batches that have started, by event id; those that have ended are taken out.
        max_names: Types to tell apart, and names of each.
        max_tree: Nodes to keep of one tree.

    Attributes:
        tallies: The totals, without the jobs of running batches.
        slowest: The slowest ``job`` and ``trace`` trees.
        traces_ended: How many traces have ended.
    """

    def __init__(self, open_batches: dict[int, Event], *, max_names: int, max_tree: int) -> None:
        self._open_batches = open_batches
        self.tallies = Tallies(max_names)
        self.slowest = {"job": Slowest(), "trace": Slowest()}
        self.traces_ended = 0
        self._left_out = 0
        self._max_tree = max_tree
        self._trees: dict[Trace, TraceTree] = {}

    @property
    def traces_open(self) -> int:
        """How many traces have a tree that is still growing."""
        return len(self._trees)

    @property
    def left_out(self) -> int:
        """How many events are in no tree, because their parent had been dropped or had ended before them."""
        return self._left_out + sum(tree.left_out for tree in self._trees.values())

    def totals(self) -> Tallies:
        """Return a copy of the totals that includes the jobs of running batches."""
        totals = Tallies(self.tallies.max_names)
        totals.merge(self.tallies)
        for group in self.running():
            group.add_to(totals.of(group.type, group.name))
        return totals

    def running(self) -> Iterator[Group]:
        """Yield the jobs of batches that have not ended."""
        for tree in self._trees.values():
            yield from tree.running()

    def take(self, events: Sequence[Event]) -> list[EndedTrace]:
        """Count ended events, and return the traces among them whose root has ended."""
        first = events[0]
        if isinstance(first, JobEvent):
            family, jobs = first.family, cast("Sequence[JobEvent]", events)
            try:
                # 0.03 us a job; grouping them by family takes three times that.
                durations = [job.end_ns - job.start_ns for job in jobs if job.family is family]  # type: ignore[operator]  # they have ended
            except AttributeError:
                pass  # other events are among them
            else:
                if len(durations) == len(events):
                    self._tree(family.trace).add_jobs(family, jobs, durations)
                    return []
        return list(self._take_mixed(events))

    def _take_mixed(self, events: Sequence[Event]) -> Iterator[EndedTrace]:
        # Jobs are put off until their batch ends, or to the end of the list: the tree needs the events inside them
        # first.
        put_off: dict[int, dict[str, list[JobEvent]]] = {}
        family: JobFamily | None = None
        jobs: list[JobEvent] = []
        for event in events:
            if isinstance(event, JobEvent):
                if event.family is not family:  # most follow another of their batch
                    family = event.family
                    jobs = put_off.setdefault(family.batch_id, {}).setdefault(family.name, [])
                jobs.append(event)
                continue
            if event.counts is not None:
                self._open_batches.pop(event.event_id, None)
                for jobs in put_off.pop(event.event_id, {}).values():
                    self._add_jobs(jobs)
                family = None
            trace = event.trace
            tree = self._tree(trace)
            duration_ns = event.duration_ns or 0
            tally = self.tallies.of(event.type, event.name)
            tally.add(event, duration_ns)
            root = tree.add(event, duration_ns, tally)
            if root is not None:
                self._left_out += tree.left_out
                del self._trees[trace]
                if not event.is_point:
                    self.traces_ended += 1
                    self.slowest["trace"].offer(event.name, (root,))
                    yield EndedTrace(trace, root, tree.left_out)
        for kinds in put_off.values():
            for jobs in kinds.values():
                self._add_jobs(jobs)

    def _add_jobs(self, jobs: Sequence[JobEvent]) -> None:
        family = jobs[0].family
        durations = [job.end_ns - job.start_ns for job in jobs]  # type: ignore[operator]  # they have ended
        self._tree(family.trace).add_jobs(family, jobs, durations)

    def _tree(self, trace: Trace) -> TraceTree:
        tree = self._trees.get(trace)
        if tree is None:
            if len(self._trees) >= MAX_TRACES:
                oldest = self._trees.pop(next(iter(self._trees)))
                oldest.abandon()
                self._left_out += oldest.left_out
            tree = self._trees[trace] = TraceTree(self._max_tree, self._retire)
        return tree

    def _retire(self, jobs: Group) -> None:
        jobs.add_to(self.tallies.of(jobs.type, jobs.name))
        self.slowest["job"].offer(jobs.name, jobs.slowest)
