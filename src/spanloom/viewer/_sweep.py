"""One pass over the events of a run, in order of time, that keeps only what is open at the moment.

Theory of operation. A sweep line, as in computational geometry: records come in order of their starts, a heap holds
the ends of those that have started, and the line moves from one start or end to the next. What the line crosses is
open at that moment, so memory grows with how much ran at once and not with how much ran.

Three rules keep it right where instants coincide, as they do on a virtual clock and at zero lengths:

* of several ends at one instant, the innermost comes first;
* an end comes before a start at the same instant, or a job could not follow the one that freed its slot;
* unless it is the end of something that the start happens in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Final, Protocol

from spanloom.events.types import EventType
from spanloom.store.model import Record, Run
from spanloom.viewer._names import NameStats
from spanloom.viewer._path import Chain
from spanloom.viewer._tree import Place

__all__ = ["Crossing", "Node", "Watcher", "end_of", "parents_first", "sweep"]

_MAX_GONE: Final = 20_000
"""Ended events that are remembered, so that a task which outlives the event it was started in is found a place."""

_MAX_UNWRITTEN: Final = 1_000


class Node:
    """An event that is open where the sweep line stands.

    Attributes:
        record: What was recorded of it.
        parent: What it happens in; ``None`` for the root of a trace, and for what outlives its parent.
        place: Where it is in the tree.
        stats: The statistics of its type and name.
        start_ns, end_ns: Its span; of what never ended, to the last moment that is known of the run.
        children: How many events are open right inside it.
        self_ns: For how long none was.
        backoff_ns: Pauses between attempts, at any depth inside it, and its own if it is one.
        chain: The critical path from its start to the end of its last child.
        base: That of its parent, when it started.
        failures: Errors that its children ended with, so that one that passes through is counted once.
        below: The event inside it that took longest; of an attempt, what took most of it.
        below_ns: For how long that went on.
        is_again: Whether an attempt had failed before: a back-off, an attempt after the first, or inside one.
    """

    __slots__ = (
        "backoff_ns",
        "base",
        "below",
        "below_ns",
        "chain",
        "children",
        "depth",
        "end_ns",
        "failures",
        "idle_since_ns",
        "is_again",
        "parent",
        "place",
        "record",
        "self_ns",
        "start_ns",
        "stats",
    )

    place: Place
    stats: NameStats

    def __init__(self, record: Record, parent: Node | None, start_ns: int, end_ns: int) -> None:
        self.record = record
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.start_ns = self.idle_since_ns = start_ns
        self.end_ns = end_ns
        self.children = 0
        self.self_ns = 0
        self.backoff_ns = 0
        self.chain: Chain | None = None
        self.base: Chain | None = None
        self.failures: set[tuple[str, str]] | None = None
        self.below: Record | None = None
        self.below_ns = 0
        self.is_again: bool = (
            (parent is not None and parent.is_again)
            or record.type == EventType.BACKOFF
            or (record.type == EventType.ATTEMPT and (record.attempt or 1) > 1)
        )


class Watcher(Protocol):
    """Who is told of what the sweep line crosses."""

    def started(self, node: Node, place: Place | None) -> None:
        """Take note of a start; `place` is that of its parent, ``None`` under no event."""

    def ended(self, node: Node) -> None:
        """Take note of an end; its `self_ns` is final, and everything inside it has ended."""


class Crossing:
    """What a whole sweep has measured.

    Attributes:
        covered_ns: For how long anything was open.
        end_ns: Where the sweep ended.
        unplaced: Records whose parent is not in the record.
        unwritten: Jobs that are not in the record but for what happened inside them, by batch and index: they had just
            started when the process died, and the next write would have had them. At most `_MAX_UNWRITTEN`.
    """

    __slots__ = ("covered_ns", "end_ns", "unplaced", "unwritten")

    def __init__(self) -> None:
        self.covered_ns = 0
        self.end_ns = 0
        self.unplaced = 0
        self.unwritten: set[tuple[int, int]] = set()


def end_of(run: Run) -> int:
    """Return when `run` ended or, if that was never written, was last heard of; on its own clock."""
    return run.seen_ns if run.ended_wall_ns is None else run.ended_wall_ns - run.started_wall_ns


def sweep(records: Iterable[Record], end_ns: int, watcher: Watcher) -> Crossing:
    """Tell `watcher` of every start and end, in order of time.

    Args:
        records: In order of start; those of one instant in any order.
        end_ns: Until when what has not ended is taken to have lasted.
        watcher: Told of each.
    """
    line = _Line(end_ns, watcher)
    for record in parents_first(records):
        line.start(record)
    line.finish()
    return line.crossing


class _Line:
    def __init__(self, end_ns: int, watcher: Watcher) -> None:
        self.crossing = Crossing()
        self._now = 0
        self._horizon_ns = end_ns
        self._watcher = watcher
        self._open: dict[int, Node] = {}
        self._ends: list[tuple[int, int, int, Node]] = []
        self._number = 0
        self._gone: OrderedDict[int, Place] = OrderedDict()

    def start(self, record: Record) -> None:
        start_ns = max(record.start_ns, self._now)
        ends = self._ends
        while ends and ends[0][0] <= start_ns:
            end_ns, _, _, node = ends[0]
            if end_ns == start_ns and self._is_inside(record, node):
                break
            self._end_first()
        if self._open:
            self.crossing.covered_ns += start_ns - self._now
        self._now = start_ns
        parent, place = None, None
        if record.parent_id is not None:
            parent = self._open.get(record.parent_id)
            place = self._place_above(record, record.parent_id) if parent is None else parent.place
        end_ns = max(start_ns, self._horizon_ns if record.end_ns is None else record.end_ns)
        node = Node(record, parent, start_ns, end_ns)
        if self.crossing.unwritten and record.type == EventType.JOB:
            self.crossing.unwritten.discard((record.batch_id, record.job_index))  # after what lies in it
        self._watcher.started(node, place)
        if record.is_point:
            self._watcher.ended(node)
            return
        if parent is not None:
            if not parent.children:
                parent.self_ns += start_ns - parent.idle_since_ns
            parent.children += 1
        self._open[record.event_id] = node
        self._number += 1
        heappush(ends, (end_ns, -node.depth, -self._number, node))

    def finish(self) -> None:
        while self._ends:
            self._end_first()
        self.crossing.end_ns = max(self._now, self._horizon_ns)

    def _end_first(self) -> None:
        end_ns, _, _, node = heappop(self._ends)
        self.crossing.covered_ns += end_ns - self._now
        self._now = end_ns
        event_id = node.record.event_id
        if self._open.get(event_id) is node:
            del self._open[event_id]
        if not node.children:
            node.self_ns += end_ns - node.idle_since_ns
        parent = node.parent
        if parent is not None:
            parent.children -= 1
            if not parent.children:
                parent.idle_since_ns = end_ns
        self._watcher.ended(node)
        gone = self._gone
        gone[event_id] = node.place
        if len(gone) > _MAX_GONE:
            gone.popitem(last=False)

    def _place_above(self, record: Record, parent_id: int) -> Place | None:
        """Return where to put a record whose parent is not open."""
        place = self._gone.get(parent_id)
        if place is not None:
            return place
        crossing, batch_id, index = self.crossing, record.batch_id, record.job_index
        crossing.unplaced += 1
        if batch_id is None or index is None:
            return None
        if len(crossing.unwritten) < _MAX_UNWRITTEN:
            crossing.unwritten.add((batch_id, index))
        batch = self._open.get(batch_id)
        return None if batch is None else batch.place

    def _is_inside(self, record: Record, node: Node) -> bool:
        above = None if record.parent_id is None else self._open.get(record.parent_id)
        while above is not None and above is not node:
            above = above.parent
        return above is node


def parents_first(records: Iterable[Record]) -> Iterator[Record]:
    """Yield `records` so that of those which start at one instant no child comes before its parent."""
    last: Record | None = None
    tied: list[Record] = []  # with `last` as the first of them; most instants have one start only
    for record in records:
        if last is None or record.start_ns != last.start_ns:
            if tied:
                yield from _in_order(tied)
                tied = []
            elif last is not None:
                yield last
            last = record
        else:
            tied = tied or [last]
            tied.append(record)
    if tied:
        yield from _in_order(tied)
    elif last is not None:
        yield last


def _in_order(tied: list[Record]) -> Iterator[Record]:
    waiting = {record.event_id: record for record in tied}
    for record in tied:
        line = []
        above: Record | None = waiting.pop(record.event_id, None)
        while above is not None:
            line.append(above)
            above = None if above.parent_id is None else waiting.pop(above.parent_id, None)
        yield from reversed(line)
