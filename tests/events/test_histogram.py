"""The histogram behind the percentiles: exact where it says so, close where it says so, and small."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.events.histogram import Histogram

DURATIONS = st.one_of(
    st.integers(0, 2_000),
    st.integers(0, 2**63),
    st.floats(0, 60, allow_nan=False).map(lambda seconds: int(seconds * 1e9)),
)
PARTS = st.one_of(  # a few values, which are kept as they are, or so many that they are counted in buckets
    st.lists(DURATIONS, max_size=100),
    st.lists(DURATIONS, max_size=100).map(lambda values: values * 20),
    DURATIONS.map(lambda value: [value] * 600),
)
FRACTIONS = (0.0, 0.25, 0.5, 0.95, 0.99, 1.0)


def exact(values: list[int], fraction: float) -> int:
    """Return the value of rank ceil(fraction * n), counted from 1."""
    return sorted(values)[max(1, math.ceil(fraction * len(values) - 1e-9)) - 1]


def fill(parts: list[list[int]], *, bulk: bool) -> Histogram:
    histogram = Histogram()
    for values in parts:
        if bulk:
            histogram.add_many(values)
        else:
            for value in values:
                histogram.add(value)
    return histogram


@given(parts=st.lists(PARTS, max_size=5), bulk=st.booleans())
def test_counts_are_exact_and_quantiles_within_half_a_percent(parts: list[list[int]], bulk: bool) -> None:
    """Count, total, minimum and maximum are exact; every quantile is within 0.5 % of the nearest rank."""
    values = [value for part in parts for value in part]
    histogram = fill(parts, bulk=bulk)
    assert histogram.count == len(values)
    assert histogram.total == sum(values)
    assert histogram.minimum == min(values, default=None)
    assert histogram.maximum == max(values, default=None)
    for fraction, found in zip(FRACTIONS, histogram.quantiles(*FRACTIONS), strict=True):
        if not values:
            assert found is None
        else:
            assert found is not None
            wanted = exact(values, fraction)
            assert abs(found - wanted) <= 0.005 * wanted


@given(values=st.lists(DURATIONS, min_size=1, max_size=128).map(lambda values: (values * 512)[:511]))
def test_up_to_512_values_quantiles_are_exact(values: list[int]) -> None:
    """As long as the values are kept one by one, a quantile is one of them."""
    for bulk in (False, True):
        histogram = fill([values], bulk=bulk)
        assert histogram.quantiles(*FRACTIONS) == [exact(values, fraction) for fraction in FRACTIONS]


@given(parts=st.lists(PARTS, min_size=2, max_size=4))
def test_merging_equals_counting_in_one(parts: list[list[int]]) -> None:
    """Histograms that were merged say what one histogram of all values says, and the source is unchanged."""
    merged = Histogram()
    for part in parts:
        source = fill([part], bulk=True)
        before = source.count, source.total, source.quantiles(*FRACTIONS)
        merged.merge(source)
        assert (source.count, source.total, source.quantiles(*FRACTIONS)) == before
    values = [value for part in parts for value in part]
    assert (merged.count, merged.total) == (len(values), sum(values))
    assert (merged.minimum, merged.maximum) == (min(values, default=None), max(values, default=None))
    for fraction, found in zip(FRACTIONS, merged.quantiles(*FRACTIONS), strict=True):
        if values:
            assert abs((found or 0) - exact(values, fraction)) <= 0.005 * exact(values, fraction)


@pytest.mark.parametrize(
    "value", [0, 1, 127, 128, 129, 255, 256, 2**24 - 1, 2**24 + 1, 10**9, 2**62 + 1, 2**63]
)
def test_one_value_many_times_is_reported_as_itself(value: int) -> None:
    """Where all values are equal, the bounds are the quantiles, for zero and for centuries."""
    histogram = fill([[value] * 1000], bulk=True)
    assert histogram.quantiles(*FRACTIONS) == [value] * len(FRACTIONS)


def test_negative_values_count_as_zero() -> None:
    """A clock that went backwards does not corrupt the buckets."""
    histogram = fill([[-5] * 400 + [10] * 400], bulk=True)
    histogram.add(-1)
    assert (histogram.count, histogram.total, histogram.minimum, histogram.maximum) == (801, 4000, 0, 10)


def test_bulk_adding_returns_the_largest_value() -> None:
    """The caller learns the maximum that was computed anyway; an empty list has none to tell."""
    assert Histogram().add_many([3, 9, 4]) == 9
    assert Histogram().add_many([-3, -9, -4]) == 0
    assert Histogram().add_many([]) == 0


def test_memory_goes_by_the_spread_of_the_durations_not_by_their_size() -> None:
    """Ten thousand durations of about a second take the few buckets around a second."""
    histogram = Histogram()
    tracemalloc.start()
    try:
        for _ in range(20):
            histogram.add_many([1_000_000_000 + 100_000 * step for step in range(600)])
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert histogram.quantiles(0.5)[0] == pytest.approx(1_030_000_000, rel=0.004)
    assert taken < 8_000


def test_a_million_durations_take_no_more_memory_than_ten_thousand() -> None:
    """Memory depends on the largest value, not on how many there are."""
    chunk = [1_000_000 + 999_983 * step % 900_000_000 for step in range(500)]
    histogram = Histogram()
    tracemalloc.start()
    try:
        for _ in range(20):
            histogram.add_many(chunk)
        after_ten_thousand = tracemalloc.get_traced_memory()[0]
        for _ in range(1_980):
            histogram.add_many(chunk)
        after_a_million = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert histogram.count == 1_000_000
    assert after_a_million < 100_000
    assert after_a_million - after_ten_thousand < 40_000  # counts above 256 are objects of their own
