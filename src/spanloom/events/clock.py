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
"""Longest timeout in seconds, three years; a longer one, infinity too, is cut to it. Far below
``threading.TIMEOUT_MAX`` on POSIX (292 years), not on Windows (49 days)."""
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
    """Convert a `monotonic_ns` reading to nanoseconds since the Unix epoch."""
    return _ANCHOR_NS + at_ns


def deadline_ns(timeout_s: float) -> int:
    """Return the `monotonic_ns` reading `timeout_s` seconds from now, at most `LONGEST_S`; ``math.inf`` is allowed."""
    return monotonic_ns() + int(min(timeout_s, LONGEST_S) * 1e9)


def left_s(until_ns: int) -> float:
    """Return the seconds until a `monotonic_ns` reading; 0 if it has passed."""
    return max(0, until_ns - monotonic_ns()) / 1e9
