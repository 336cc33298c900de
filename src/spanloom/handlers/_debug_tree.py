"""The tree of one trace, put together from its ended events, in bounded memory.

Theory of operation. Children end before their parents, so ended events wait under their parent's id, in a `Below`,
until the parent ends and takes them.

A job's record does not say whether anything waits under it, and a look-up for each of a million jobs costs more than
counting them. So, where that is shorter, each of the few waiting ids is checked for being one of these jobs
(`TraceTree._inside`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from spanloom.events.event import Event, JobEvent, JobFamily
from spanloom.events.ids import event_id_at, index_in
from spanloom.events.types import EventType
from spanloom.handlers._debug_group import Below, Folded, Group, Node, fold
from spanloom.handlers._debug_tally import Tally

__all__ = ["TraceTree"]

MAX_WAITING: Final = 10_000
"""Parents that may be open at once in one trace; beyond, what waits under the oldest is dropped, and counted."""


class TraceTree:
    """The tree of one trace while it grows.

    Args:
        max_nodes: Nodes to keep, not counting the parents of kept nodes. Other events are only counted.
        retire: Called with each group of jobs that is complete.

    Attributes:
        waiting: Ended events by the id of their parent, which is still open.
        nodes: Nodes kept at the moment.
        left_out: Events that are in no count of the tree, because their parent was dropped or had ended before them.
    """

    __slots__ = ("_max_nodes", "_retire", "left_out", "nodes", "waiting")

    def __init__(self, max_nodes: int, retire: Callable[[Group], None]) -> None:
        self._max_nodes = max_nodes
        self._retire = retire
        self.waiting: dict[int, Below] = {}
        self.nodes = 0
        self.left_out = 0

    def add(self, event: Event, duration_ns: int, tally: Tally) -> Node | None:
        """Put an ended event that is not a job in its place.

        Args:
            event: The event.
            duration_ns: Its duration.
            tally: Where events of its type and name are counted over all traces.

        Returns:
            The finished tree, if `event` is the root.
        """
        below = self.waiting.pop(event.event_id, None)
        backoff_ns = 0
        if below is not None:
            backoff_ns = below.backoff_ns
            tally.backoff_ns += backoff_ns
            for jobs in below.job_groups():
                self._retire(jobs)
        parent_id = event.parent_id
        if parent_id is None:
            self.abandon()
            return Node(event, duration_ns, below)
        siblings = self._below(parent_id)
        siblings.backoff_ns += backoff_ns + duration_ns if event.type == EventType.BACKOFF else backoff_ns
        room = self.nodes < self._max_nodes
        self.nodes += siblings.group(event).add(event, duration_ns, below, room=room)
        return None

    def add_jobs(self, family: JobFamily, jobs: Sequence[JobEvent], durations_ns: Sequence[int]) -> None:
        """Put ended jobs of one family in their place; at least one job, durations in the same order."""
        batch = self._below(family.batch_id)
        if batch.jobs is None:
            batch.jobs = {}
        group = batch.jobs.get(family.name)
        if group is None:
            group = batch.jobs[family.name] = Group(EventType.JOB, family.name, jobs[0].start_ns)
        inside = self._inside(family, jobs) if len(self.waiting) > 1 else {}
        for below in inside.values():
            batch.backoff_ns += below.backoff_ns
        room = self.nodes < self._max_nodes
        self.nodes += group.add_jobs(family, jobs, durations_ns, inside, room=room)

    def abandon(self) -> None:
        """Drop all events whose parent has not ended, and count them as left out."""
        for below in self.waiting.values():
            self._drop(below)
        self.waiting = {}

    def running(self) -> Iterator[Group]:
        """Yield the jobs of batches that have not ended."""
        for below in self.waiting.values():
            yield from below.job_groups()

    def _below(self, parent_id: int) -> Below:
        below = self.waiting.get(parent_id)
        if below is None:
            if len(self.waiting) >= MAX_WAITING:
                self._drop(self.waiting.pop(next(iter(self.waiting))))
            below = self.waiting[parent_id] = Below()
        return below

    def _drop(self, below: Below) -> None:
        for jobs in below.job_groups():
            self._retire(jobs)
        gone: dict[tuple[str, str], Folded] = {}
        self.nodes -= fold(below, gone)
        self.left_out += sum(entry.count for entry in gone.values())

    def _inside(self, family: JobFamily, jobs: Sequence[JobEvent]) -> dict[int, Below]:
        """Remove and return what waits under any of `jobs`, by their index."""
        waiting, base = self.waiting, family.base_id
        if len(waiting) > len(jobs):
            found = {
                job.index: event_id for job in jobs if (event_id := event_id_at(base, job.index)) in waiting
            }
        else:
            started = family.started
            ids = {index: event_id for event_id in waiting if (index := index_in(base, event_id)) < started}
            found = {job.index: ids[job.index] for job in jobs if job.index in ids} if ids else {}
        return {index: waiting.pop(event_id) for index, event_id in found.items()}
