"""The tree of a run: a calling context tree, in which events of one type and name in one place are one node.

A calling context tree (Ammons, Ball and Larus, *Exploiting Hardware Performance Counters with Flow and Context
Sensitive Profiling*, PLDI 1997) has a node for every distinct path of names from the root, however often it was taken.
A batch of a million jobs is one node with a handful of children, and so are a thousand batches of a thousand jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from spanloom.events.histogram import Histogram
from spanloom.events.types import FAILED
from spanloom.store.model import Record
from spanloom.viewer._names import OTHER

if TYPE_CHECKING:
    from spanloom.viewer._sweep import Node

__all__ = ["Kept", "Place", "Slowest", "Tree"]

_MAX_PLACES: Final = 1_000
"""Nodes of the tree. Beyond, what happens in a place without children yet is counted under `OTHER` there."""
_MAX_BELOW: Final = 50
"""Types and names told apart in one place."""
_MAX_DEPTH: Final = 40
"""What is deeper is counted at that depth: recursion may go on for a thousand levels."""
_SLOWEST: Final = 3
"""Events of one place that are kept one by one because they took longest."""
_FAILURES: Final = 3
"""Events of one place that are kept one by one because they failed first."""


class Kept(NamedTuple):
    """One event that is shown by itself.

    Attributes:
        record: What was recorded of it.
        span_ns: Its duration; if it never ended, until the run was last heard of.
        self_ns: For how much of that nothing was open inside it.
        backoff_ns: Pauses between attempts in it.
        below: The event right inside it that took longest or, where that is an attempt, what took most of that.
    """

    record: Record
    span_ns: int
    self_ns: int
    backoff_ns: int
    below: Record | None

    @classmethod
    def of(cls, node: Node) -> Kept:
        """Keep what is to be shown of `node`."""
        return cls(node.record, node.end_ns - node.start_ns, node.self_ns, node.backoff_ns, node.below)


class Slowest:
    """The events that took longest, of those offered.

    Args:
        size: How many to keep.
    """

    __slots__ = ("_floor_ns", "_kept", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Kept] = []
        self._floor_ns = -1

    def offer(self, node: Node) -> None:
        """Keep `node` if it is among them."""
        if node.end_ns - node.start_ns <= self._floor_ns:
            return
        self._kept.append(Kept.of(node))
        if len(self._kept) >= self._size:
            self._kept = self.kept()[: self._size]
            self._floor_ns = self._kept[-1].span_ns

    def kept(self) -> list[Kept]:
        """Return them, the slowest first."""
        return sorted(self._kept, key=lambda kept: (-kept.span_ns, kept.record.start_ns))


class Place:
    """Everything of one type and name in one place of the tree.

    Attributes:
        type, name: Whose.
        first_ns: When the first of them started.
        durations: From start to end, of those that have ended, without the skipped ones.
        failed, cancelled, skipped, open: How many ended, or did not, in these ways.
        span_ns: Sum of the durations, with those of open ones up to the end of what is known.
        self_ns: For how much of that nothing was open inside.
        slowest: The events that took longest.
        failures: The first events that failed.
        below: What happened inside, by type and name.
    """

    __slots__ = (
        "below",
        "cancelled",
        "depth",
        "durations",
        "failed",
        "failures",
        "first_ns",
        "name",
        "open",
        "self_ns",
        "skipped",
        "slowest",
        "span_ns",
        "type",
    )

    def __init__(self, type: str, name: str, first_ns: int, depth: int) -> None:
        self.type = type
        self.name = name
        self.first_ns = first_ns
        self.depth = depth
        self.durations = Histogram()
        self.failed = self.cancelled = self.skipped = self.open = 0
        self.span_ns = self.self_ns = 0
        self.slowest = Slowest(_SLOWEST)
        self.failures: list[Kept] = []
        self.below: dict[tuple[str, str], Place] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return self.durations.count + self.open + self.skipped

    def add(self, node: Node) -> None:
        """Count one event that has ended, or that will be open for ever."""
        record = node.record
        if record.status == "skipped":
            self.skipped += 1
            return
        span_ns = node.end_ns - node.start_ns
        self.span_ns += span_ns
        self.self_ns += node.self_ns
        if record.end_ns is None:
            self.open += 1
        else:
            self.durations.add(span_ns)
            status = record.status
            if status != "ok":
                if status in FAILED:
                    self.failed += 1
                    if len(self.failures) < _FAILURES:
                        self.failures.append(Kept.of(node))
                elif status == "cancelled":
                    self.cancelled += 1
        self.slowest.offer(node)


class Tree:
    """The tree while it grows.

    Attributes:
        roots: What happened inside of nothing.
    """

    def __init__(self) -> None:
        self._root = Place("", "", 0, -1)
        self._places = 0

    @property
    def roots(self) -> list[Place]:
        """The places under no other, in order of their first start."""
        return list(self._root.below.values())

    def place(self, record: Record, above: Place | None) -> Place:
        """Return where `record` belongs in the tree, under `above`."""
        if above is None:
            above = self._root
        key = record.type, record.name
        place = above.below.get(key)
        if place is not None:
            return place
        if above.depth >= _MAX_DEPTH:
            return above
        if len(above.below) >= _MAX_BELOW or self._places >= _MAX_PLACES:
            key = OTHER, OTHER
            if above.name == OTHER:
                return above
        place = above.below.get(key) or Place(*key, record.start_ns, above.depth + 1)
        above.below[key] = place
        self._places += 1
        return place
