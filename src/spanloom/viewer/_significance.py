"""Whether a difference is more than chance: of two means, of two proportions, of two numbers."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import msgspec

__all__ = ["Sample", "level_for", "mean_differs", "number_differs", "share_differs"]

_ALPHA: Final = 0.01
"""Chance of calling anything different that is not, over all that is tested in one comparison."""
_MIN_FREEDOM: Final = 2
"""Degrees of freedom below which a t-test says nothing: two or three values vary as they like."""


class Sample(msgspec.Struct, frozen=True):
    """What is known of some values.

    Attributes:
        count: How many.
        total: Their sum.
        variance: From value to value; ``None`` of fewer than two.
    """

    count: int
    total: float
    variance: float | None


def level_for(tests: int) -> float:
    """Return the quantile of the normal distribution for each of so many two-sided tests (Bonferroni)."""
    return NormalDist().inv_cdf(1 - _ALPHA / 2 / max(1, tests))


def mean_differs(a: Sample, b: Sample, level: float) -> bool | None:
    """Compare two means by Welch's unequal variances t-test (Biometrika 34, 1947).

    Args:
        a, b: The samples.
        level: From `level_for`.

    Returns:
        Whether they differ; ``None`` if there are too few values to tell.
    """
    if a.variance is None or b.variance is None:
        return None
    difference = b.total / b.count - a.total / a.count
    square_a, square_b = a.variance / a.count, b.variance / b.count
    error = math.sqrt(square_a + square_b)
    if not error:
        return difference != 0
    freedom = (square_a + square_b) ** 2 / (square_a**2 / (a.count - 1) + square_b**2 / (b.count - 1))
    if freedom < _MIN_FREEDOM:
        return None
    return abs(difference) > error * _student(level, freedom)


def number_differs(a: int, b: int, by_chance: int, level: float) -> bool:
    """Tell whether two numbers of events differ by more than chance.

    How many jobs a batch has, and how often each of them calls what, is up to the program: a difference is one. What
    is up to chance is how many there were on top because something failed; that is taken for Poisson.

    Args:
        a, b: The numbers.
        by_chance: How many of both are up to chance.
        level: From `level_for`.
    """
    return abs(b - a) > level * math.sqrt(by_chance)


def _student(z: float, freedom: float) -> float:
    """Return the quantile of Student's t that belongs to the quantile `z` of the normal distribution.

    Abramowitz and Stegun, *Handbook of Mathematical Functions*, 26.7.5; the terms up to the third power.
    """
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def share_differs(failed_a: int, count_a: int, failed_b: int, count_b: int, level: float) -> str:
    """Compare two proportions by Newcombe's hybrid score interval (*Statistics in Medicine* 17, 1998, method 10).

    Returns:
        Whether the second one is ``more``, ``less`` or the ``same``.
    """
    if not count_a or not count_b:
        return "same"
    share_a, share_b = failed_a / count_a, failed_b / count_b
    low_a, high_a = _wilson(failed_a, count_a, level)
    low_b, high_b = _wilson(failed_b, count_b, level)
    difference = share_b - share_a
    if difference > math.hypot(share_b - low_b, high_a - share_a):
        return "more"
    return "less" if -difference > math.hypot(high_b - share_b, share_a - low_a) else "same"


def _wilson(hits: int, count: int, z: float) -> tuple[float, float]:
    """Return Wilson's score interval (JASA 1927) for the probability behind `hits` of `count`."""
    share = hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - half) / scale, (middle + half) / scale
