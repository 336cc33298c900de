"""`fill_batch`: a failed item makes room for the next one of the source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from spanloom import TooManyFailuresError, fill_batch, in_flight
from spanloom.testing import capture_events


async def even(number: int) -> int:
    await asyncio.sleep(0)
    if number % 2:
        raise ValueError(number)
    return number


async def test_failed_items_are_replaced_by_the_next_ones() -> None:
    """The batch has its size, in order of the source, and takes no item more than it needs."""
    source = iter(range(100))
    assert await fill_batch(even, source, 4, max_failure_fraction=1) == [0, 2, 4, 6]
    assert next(source) == 7


async def test_a_late_success_stands_at_its_place() -> None:
    """Results are in order of their items, not of their ends."""

    async def job(number: int) -> int:
        for _ in range(9 - number):
            await asyncio.sleep(0)
        return number

    assert await fill_batch(job, range(100), 3) == [0, 1, 2]


async def test_a_source_that_runs_out_gives_fewer_results() -> None:
    """Too few items are not an error."""
    assert await fill_batch(even, [0, 1, 2], 5, max_failure_fraction=1) == [0, 2]
    assert await fill_batch(even, [], 5) == []


async def test_an_async_source_will_do() -> None:
    """An async generator is pulled no further than needed."""
    pulled: list[int] = []

    async def source() -> AsyncIterator[int]:
        for number in range(100):
            await asyncio.sleep(0)
            pulled.append(number)
            yield number

    assert await fill_batch(even, source(), 3, max_failure_fraction=1) == [0, 2, 4]
    assert pulled == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fraction", "size", "allowed"),
    [(0.29, 100, 29), (0.57, 100, 57), (0.07, 100, 7), (0.5, 3, 1), (0.1, 9, 0)],
)
async def test_a_fraction_allows_what_its_decimal_says(fraction: float, size: int, allowed: int) -> None:
    """0.29 of 100 is 29, although the product of the floats is a little less."""
    failing = [1] * allowed

    assert len(await fill_batch(even, failing + [2] * size, size, max_failure_fraction=fraction)) == size
    with pytest.raises(TooManyFailuresError, match=f"^{allowed + 1} items failed"):
        await fill_batch(even, [*failing, 1] + [2] * size, size, max_failure_fraction=fraction)


async def test_too_many_failures_end_the_batch_with_the_last_as_cause() -> None:
    """The message counts, the cause is the very failure, and running items have ended."""
    ended: list[int] = []
    errors: list[ValueError] = []

    async def job(number: int) -> int:
        if number:
            await asyncio.sleep(0)
            errors.append(ValueError(number))
            raise errors[-1]
        try:
            await asyncio.sleep(5)
        finally:
            ended.append(number)
        return number

    with pytest.raises(
        TooManyFailuresError, match=r"3 items failed, .*max_failure_fraction=0.5 of size=4"
    ) as caught:
        await fill_batch(job, range(100), 4)
    assert caught.value.__cause__ is errors[-1]
    assert len(errors) == 3
    assert ended == [0]


async def test_no_failure_can_be_allowed() -> None:
    """max_failure_fraction=0 gives up at the first failure."""
    with pytest.raises(TooManyFailuresError, match="1 items failed"):
        await fill_batch(even, [1, 2], 2, max_failure_fraction=0)
    assert await fill_batch(even, [1, 3, 5, 7, 2], 1, max_failure_fraction=float("inf")) == [2]


async def test_an_exception_of_the_source_is_not_a_failed_item() -> None:
    """What the source raises comes out as it is."""
    mine = KeyError("source")

    def source() -> Any:
        yield 0
        raise mine

    with pytest.raises(KeyError) as caught:
        await fill_batch(even, source(), 3)
    assert caught.value is mine


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((0,), {}, ValueError, r"size must be at least 1 \(got 0\)"),
        ((2.0,), {}, TypeError, "size must be an int"),
        (
            (2,),
            {"max_failure_fraction": -0.1},
            ValueError,
            r"max_failure_fraction must be at least 0 \(got -0.1\)",
        ),
        ((2,), {"max_failure_fraction": float("nan")}, ValueError, "max_failure_fraction must be at least 0"),
    ],
)
async def test_bad_numbers_are_refused_before_anything_is_consumed(
    arguments: Any, options: Any, kind: type[Exception], message: str
) -> None:
    """The message says what was given and what is allowed."""
    source = iter([0])
    with pytest.raises(kind, match=message):
        await fill_batch(even, source, *arguments, **options)
    assert next(source) == 0


@pytest.mark.parametrize(
    ("items", "totals"), [(range(100), [3, 4, 5]), ([4, 0, 1, 2], [3, 4]), (iter(range(9)), [None])]
)
async def test_a_batch_knows_how_many_items_it_will_take(items: Any, totals: list[int | None]) -> None:
    """As many as are wanted, and one more for each that fails: not all there are, or it would end at 5 of 100."""
    seen: list[int | None] = []

    async def every_other(number: int) -> int:
        await asyncio.sleep(0)
        counts = in_flight()[0].counts
        assert counts is not None
        seen.append(counts.total)
        if number % 2:
            raise ValueError(number)
        return number

    with capture_events() as captured:
        await fill_batch(every_other, items, 3, max_failure_fraction=9)
    assert list(dict.fromkeys(seen)) == totals
    counts = captured.events[-1].counts
    assert counts is not None
    assert counts.total in (counts.ended, None)
