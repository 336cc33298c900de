"""Worker slots: the row in which each job of a batch is drawn.

A job has a task of its own, so no record says "worker 3". What a picture needs is a row in which jobs follow one
another and never overlap, and as few rows as jobs were alive at once. Giving every job, at its start, the lowest row
that is free is exactly that: the greedy colouring of an interval graph, which is optimal when the intervals come in
order of their starts. A batch with ``limit=8`` gets at most 8 rows, row 0 is the busiest, and a row that stays
occupied while the others move on is a straggler that the eye finds.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush

__all__ = ["Slots"]


class Slots:
    """Give each job of a run the lowest slot of its batch that is free when it starts.

    One pass, in order of start; holds what is alive, not what has ended. O(log alive) a job.
    """

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: dict[Hashable, _Batch] = {}

    def take(self, batch_id: Hashable, start_ns: int, end_ns: int | None) -> int:
        """Return the slot of a job that runs from `start_ns` up to, and not including, `end_ns`.

        Args:
            batch_id: Whose slots these are; ``None`` and any other key is a batch like any other.
            start_ns: Nanoseconds since the run's start; not less than that of the job before it in this batch, or
                two jobs may get one slot at one time.
            end_ns: When the slot is free again, in the same unit; ``None``: never, the job is open or was
                interrupted. A job that starts in the nanosecond in which another one ends may follow it.

        Returns:
            The slot, from 0.
        """
        batch = self._batches.get(batch_id)
        if batch is None:
            batch = self._batches[batch_id] = _Batch()
        return batch.take(start_ns, end_ns)

    def width(self, batch_id: Hashable) -> int:
        """Return how many slots the batch has needed so far: how many of its jobs were alive at once, at most."""
        batch = self._batches.get(batch_id)
        return 0 if batch is None else batch.width


class _Batch:
    """The slots of one batch: a heap of those that are taken, by end, and a heap of those that are free."""

    __slots__ = ("_free", "_taken", "width")

    def __init__(self) -> None:
        self.width = 0
        self._free: list[int] = []
        self._taken: list[tuple[int, int]] = []

    def take(self, start_ns: int, end_ns: int | None) -> int:
        taken, free = self._taken, self._free
        while taken and taken[0][0] <= start_ns:
            heappush(free, heappop(taken)[1])
        if free:
            slot = heappop(free)
        else:
            slot = self.width
            self.width += 1
        if end_ns is not None:
            heappush(taken, (end_ns, slot))
        return slot
