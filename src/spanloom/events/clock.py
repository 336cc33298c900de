"""Monotonic nanoseconds, and the one anchor that turns them into wall-clock time.

Events hold ``time.perf_counter_ns`` values. Durations are therefore immune to clock steps; dates
are computed by whoever reads, from one pair of readings taken at import.

The pair matters to the microsecond: spans of user code take their times from ``time.time_ns``, and
one that seems to end after the job it ran in is marked by trace viewers as recorded by a wrong clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["deadline_ns", "left_s", "monotonic_ns", "wall_ns"]

monotonic_ns: Callable[[], int] = time.perf_counter_ns

LONGEST_S: Final = 100_000_000.0
"""Seconds that stand for any longer time, infinity too: three years, well below what a lock can be waited for."""
_READINGS: Final = 16
"""Pairs of readings to choose from: the first few are slow, and one that is interrupted is wrong by any amount."""


def _anchor_ns() -> int:
    """Return the wall clock minus the monotonic one, from the reading that took the least time."""
    readings = []
    for _ in range(_READINGS):
        before, wall, after = monotonic_ns(), time.time_ns(), monotonic_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]


_ANCHOR_NS: Final = _anchor_ns()


def wall_ns(at_ns: int) -> int:
    """Return the nanoseconds since the Unix epoch that belong to a `monotonic_ns` reading."""
    return _ANCHOR_NS + at_ns


def deadline_ns(timeout_s: float) -> int:
    """Return the `monotonic_ns` reading of `timeout_s` seconds from now; ``math.inf`` is years."""
    return monotonic_ns() + int(min(timeout_s, LONGEST_S) * 1e9)


def left_s(until_ns: int) -> float:
    """Return the seconds until a `monotonic_ns` reading; 0 if it has passed."""
    return max(0, until_ns - monotonic_ns()) / 1e9
