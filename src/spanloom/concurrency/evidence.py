"""Statistics of measurements of calls under a limit: which differences are significant."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

__all__ = [
    "FINEST",
    "Measurement",
    "Seen",
    "apart",
    "are_alike",
    "is_collapse",
    "is_overload",
    "is_steady",
    "noise",
    "pooled",
    "throughput_of",
]

EVIDENCE: Final = math.log(100)
"""Negative logarithm of the probability below which chance is ruled out: one in a hundred."""
COLLAPSED: Final = 0.5
"""Share of the expected calls; a measurement may end early only if fewer have ended."""
FINEST: Final = 0.02
"""Least relative error assumed for a latency, because servers vary."""


class Measurement(NamedTuple):
    """A measurement of calls under one limit."""

    limit: int
    throughput: float
    """Successful calls per second."""
    deviation: float
    """Standard error of the throughput, as a share of it."""
    started: int
    """Calls that started. Not those that ended: failures come quickly, and would be over-represented at first."""
    errors: int
    """Those of them that have failed."""
    is_full: bool
    """Whether the slots were used: all of them at some time, and at least half of them on average."""


class Seen(NamedTuple):
    """The latency known for a limit."""

    limit: int
    latency_s: float
    """Mean seconds of a call: limit / throughput."""
    deviation: float
    """Standard error of the latency, as a share of it."""


def is_overload(started: int, errors: int, allowed: float) -> bool:
    """Tell whether the errors are significantly more than an `allowed` share of the calls.

    By Chernoff's bound on the tail of a binomial distribution: the probability of at least `errors` is at most
    ``exp(-started * D)``, with D the relative entropy of the share seen and the allowed one.
    """
    if not errors:
        return False
    share = errors / started
    if allowed <= 0 or share <= allowed:
        return share > allowed
    entropy = share * math.log(share / allowed)
    if share < 1:
        entropy += (1 - share) * math.log((1 - share) / (1 - allowed))
    return started * entropy > EVIDENCE


def is_collapse(expected: float, count: int) -> bool:
    """Tell whether significantly fewer calls have ended than expected, and fewer than half.

    By Chernoff's bound on the lower tail of a Poisson distribution: the probability of at most `count` is at most
    ``exp(count - expected - count * ln(count / expected))``.
    """
    if count >= COLLAPSED * expected:
        return False
    return expected - count + (count * math.log(count / expected) if count else 0.0) > EVIDENCE


def throughput_of(seen: Seen) -> float:
    """Return calls per second."""
    return seen.limit / seen.latency_s


def noise(one: Seen, other: Seen) -> float:
    """Return twice the relative standard error of the ratio of two latencies; chance exceeds it 1 time in 20."""
    return 2 * math.hypot(one.deviation, other.deviation)


def apart(one: Seen, other: Seen) -> float:
    """Return the relative difference of two latencies, in units of their `noise`."""
    return abs(one.latency_s / other.latency_s - 1) / noise(one, other)


def are_alike(one: Seen, other: Seen) -> bool:
    """Tell whether two latencies differ by no more than their `noise`."""
    return apart(one, other) <= 1


def is_steady(previous: Seen | None, seen: Seen) -> bool:
    """Tell whether two measurements in a row were of the same limit and are alike."""
    return previous is not None and previous.limit == seen.limit and are_alike(previous, seen)


def pooled(one: Seen, other: Seen) -> Seen:
    """Return the mean of two latencies of one limit, weighted by inverse variance."""
    w1, w2 = one.deviation**-2, other.deviation**-2
    latency_s = (one.latency_s * w1 + other.latency_s * w2) / (w1 + w2)
    return Seen(other.limit, latency_s, max(FINEST, (w1 + w2) ** -0.5))
