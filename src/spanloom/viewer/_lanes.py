"""Which row of a picture an event is drawn in: rows in which whatever is drawn is nested, and nothing overlaps.

Theory of operation. A row, a lane, is a stack of what is open in it. What happens inside an event is drawn in its lane,
under it. Where that would overlap with a sibling that is still open, it goes to a lane beside. Events that are drawn
under nothing, jobs above all, take the lowest lane that is free at their start. For jobs that is a worker slot: the
core does not number those, but at any moment there are as many lanes in use as jobs that run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from spanloom.viewer.slots import Rows

__all__ = ["Lane", "Lanes"]


class Lane:
    """One row.

    Args:
        track: Its number in the picture.
        open_beside: Makes the track of a row to be shown next to it, and next to those beside it already; is given
            its place there, from 1.
    """

    __slots__ = ("_beside", "_ends", "_open_beside", "track")

    def __init__(self, track: int, open_beside: Callable[[int], int]) -> None:
        self.track = track
        self._open_beside = open_beside
        self._beside: list[Lane] = []  # one list, which they all have
        self._ends: list[int] = []

    def push(self, start_ns: int, end_ns: int) -> None:
        """Draw in this lane."""
        self._settle(start_ns)
        self._ends.append(end_ns)

    def inside(self, start_ns: int, end_ns: int) -> Lane:
        """Draw inside what is open in this lane; in a lane beside it, if that is not possible. Return where."""
        self._settle(start_ns)
        if self._ends and self._ends[-1] >= end_ns:
            self._ends.append(end_ns)
            return self
        lane = next((lane for lane in self._beside if lane.is_free(start_ns)), None)
        if lane is None:
            lane = Lane(self._open_beside(len(self._beside) + 1), self._open_beside)
            lane._beside = self._beside
            self._beside.append(lane)
        lane.push(start_ns, end_ns)
        return lane

    def is_free(self, start_ns: int) -> bool:
        """Tell whether nothing is open in this lane."""
        self._settle(start_ns)
        return not self._ends

    def _settle(self, start_ns: int) -> None:
        ends = self._ends
        while ends and ends[-1] <= start_ns:
            ends.pop()


class Lanes:
    """Rows of one kind, of which the lowest that is free is taken.

    Args:
        open_lane: Makes a row; is given its number, from 1.
    """

    def __init__(self, open_lane: Callable[[int], Lane]) -> None:
        self._open_lane = open_lane
        self._lanes: list[Lane] = []
        self._rows = Rows()

    def take(self, start_ns: int, end_ns: int) -> Lane:
        """Draw in the lowest lane that is free at `start_ns`; return which."""
        number = self._rows.take(start_ns, end_ns)
        if number == len(self._lanes):
            self._lanes.append(self._open_lane(number + 1))
        lane = self._lanes[number]
        lane.push(start_ns, end_ns)
        return lane

    def release(self, until_ns: int | None = None) -> Iterator[tuple[int, int]]:
        """Free the lanes whose events end by `until_ns`, or all; yield each end, and how many are left."""
        return self._rows.release(until_ns)

    @property
    def in_use(self) -> int:
        """How many lanes are taken."""
        return self._rows.in_use
