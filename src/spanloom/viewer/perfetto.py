"""A recorded run as a picture: Chrome trace JSON, for the Perfetto UI.

What is in the picture, from top to bottom:

* the traces and batches and whatever else is not inside a job, nested;
* where busy time was measured, the event loop, with the jobs that blocked it;
* for each kind of batch, by name, its worker slots, each with the jobs that it ran, and inside them their attempts,
  back-offs, calls and waits for limiters; arrows lead from each attempt to the next;
* for each kind of batch the waits of its jobs for a slot, and how many run and how many are queued, over time.

Everything is one pass over the records in the order of their starts, in the memory of what was open at once. All times
are those of the record; what the record does not say, such as when exactly a job held the loop, is not drawn.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Final

from spanloom.events import EventType
from spanloom.store.model import Record, Run
from spanloom.viewer._chrome import ChromeTrace
from spanloom.viewer._ids import short_id
from spanloom.viewer._lanes import Lane, Lanes
from spanloom.viewer._perfetto_jobs import BESIDE, GROUP, Batch, Group
from spanloom.viewer._perfetto_text import about, arguments, label

__all__ = ["write_perfetto"]

BLOCKED_NS: Final = 10_000_000
"""A loop that is held for longer than 10 ms is called blocked: others feel it, and spanloom itself never does that."""
BLOCKED_SHARE: Final = 0.9
"""Part of its run time in which a job must have held the loop for its run to be drawn as a block."""
MAX_GROUPS: Final = 200
"""Kinds of batches that are told apart; the jobs of all others are drawn together."""
SAMPLES: Final = 50_000
"""Values of one counter over a whole run, about: more than any screen has pixels."""
_LOOP: Final = GROUP // 2
"""The place of the event loop: after the batches, before the slots."""


def write_perfetto(run: Run, records: Iterable[Record], write: Callable[[bytes], object]) -> None:
    """Write a run as Chrome trace JSON.

    Args:
        run: Whose records they are.
        records: In the order of their starts; read once, as the trace is written.
        write: Takes the next piece of the file.
    """
    picture = _Picture(run, write)
    for record in records:
        picture.draw(record)
    picture.finish()


class _Picture:
    """One run, being drawn."""

    def __init__(self, run: Run, write: Callable[[bytes], object]) -> None:
        self._now_ns = run.seen_ns
        self._step_ns = max(1, run.seen_ns // SAMPLES)
        self.trace = ChromeTrace(write, f"{run.name} ({short_id(run.run_id)}, {run.state})", about(run))
        self._tracks: set[int] = set()
        self._waits = 0
        self._groups: dict[str, Group] = {}
        self._open: dict[int, Lane] = {}
        self._batches: dict[int, Batch] = {}
        self._attempts: dict[int, tuple[int, int]] = {}  # the last one, by parent
        self._ends: list[tuple[int, int]] = []
        self._roots = Lanes(lambda number: self.lane(_numbered("batches", number), number * BESIDE))
        self._blocks = Lanes(lambda number: self.lane(_numbered("event loop", number), _LOOP + number))

    def lane(self, name: str, place: int) -> Lane:
        """Open a row, and those beside it when they are needed."""

        def beside(number: int) -> int:
            return self._track(f"{name}, beside {number}", place + number)

        return Lane(self._track(name, place), beside)

    def _track(self, name: str, place: int) -> int:
        while place in self._tracks:  # more rows beside one than there are places for
            place += 1
        self._tracks.add(place)
        # The Perfetto UI (v52) goes by the number of a thread, other readers by the place that it asks for.
        self.trace.name_track(place, name, place)
        return place

    def draw(self, record: Record) -> None:
        """Draw one event; those before it have started before it, or at the same time."""
        start_ns, end_ns = record.start_ns, self._end_of(record)
        self._forget_ended(start_ns)
        lane = self._lane_of(record, start_ns, end_ns)
        tid = lane.track
        if record.is_point:
            self.trace.instant(tid, record.name, record.type, start_ns, arguments(record))
            return
        self.trace.slice(tid, label(record), record.type, start_ns, end_ns, arguments(record))
        self._open[record.event_id] = lane
        heapq.heappush(self._ends, (end_ns, record.event_id))
        if record.type == EventType.BATCH:
            self._draw_batch(record, start_ns, end_ns)
        elif record.type == EventType.JOB:
            self._draw_block(record, start_ns, end_ns)
        elif record.type == EventType.ATTEMPT and record.parent_id is not None:
            here = (tid, start_ns)
            before = self._attempts.get(record.parent_id)
            if before is not None:
                self.trace.flow("next attempt", before, here)
            self._attempts[record.parent_id] = here

    def finish(self) -> None:
        """Write the rest."""
        for group in self._groups.values():
            group.finish()
        self.trace.finish()

    # where ----------------------------------------------------------------------------------------------------

    def _lane_of(self, record: Record, start_ns: int, end_ns: int) -> Lane:
        if (
            record.type == EventType.JOB
            and record.batch_id is not None
            and record.parent_id == record.batch_id
        ):
            return self._slot_of(record, start_ns, end_ns)
        parent = None if record.parent_id is None else self._open.get(record.parent_id)
        if parent is not None:
            return parent if record.is_point else parent.inside(start_ns, end_ns)
        return self._roots.take(start_ns, end_ns)

    def _slot_of(self, record: Record, start_ns: int, end_ns: int) -> Lane:
        batch = self._batches.get(record.batch_id or 0)
        group = self._group(record.name) if batch is None else batch.group
        lane = group.start(batch, start_ns, end_ns)
        wait_ns = record.queue_ns or 0
        if batch is not None and wait_ns > 0 and batch.wants_wait(start_ns - wait_ns):
            self._waits += 1
            name = f"{group.name}: waiting"
            self.trace.wait(lane.track, name, "queue", self._waits, start_ns - wait_ns, start_ns)
        return lane

    def _group(self, name: str) -> Group:
        if name not in self._groups and len(self._groups) >= MAX_GROUPS:
            name = "all other batches"
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(
                self.trace, self.lane, 1 + len(self._groups), name, self._step_ns
            )
        return group

    # what else ------------------------------------------------------------------------------------------------

    def _draw_batch(self, record: Record, start_ns: int, end_ns: int) -> None:
        total = None if record.counts is None else record.counts.total
        batch = Batch(self._group(record.name), total or 0)
        self._batches[record.event_id] = batch
        if total:
            batch.group.queue(batch, start_ns, end_ns)

    def _draw_block(self, record: Record, start_ns: int, end_ns: int) -> None:
        """Draw on the loop's row a job that held it for as good as all of its run; of others only the sum is known."""
        busy_ns = record.busy_ns or 0
        if busy_ns < BLOCKED_NS or busy_ns < BLOCKED_SHARE * (end_ns - start_ns):
            return
        lane = self._blocks.take(start_ns, end_ns)
        told = {"job": record.job_index, "busy_ms": busy_ns / 1e6}
        name = f"blocked by {record.name}"
        self.trace.slice(lane.track, name, "event loop", start_ns, end_ns, told)

    # ----------------------------------------------------------------------------------------------------------

    def _end_of(self, record: Record) -> int:
        if record.is_point:
            return record.start_ns
        end_ns = self._now_ns if record.end_ns is None else record.end_ns
        return max(end_ns, record.start_ns)

    def _forget_ended(self, before_ns: int) -> None:
        ends = self._ends
        while ends and ends[0][0] < before_ns:
            event_id = heapq.heappop(ends)[1]
            self._open.pop(event_id, None)
            self._batches.pop(event_id, None)
            self._attempts.pop(event_id, None)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} {number}"
