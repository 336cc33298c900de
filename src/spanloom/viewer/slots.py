"""Worker slots: the row in which each job of a batch is drawn.

A job has a task of its own, so no record says "worker 3". What a picture needs is a row in which jobs follow one
another and never overlap, and as few rows as jobs were alive at once. Giving every job, at its start, the lowest row
that is free is exactly that: the greedy colouring of an interval graph, which is optimal when the intervals come in
order of their starts. A batch with ``limit=8`` gets at most 8 rows, row 0 is the busiest, and a row that stays
occupied while the others move on is a straggler that the eye finds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heappop, heappush

__all__ = ["Rows", "Slots"]


class Slots:
    """Give each job of a run the lowest slot of its batch that is free when it starts.

    One pass, in order of start; holds what is alive, not what has ended. O(log alive) a job.
    """

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: dict[Hashable, Rows] = {}

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
            batch = self._batches[batch_id] = Rows()
        return batch.take(start_ns, end_ns)

    def width(self, batch_id: Hashable) -> int:
        """Return how many slots the batch has needed so far: how many of its jobs were alive at once, at most."""
        batch = self._batches.get(batch_id)
        return 0 if batch is None else batch.width


class Rows:
    """Rows by number, from 0, of which the lowest that is free is taken: a heap of the taken ones, and one of the free.

    Attributes:
        width: How many there are: as many as were taken at once, at most.
    """

    __slots__ = ("_free", "_taken", "width")

    def __init__(self) -> None:
        self.width: int = 0
        self._free: list[int] = []
        self._taken: list[tuple[int, int]] = []

    @property
    def in_use(self) -> int:
        """How many are taken."""
        return self.width - len(self._free)

    def take(self, start_ns: int, end_ns: int | None) -> int:
        """Take the lowest row that is free at `start_ns`, up to `end_ns` or, if that is ``None``, for ever."""
        for _ in self.release(start_ns):
            pass
        if self._free:
            row = heappop(self._free)
        else:
            row = self.width
            self.width += 1
        if end_ns is not None:
            heappush(self._taken, (end_ns, row))
        return row

    def release(self, until_ns: int | None = None) -> Iterator[tuple[int, int]]:
        """Free the rows that are taken up to `until_ns`, or all with an end; yield each end, and how many are left."""
        taken = self._taken
        while taken and (until_ns is None or taken[0][0] <= until_ns):
            end_ns, row = heappop(taken)
            heappush(self._free, row)
            yield end_ns, self.in_use
