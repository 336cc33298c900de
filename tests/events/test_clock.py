"""One monotonic clock, one anchor to the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from spanloom.events.clock import monotonic_ns, wall_ns


def test_wall_time_is_now() -> None:
    """A reading of the monotonic clock turns into the wall clock's time, to a few seconds of drift."""
    assert abs(wall_ns(monotonic_ns()) - time.time_ns()) < 5_000_000_000


def test_wall_time_agrees_with_that_of_other_tracers(run_python: Callable[[str], str]) -> None:
    """In a fresh process, our dates and `time.time_ns` lie within a microsecond of each other."""
    program = """
        import time
        from spanloom.events.clock import monotonic_ns, wall_ns

        def reading():
            before, wall, after = monotonic_ns(), time.time_ns(), monotonic_ns()
            return after - before, abs(wall - wall_ns((before + after) // 2))

        print(min(reading() for _ in range(100))[1])
    """
    assert min(int(run_python(program)) for _ in range(3)) < 1000


def test_wall_times_keep_distances() -> None:
    """The anchor is one number: durations are the same on both sides, whatever the wall clock does."""
    start = monotonic_ns()
    assert wall_ns(start + 12_345) - wall_ns(start) == 12_345
