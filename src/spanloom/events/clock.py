"""Monotonic nanoseconds, and the one anchor that turns them into wall-clock time.

Events hold ``time.perf_counter_ns`` values. Durations are therefore immune to clock steps; dates
are computed by whoever reads, from one pair of readings taken at import.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["monotonic_ns", "wall_ns"]

monotonic_ns: Callable[[], int] = time.perf_counter_ns

_ANCHOR_NS: Final = time.time_ns() - time.perf_counter_ns()


def wall_ns(at_ns: int) -> int:
    """Return the nanoseconds since the Unix epoch that belong to a `monotonic_ns` reading."""
    return _ANCHOR_NS + at_ns
