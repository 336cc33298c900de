"""The jobs of a picture: their slots, and how many run and how many are queued, over time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from spanloom.viewer._chrome import ChromeTrace
from spanloom.viewer._lanes import Lane, Lanes

__all__ = ["BESIDE", "GROUP", "MAX_WAITS", "Batch", "Group"]

MAX_WAITS: Final = 12
"""Jobs of one batch whose waits are drawn, of those that began to wait at the same moment: each is a row."""
BESIDE: Final = 10
"""What the places of two slots differ by: rows that are beside one come between."""
GROUP: Final = 10_000
"""What the places of the first slots of two kinds of batches differ by."""


class Counter:
    """A number over time, sampled no finer than a screen can show."""

    def __init__(self, trace: ChromeTrace, name: str, step_ns: int) -> None:
        self._trace = trace
        self._name = name
        self._step_ns = step_ns
        self._at_ns: int | None = None  # of the value that is not written yet
        self.value = 0
        self._written = 0

    def set(self, at_ns: int, value: int) -> None:
        """Take note of a new value; its times must not decrease."""
        if self._at_ns is not None and at_ns - self._at_ns >= self._step_ns:
            self.flush()
        if self._at_ns is None:
            self._at_ns = at_ns
        self.value = value

    def flush(self) -> None:
        """Write the value that is waiting, if it is another one."""
        if self._at_ns is not None and self.value != self._written:
            self._trace.counter(self._name, "jobs", self._at_ns, self.value)
            self._written = self.value
        self._at_ns = None


class Batch:
    """An open batch, of which it is known how many jobs it will have.

    Args:
        group: Where its jobs are drawn.
        left: How many of them have not started.
    """

    __slots__ = ("group", "left", "ready_ns", "waits")

    def __init__(self, group: Group, left: int) -> None:
        self.group = group
        self.left = left
        self.ready_ns = -1
        self.waits = 0

    def wants_wait(self, ready_ns: int) -> bool:
        """Tell whether the wait of a job that could have run at `ready_ns` is to be drawn."""
        if ready_ns != self.ready_ns:
            self.ready_ns, self.waits = ready_ns, 0
        self.waits += 1
        return self.waits <= MAX_WAITS


class Group:
    """The jobs of all batches of one name.

    Args:
        trace: The picture.
        open_lane: Makes a row of it, given its name and its place.
        place: Which of the kinds of batches this is, from 1.
        name: Theirs.
        step_ns: How far apart two values of a counter are at least.
    """

    def __init__(
        self, trace: ChromeTrace, open_lane: Callable[[str, int], Lane], place: int, name: str, step_ns: int
    ) -> None:
        self.name = name
        self.slots = Lanes(
            lambda number: open_lane(f"{name}, slot {number}", place * GROUP + number * BESIDE)
        )
        self._running = Counter(trace, f"{name}: running", step_ns)
        self._queued = Counter(trace, f"{name}: queued", step_ns)
        self._closing: list[tuple[int, int, Batch]] = []
        self._batches = 0

    def release(self, until_ns: int | None = None) -> None:
        """Account for the jobs and the batches that have ended by `until_ns`, or for all."""
        while self._closing and (until_ns is None or self._closing[0][0] <= until_ns):
            end_ns, _, batch = heapq.heappop(self._closing)
            self._queued.set(end_ns, self._queued.value - batch.left)
            batch.left = 0
        for end_ns, running in self.slots.release(until_ns):
            self._running.set(end_ns, running)

    def queue(self, batch: Batch, start_ns: int, end_ns: int) -> None:
        """Account for the jobs of a batch that starts."""
        self.release(start_ns)
        self._queued.set(start_ns, self._queued.value + batch.left)
        self._batches += 1
        heapq.heappush(self._closing, (end_ns, self._batches, batch))

    def start(self, batch: Batch | None, start_ns: int, end_ns: int) -> Lane:
        """Account for a job that starts, and return the slot that it gets."""
        self.release(start_ns)
        if batch is not None and batch.left:
            batch.left -= 1
            self._queued.set(start_ns, self._queued.value - 1)
        lane = self.slots.take(start_ns, end_ns)
        self._running.set(start_ns, self.slots.in_use)
        return lane

    def finish(self) -> None:
        """Account for the end of everything."""
        self.release()
        self._queued.flush()
        self._running.flush()
