"""The flight recorder: the last events that ended, kept in memory, always on by default."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from spanloom._numbers import check_count
from spanloom.callbacks.tries import both
from spanloom.events.event import Event

__all__ = ["DEFAULT_CAPACITY", "FlightRecorder"]

DEFAULT_CAPACITY: Final = 4096
"""Events kept: under 1 MB, so that the ring stays in a processor's cache."""


class FlightRecorder:
    """A ring of the last `capacity` ended and point events, oldest first.

    Args:
        capacity: How many to keep, at least 1.

    Raises:
        ValueError: `capacity` is below 1.
        TypeError: it is not an int.
    """

    __slots__ = ("_ring", "record")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        check_count(capacity, "capacity")
        self._ring: deque[Event] = deque(maxlen=capacity)
        self.record: Callable[[Event], None] = self._ring.append

    @property
    def capacity(self) -> int:
        """Most events kept."""
        return self._ring.maxlen or 0

    def __len__(self) -> int:
        return len(self.ended())

    def ended(self) -> list[Event]:
        """Return the kept events in order of their end; safe from any thread."""
        return both(self._ring.copy())[-self.capacity :]

    def clear(self) -> None:
        """Forget everything."""
        self._ring.clear()
