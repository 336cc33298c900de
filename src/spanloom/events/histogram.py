"""A latency histogram of constant size: log-linear buckets, as in HdrHistogram.

HdrHistogram (Gil Tene, http://hdrhistogram.org) divides each power of two into equally many linear
buckets, so that every bucket has the same relative width. A binary32 float is such a number already:
its exponent is the power of two, and the first bits of its mantissa number the linear bucket. With 7
of them, a value ``v = 2**e * (1 + m / 2**7 + rest)`` belongs to bucket ``(e, m)``, whose bounds are
``2**e * (1 + m / 128)`` and ``2**e * (1 + (m + 1) / 128)``. It is reported as their middle, which is
off by at most half a width: ``2**-8`` = 0.39 % of the value.

C code computes the bucket numbers of a whole list: pack the values as floats and take the upper half
of each. With counts in a plain list, a value costs 0.05 us; one call of a histogram library per
value costs ten times that.
"""

from __future__ import annotations

import functools
import math
import struct
import sys
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from operator import add
from typing import Final

__all__ = ["Histogram"]

_EXACT: Final = 512
"""Values kept one by one before they are counted in buckets. Up to here quantiles are exact, and merging,
which happens to the histogram of every small batch, is nearly free."""
_BULK: Final = 32
"""From this many values on, counting them in bulk is cheaper than keeping them one by one."""
_ROW: Final = 256
"""Buckets come in rows, one per upper byte of the float: a row covers a factor of four."""
_ONE_AT: Final = 0x3F
"""Upper byte of the float 1.0. No duration but 0 is shorter than 1 ns, so rows are numbered from there."""
_SHIFTS: Final = tuple(bytes(one) + bytes(range(256 - one)) for one in range(_ONE_AT, 0x80))
"""Per first row: the table that maps the upper byte of a positive float to its row, relative to that one."""
_LOW, _HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)


class Histogram:
    """Count durations in nanoseconds: exact count, total, minimum and maximum, quantiles to 0.4 %.

    Values are 0 or more; a negative one counts as 0. Takes under 22 KB up to 512 values; beyond,
    8 bytes a bucket, with 128 buckets per power of two from the smallest to the largest value: 2 KB for
    durations that differ by a factor of four, at most 80 KB for any that fit 64 bits. Not thread-safe.
    """

    __slots__ = ("_buckets", "_count", "_maximum", "_minimum", "_recent", "_row", "_total")

    def __init__(self) -> None:
        self._recent: list[int] = []
        self._buckets: list[int] = []
        self._row = 0  # row of the first bucket
        self._count = 0
        self._total = 0
        self._minimum = 0
        self._maximum = -1

    @property
    def count(self) -> int:
        """How many values there are."""
        return self._count + len(self._recent)

    @property
    def total(self) -> int:
        """The sum of the values, exactly."""
        return self._total + sum(self._recent)

    @property
    def minimum(self) -> int | None:
        """The smallest value; ``None`` if there are none."""
        values = [*self._recent, self._minimum] if self._count else self._recent
        return min(values, default=None)

    @property
    def maximum(self) -> int | None:
        """The largest value; ``None`` if there are none."""
        values = [*self._recent, self._maximum] if self._count else self._recent
        return max(values, default=None)

    def add(self, value: int) -> None:
        """Count one value."""
        self._recent.append(value if value > 0 else 0)
        if len(self._recent) >= _EXACT:
            self._settle()

    def add_many(self, values: Sequence[int]) -> int:
        """Count many values, and return the largest of them (0 if there are none)."""
        if not values:
            return 0
        low, high = min(values), max(values)
        if low < 0:
            values = [value if value > 0 else 0 for value in values]
            low, high = 0, max(0, high)
        if len(values) >= _BULK and (self._count or len(self._recent) + len(values) >= _EXACT):
            self._count_in_buckets(values, low, high)
        else:
            self._recent.extend(values)
            if len(self._recent) >= _EXACT:
                self._settle()
        return high

    def merge(self, other: Histogram) -> None:
        """Add all values of `other`, which stays as it is."""
        if other._count:
            self._widen(other._minimum, other._maximum)
            mine, theirs = self._buckets, other._buckets
            begin = _ROW * (other._row - self._row)
            end = begin + len(theirs)
            mine[begin:end] = map(add, mine[begin:end], theirs)
            self._total += other._total
            self._count += other._count
        if other._recent:
            self._recent += other._recent
            if len(self._recent) >= _EXACT:
                self._settle()

    def quantiles(self, *fractions: float) -> list[int | None]:
        """Return the values of rank ``ceil(fraction * count)`` in sorted order (nearest rank).

        Args:
            fractions: Each from 0 to 1; 0 stands for the minimum.

        Returns:
            One value per fraction, within 0.4 % of the exact one; ``None`` if there are no values.
        """
        count = self.count
        if not count:
            return [None for _ in fractions]
        # 0.95 * 20 is a hair above 19 in binary; the hair must not count as a rank.
        ranks = [min(count, max(1, math.ceil(fraction * count - 1e-9))) for fraction in fractions]
        if not self._count:
            ordered = sorted(self._recent)
            return [ordered[rank - 1] for rank in ranks]
        self._settle()
        cumulative = list(accumulate(self._buckets))
        return [
            min(self._maximum, max(self._minimum, _middle(_ROW * self._row + bisect_left(cumulative, rank))))
            for rank in ranks
        ]

    def _settle(self) -> None:
        recent = self._recent
        if recent:
            self._recent = []
            self._count_in_buckets(recent, min(recent), max(recent))

    def _count_in_buckets(self, values: Sequence[int], low: int, high: int) -> None:
        if not self._count or low < self._minimum or high > self._maximum:
            self._widen(low, high)
        self._count += len(values)
        self._total += sum(values)
        buckets = self._buckets
        for number in _numbers(values, self._row):
            buckets[number] += 1

    def _widen(self, low: int, high: int) -> None:
        """Extend minimum, maximum and buckets to values from `low` to `high`, which are about to be counted."""
        if self._count:
            low, high = min(low, self._minimum), max(high, self._maximum)
        self._minimum, self._maximum = low, high
        first, last = (number // _ROW for number in _numbers((low, high), 0))
        if self._buckets:
            self._buckets[:0] = [0] * (_ROW * (self._row - first))
        self._row = first
        self._buckets += [0] * (_ROW * (last + 1 - first) - len(self._buckets))


@functools.lru_cache(maxsize=512)  # lists of events have up to 512
def _floats(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")


def _numbers(values: Sequence[int], row: int) -> memoryview[int]:
    """Return the bucket number of each value: the upper 16 bits of its float, relative to `row`."""
    packed = _floats(len(values)).pack(*values)
    numbers = bytearray(2 * len(values))
    numbers[_LOW::2] = packed[2::4]
    numbers[_HIGH::2] = packed[3::4].translate(_SHIFTS[row])
    return memoryview(numbers).cast("H")


def _middle(number: int) -> int:
    """Return the middle of a bucket, rounded down; 0 for the bucket of the value 0."""
    if number < 0x80:
        return 0
    middle: float = struct.unpack("<f", bytes((0, 0x80, number & 0xFF, (number >> 8) + _ONE_AT)))[0]
    return int(middle)
