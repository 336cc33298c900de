"""How many jobs ran at once, over time."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["Concurrency", "Curve"]

_BUCKETS: Final = 3_600
"""Spans that the whole run is divided into. A picture shows fewer, each made of a whole number of these."""


class Concurrency(msgspec.Struct, frozen=True):
    """How many jobs ran at once.

    Attributes:
        start_ns: Where the first bucket begins.
        bucket_ns: Length of each bucket.
        means: Mean number of running jobs in each bucket: the integral over it, divided by its length.
        peak: The most that ever ran at once.
        peak_ns: When that was first reached.
    """

    start_ns: int
    bucket_ns: float
    means: tuple[float, ...]
    peak: int
    peak_ns: int


class Curve:
    """The number of running jobs, a step function of time, integrated exactly over equal spans.

    It is not sampled: a burst between two samples would not be seen, and one that meets a sample would look as long as
    the distance to the next.

    Args:
        end_ns: When the run ended; what is later counts in the last span.
    """

    def __init__(self, end_ns: int) -> None:
        self._width_ns = max(1, -(-end_ns // _BUCKETS))
        self._integrals = [0] * _BUCKETS
        self._now = 0
        self._running = 0
        self._peak = 0
        self._peak_ns = 0

    def step(self, at_ns: int, by: int) -> None:
        """Change the number of running jobs by `by` from `at_ns` on; times must not decrease."""
        if at_ns > self._now:
            if self._running:
                self._integrate(at_ns)
            self._now = at_ns
        self._running += by
        if self._running > self._peak:
            self._peak, self._peak_ns = self._running, at_ns

    def _integrate(self, until_ns: int) -> None:
        now, width, running = self._now, self._width_ns, self._running
        first, last = min(_BUCKETS - 1, now // width), min(_BUCKETS - 1, until_ns // width)
        integrals = self._integrals
        if first == last:
            integrals[first] += running * (until_ns - now)
            return
        integrals[first] += running * ((first + 1) * width - now)
        for number in range(first + 1, last):
            integrals[number] += running * width
        integrals[last] += running * (until_ns - last * width)

    def concurrency(self, buckets: int) -> Concurrency | None:
        """Return the curve from the first job to the last in at most `buckets` equal spans; ``None`` without jobs."""
        used = [number for number, integral in enumerate(self._integrals) if integral]
        if not used:
            return None
        first, last = used[0], used[-1] + 1
        size = -(-(last - first) // buckets)
        width_ns = size * self._width_ns
        means = tuple(
            sum(self._integrals[number : number + size]) / width_ns for number in range(first, last, size)
        )
        return Concurrency(first * self._width_ns, width_ns, means, self._peak, self._peak_ns)
