"""Rows in which jobs follow one another and never overlap, and no more of them than are needed."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from spanloom.viewer.slots import Slots

LENGTHS = st.one_of(st.none(), st.integers(0, 15))
SPANS = st.lists(st.tuples(st.integers(0, 40), LENGTHS), min_size=1, max_size=60).map(
    lambda spans: [
        (start, None if length is None else start + length)
        for start, length in sorted(spans, key=lambda span: span[0])
    ]
)


def test_a_job_takes_the_lowest_slot_that_is_free() -> None:
    """Slots fill from 0 up, and the lowest one whose job has ended is taken first."""
    slots = Slots()
    jobs = [(0, 50), (1, 10), (2, 20), (10, 12), (21, 30), (22, 23), (22, None)]
    assert [slots.take(7, start, end) for start, end in jobs] == [0, 1, 2, 1, 1, 2, 3]
    assert slots.width(7) == 4


def test_batches_have_slots_of_their_own() -> None:
    """Two batches that run at the same time both begin with slot 0, and one that had no job has no slots."""
    slots = Slots()
    assert [slots.take(batch, 0, 9) for batch in (1, 2, None, 1)] == [0, 0, 0, 1]
    assert [slots.width(batch) for batch in (1, 2, None, 3)] == [2, 1, 1, 0]


def test_a_job_without_an_end_keeps_its_slot() -> None:
    """The slot of an open or interrupted job is never given to another one."""
    slots = Slots()
    assert [slots.take(1, 0, None), slots.take(1, 10**18, 10**18), slots.take(1, 2 * 10**18, None)] == [
        0,
        1,
        1,
    ]


@given(SPANS)
def test_no_two_jobs_share_a_slot_and_none_is_wasted(spans: list[tuple[int, int | None]]) -> None:
    """Jobs of one slot never overlap, and there are as many slots as jobs were alive at once."""
    slots = Slots()
    by_slot: dict[int, list[tuple[int, int | None]]] = {}
    for start, end in spans:
        by_slot.setdefault(slots.take(None, start, end), []).append((start, end))
    for row in by_slot.values():
        assert all(end is not None and end <= start for (_, end), (start, _) in pairwise(row))
    # An empty job is alive at its start for those that started before it, and for nobody after.
    peak = max(
        1 + sum(1 for other, end in spans[:at] if end is None or end > start)
        for at, (start, _) in enumerate(spans)
    )
    assert slots.width(None) == len(by_slot) == peak
