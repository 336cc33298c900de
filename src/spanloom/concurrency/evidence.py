"""What measurements of calls under a limit prove: which differences are none, and what chance does not explain."""

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
"""How unlikely so many errors must be at the tolerated rate before they count as overload: one in a hundred."""
COLLAPSED: Final = 0.5
"""Share of the calls that should have ended below which a measurement is not waited for."""
FINEST: Final = 0.02
"""A latency is never taken for more exact than this: servers have their moods."""


class Measurement(NamedTuple):
    """What was seen of calls under one limit."""

    limit: int
    throughput: float
    """Calls that ended well, per second."""
    deviation: float
    """Standard error of the throughput, as a share of it."""
    started: int
    """Calls that started. Those that ended would not do: failures come quickly, and would be seen alone at first."""
    errors: int
    """Those of them that have failed."""
    is_full: bool
    """Whether all slots were taken."""


class Seen(NamedTuple):
    """What is known of a limit."""

    limit: int
    latency_s: float
    deviation: float


def is_overload(started: int, errors: int, allowed: float) -> bool:
    """Tell whether so many errors are more than an `allowed` share of the calls, and no chance.

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
    """Tell whether far fewer calls have ended than were expected, and chance does not explain it.

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
    """Return twice the standard error of their ratio: a difference within it may be chance (1 in 20)."""
    return 2 * math.hypot(one.deviation, other.deviation)


def apart(one: Seen, other: Seen) -> float:
    """Return by how many times their noise the latencies differ."""
    return abs(one.latency_s / other.latency_s - 1) / noise(one, other)


def are_alike(one: Seen, other: Seen) -> bool:
    """Tell whether the latencies differ by no more than chance explains."""
    return apart(one, other) <= 1


def is_steady(previous: Seen | None, seen: Seen) -> bool:
    """Tell whether one limit brought the same twice in a row."""
    return previous is not None and previous.limit == seen.limit and are_alike(previous, seen)


def pooled(one: Seen, other: Seen) -> Seen:
    """Return the mean of two measurements of the same, weighted by their exactness."""
    w1, w2 = one.deviation**-2, other.deviation**-2
    latency_s = (one.latency_s * w1 + other.latency_s * w2) / (w1 + w2)
    return Seen(other.limit, latency_s, max(FINEST, (w1 + w2) ** -0.5))
