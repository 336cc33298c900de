"""How many jobs ran at once: integrated, not sampled."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from spanloom.viewer._curve import Curve

spans = st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)), min_size=1, max_size=20)


def curve_of(jobs: list[tuple[int, int]], end: int) -> Curve:
    curve = Curve(end)
    # At one instant ends come first, as in the sweep.
    for at, by in sorted(step for start, length in jobs for step in ((start, 1), (start + length, -1))):
        curve.step(at, by)
    return curve


@given(jobs=spans, buckets=st.integers(1, 100))
def test_the_area_is_the_time_that_all_jobs_took(jobs: list[tuple[int, int]], buckets: int) -> None:
    """The buckets add up to the sum of all durations, to the last nanosecond."""
    found = curve_of(jobs, 100_000).concurrency(buckets)
    total = sum(length for _, length in jobs)
    if not total:
        assert found is None
        return
    assert found is not None
    assert math.isclose(sum(found.means) * found.bucket_ns, total, rel_tol=1e-9)
    assert len(found.means) <= buckets
    assert found.start_ns <= min(start for start, length in jobs if length) < found.start_ns + found.bucket_ns


@given(jobs=spans)
def test_each_bucket_is_the_integral_over_its_span(jobs: list[tuple[int, int]]) -> None:
    """Every bucket holds what a count of each job's share of it gives."""
    found = curve_of(jobs, 100_000).concurrency(17)
    for number, mean in enumerate(found.means if found else ()):
        low = found.start_ns + number * found.bucket_ns  # type: ignore[union-attr]  # there are buckets
        high = low + found.bucket_ns  # type: ignore[union-attr]  # there are buckets
        share = sum(max(0, min(high, start + length) - max(low, start)) for start, length in jobs)
        assert math.isclose(mean * (high - low), share, rel_tol=1e-9, abs_tol=1e-6)


def test_a_burst_between_two_samples_is_seen() -> None:
    """A thousand jobs of a microsecond in an hour are as much as they are, and the peak is the true one."""
    hour = 3_600_000_000_000
    burst = [(hour // 2 + 1, 1_000)] * 1_000
    found = curve_of([(0, hour), *burst], hour).concurrency(60)
    assert found is not None
    assert found.peak == 1_001
    assert found.peak_ns == hour // 2 + 1
    assert math.isclose(max(found.means), 1 + 1_000 * 1_000 / found.bucket_ns)
    assert len(found.means) == 60


def test_the_picture_begins_with_the_first_job_and_ends_with_the_last() -> None:
    """A short batch in a long run is not one column."""
    found = curve_of([(900_000_000, 50_000_000)], 1_000_000_000).concurrency(60)
    assert found is not None
    assert len(found.means) > 40
    assert found.start_ns <= 900_000_000 < 950_000_000 <= found.start_ns + len(found.means) * found.bucket_ns
