"""The parts of a trace tree: nodes, groups of siblings, and what is below one event.

Siblings of one type and name share a `Group`, which counts all of them and keeps the `SHOWN` slowest as nodes. What
happened inside the others is folded into counts. A batch of a million jobs is one group with a handful of nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from spanloom.events.error import ErrorInfo
from spanloom.events.event import Event, JobEvent, JobFamily
from spanloom.handlers._debug_tally import OTHER, Tally

__all__ = ["Below", "Folded", "Group", "Node", "Seen", "fold"]

SHOWN: Final = 5
"""Siblings of one type and name that are kept as nodes."""
MAX_GROUPS: Final = 50
"""Types and names under one parent; any further ones share a group named `OTHER`."""


class Seen(Protocol):
    """The parts of an event that a tree shows: an `Event`, or a copy that does not keep its whole trace alive."""

    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def status(self) -> str | None: ...
    @property
    def error(self) -> ErrorInfo | None: ...
    @property
    def queue_ns(self) -> int | None: ...
    @property
    def busy_ns(self) -> int | None: ...
    @property
    def attempt(self) -> int | None: ...
    @property
    def job_index(self) -> int | None: ...


class Node(msgspec.Struct, eq=False):
    """One event of a tree, and what happened inside it, if anything did."""

    event: Seen
    duration_ns: int
    below: Below | None


class Folded(msgspec.Struct, eq=False):
    """Events whose nodes are not kept: how many, and how long all together."""

    count: int = 0
    total_ns: int = 0
    failed: int = 0

    def add(self, count: int, total_ns: int, failed: int) -> None:
        """Count more of them."""
        self.count += count
        self.total_ns += total_ns
        self.failed += failed


class Group:
    """Siblings of one type and name.

    Attributes:
        count: How many there are.
        slowest: The slowest `SHOWN` of them, in no order; fewer where the tree had grown too large.
        first_ns: When the first of them started.
        folded: Events inside those that are not kept, by type and name.
    """

    __slots__ = ("_floor_ns", "_tally", "count", "first_ns", "folded", "name", "slowest", "type")

    def __init__(self, type: str, name: str, first_ns: int) -> None:
        self.type = type
        self.name = name
        self.first_ns = first_ns
        self.count = 0
        self.slowest: list[Node] = []
        self.folded: dict[tuple[str, str], Folded] = {}
        self._floor_ns = -1  # a node must be slower than this to be among the slowest
        self._tally: Tally | None = None  # most groups are so small that their nodes say it all

    @property
    def tally(self) -> Tally:
        """All of them, counted."""
        if self._tally is not None:
            return self._tally
        tally = Tally()
        self.add_to(tally)
        return tally

    def add_to(self, tally: Tally) -> None:
        """Count all of them in `tally`, too."""
        if self._tally is not None:
            tally.merge(self._tally)
            return
        jobs = [node.event for node in self.slowest if isinstance(node.event, JobEvent)]
        if jobs:
            tally.add_jobs(jobs, [node.duration_ns for node in self.slowest], jobs[0].family.ready_ns)
        for node in self.slowest:
            if not jobs:
                tally.add(node.event, node.duration_ns)
            if node.below is not None:
                tally.backoff_ns += node.below.backoff_ns

    def total_and_failed(self) -> tuple[int, int]:
        """Return the sum of the durations, and how many an exception ended."""
        if self._tally is not None:
            return self._tally.durations.total, self._tally.failed
        total_ns = failed = 0
        for node in self.slowest:
            total_ns += node.duration_ns
            failed += node.event.error is not None and node.event.status != "cancelled"
        return total_ns, failed

    def add(self, event: Event, duration_ns: int, below: Below | None, *, room: bool) -> int:
        """Count one event that is not a job; return by how many the kept nodes grew."""
        self.count += 1
        if self._tally is None:
            if room and self.count <= SHOWN:
                self.slowest.append(Node(event, duration_ns, below))
                return 1
            self._settle()
        tally = self.tally
        tally.add(event, duration_ns)
        if below is not None:
            tally.backoff_ns += below.backoff_ns
        return self._keep(event, duration_ns, below, room=room)

    def add_jobs(
        self,
        family: JobFamily,
        jobs: Sequence[JobEvent],
        durations_ns: Sequence[int],
        inside: dict[int, Below],
        *,
        room: bool,
    ) -> int:
        """Count jobs of one batch; return by how many the kept nodes grew.

        Args:
            family: Whose jobs they are.
            jobs: At least one.
            durations_ns: Their durations, in the same order.
            inside: What happened inside some of them, by their index.
            room: Whether new nodes may be kept.
        """
        self.count += len(jobs)
        if self._tally is None:
            if room and self.count <= SHOWN:
                self.slowest += [
                    Node(job, duration_ns, inside.get(job.index))
                    for job, duration_ns in zip(jobs, durations_ns, strict=True)
                ]
                return len(jobs)
            self._settle()
        tally, grown = self.tally, 0
        for below in inside.values():
            tally.backoff_ns += below.backoff_ns
        if tally.add_jobs(jobs, durations_ns, family.ready_ns) > self._floor_ns:
            for job, duration_ns in zip(jobs, durations_ns, strict=True):
                if duration_ns > self._floor_ns:
                    grown += self._keep(job, duration_ns, inside.pop(job.index, None), room=room)
        for below in inside.values():
            grown -= fold(below, self.folded)
        return grown

    def _settle(self) -> None:
        self._tally = self.tally
        if len(self.slowest) >= SHOWN:
            self._floor_ns = min(map(_duration, self.slowest))

    def _keep(self, event: Event, duration_ns: int, below: Below | None, *, room: bool) -> int:
        slowest = self.slowest
        # In a full tree, a node may still replace a faster one, and parents are kept: without them, what is below
        # them could not be shown.
        if duration_ns <= self._floor_ns or not (room or below is not None or len(slowest) == SHOWN):
            return 0 if below is None else -fold(below, self.folded)
        slowest.append(Node(event, duration_ns, below))
        grown = 1
        if len(slowest) > SHOWN:
            fastest = min(slowest, key=_duration)
            slowest.remove(fastest)
            grown = 0 if fastest.below is None else -fold(fastest.below, self.folded)
        if len(slowest) == SHOWN:
            self._floor_ns = min(map(_duration, slowest))
        return grown

    def ranked(self) -> list[Node]:
        """Return the kept nodes, the slowest first."""
        return sorted(self.slowest, key=_duration, reverse=True)

    def folded_copy(self) -> dict[tuple[str, str], Folded]:
        """Return a copy of `folded` to count more in."""
        return {key: Folded(entry.count, entry.total_ns, entry.failed) for key, entry in self.folded.items()}

    def pruned(self, slowest: list[Node], folded: dict[tuple[str, str], Folded]) -> Group:
        """Return a copy that holds `slowest` and `folded` instead of its own."""
        copy = Group(self.type, self.name, self.first_ns)
        copy.count, copy._tally = self.count, self.tally
        copy.slowest, copy.folded = slowest, folded
        return copy


class Below:
    """The ended events under one parent.

    Attributes:
        groups: Everything but the jobs of a runner, by type and name.
        jobs: The jobs by name, if the parent is a batch.
        backoff_ns: Sum of the back-offs at any depth.
    """

    __slots__ = ("backoff_ns", "groups", "jobs")

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str], Group] = {}
        self.jobs: dict[str, Group] | None = None
        self.backoff_ns = 0

    def __iter__(self) -> Iterator[Group]:
        yield from self.job_groups()
        yield from self.groups.values()

    def job_groups(self) -> Collection[Group]:
        """Return the groups of jobs; none unless the parent is a batch."""
        return () if self.jobs is None else self.jobs.values()

    def group(self, event: Event) -> Group:
        """Return the group that `event`, which is not a job, belongs to."""
        key = event.type, event.name
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= MAX_GROUPS:
                key = OTHER, OTHER
            group = self.groups.get(key) or Group(*key, event.start_ns)
            self.groups[key] = group
        elif event.start_ns < group.first_ns:
            group.first_ns = event.start_ns
        return group


def fold(below: Below, into: dict[tuple[str, str], Folded]) -> int:
    """Add everything below an event to counts by type and name; return how many nodes that frees."""
    freed = 0
    for group in below:
        _at(into, (group.type, group.name)).add(group.count, *group.total_and_failed())
        for key, inner in group.folded.items():
            _at(into, key).add(inner.count, inner.total_ns, inner.failed)
        for node in group.slowest:
            freed += 1 if node.below is None else 1 + fold(node.below, into)
    return freed


def _at(folded: dict[tuple[str, str], Folded], key: tuple[str, str]) -> Folded:
    entry = folded.get(key)
    if entry is None:
        if len(folded) >= MAX_GROUPS:
            key = OTHER, OTHER
        entry = folded.setdefault(key, Folded())
    return entry


def _duration(node: Node) -> int:
    return node.duration_ns
