"""`async_map`: one function over many items."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
from typing import Any

import pytest

from spanloom import RetryPolicy, async_map, fill_batch, stream
from spanloom.testing import capture_events


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@pytest.mark.parametrize("isolation", ["task", "context"])
@pytest.mark.parametrize("limit", [None, 1, 3, 100])
async def test_results_stand_in_input_order(limit: int | None, isolation: Any) -> None:
    """Every limit gives the same list."""
    assert await async_map(double, range(10), limit=limit, isolation=isolation) == list(range(0, 20, 2))


async def test_without_a_limit_all_items_run_at_once() -> None:
    """limit=None starts every item before the first one ends."""
    started: list[int] = []

    async def job(number: int) -> int:
        started.append(number)
        await asyncio.sleep(0)
        return len(started)

    assert await async_map(job, range(30)) == [30] * 30


async def test_with_index_tells_which_items_are_left() -> None:
    """with_index=True pairs each result with the position of its item."""

    async def odd(number: int) -> int:
        if number % 2 == 0:
            raise ValueError(number)
        return number

    found = await async_map(odd, range(6), on_error="skip", with_index=True)
    assert found == [(1, 1), (3, 3), (5, 5)]


async def test_the_function_runs_inside_the_job() -> None:
    """What a plain function does before it returns its awaitable belongs to the job, failures included."""
    mine = ValueError("before the first await")

    def call(number: int) -> Any:
        if number == 1:
            raise mine
        return double(number)

    results: list[Any] = await async_map(call, range(3), on_error="return")
    assert results[1] is mine
    assert results[::2] == [0, 4]


async def test_items_are_pulled_lazily() -> None:
    """No more than `limit` items are taken ahead of the jobs that have ended."""
    pulled = ended = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        for number in range(40):
            assert pulled - ended < 3
            pulled += 1
            yield number

    async def job(number: int) -> int:
        nonlocal ended
        await asyncio.sleep(0)
        ended += 1
        return number

    assert await async_map(job, items(), limit=3) == list(range(40))


async def test_an_async_iterable_is_an_input() -> None:
    """An async generator's items are mapped as they come."""

    async def items() -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(0)
            yield number

    assert await async_map(double, items(), limit=2) == [0, 2, 4, 6, 8]


async def test_the_events_are_named_after_the_function_or_desc() -> None:
    """Without desc batch and jobs have the function's name; desc names the batch."""
    with capture_events() as captured:
        await async_map(double, [1])
        await async_map(double, [1], desc="doubling")
    assert captured.tree() == "batch double ok\n  job double #0 ok\nbatch doubling ok\n  job double #0 ok"


async def test_items_in_the_place_of_the_function_are_refused() -> None:
    """The message tells the order of the arguments."""
    with pytest.raises(
        TypeError, match="async_map takes a function first and then the items, but list came first"
    ):
        await async_map([1], double)
    with pytest.raises(TypeError, match="items must be an iterable or async iterable, not int"):
        await async_map(double, 3)
    with pytest.raises(ValueError, match=r"limit must be at least 1 \(got 0\)"):
        await async_map(double, [1], limit=0)


async def test_a_function_that_is_not_async_is_told_how_to_become_one() -> None:
    """Python's own words are kept, and a note below them says what to do; an error of the function itself gets none."""

    def plain(number: int) -> int:
        return number

    def broken(number: int) -> Awaitable[int]:
        raise TypeError("await me not")

    with pytest.raises(TypeError) as caught:
        await async_map(plain, [1])  # type: ignore[type-var, arg-type]  # what is tested
    (note,) = caught.value.__notes__
    assert "`plain` has to return an awaitable" in note
    assert "functools.partial(asyncio.to_thread, plain)" in note
    with pytest.raises(TypeError, match="await me not") as caught:
        await async_map(broken, [1])
    assert not hasattr(caught.value, "__notes__")


async def test_a_semaphore_is_no_limit() -> None:
    """The message says what to give instead."""
    with pytest.raises(TypeError, match=r"not Semaphore; give the number, or FixedLimiter\(number\)"):
        await async_map(double, [1], limit=asyncio.Semaphore(2))  # type: ignore[arg-type]  # what is tested


async def test_functions_that_yield_are_refused() -> None:
    """There is nothing to await in what they return: each item would fail, and be tried again."""

    async def listen(item: int) -> AsyncIterator[int]:
        yield item

    def count(item: int) -> Iterator[int]:
        yield item

    @types.coroutine
    def old(item: int) -> Generator[None, None, int]:
        yield
        return item

    for yields in (listen, count):
        wrong: Any = yields
        items = iter([1])
        for call in (async_map, stream):
            with pytest.raises(
                TypeError, match=f"{call.__name__} awaits what a function returns, but .*yields"
            ):
                await call(wrong, items)
        with pytest.raises(TypeError, match=r"fill_batch awaits what a function returns, but .*yields"):
            await fill_batch(wrong, items, 1)
        with pytest.raises(TypeError, match=r"retrying awaits what a function returns, but .*yields"):
            RetryPolicy().retrying(wrong)
        assert list(items) == [1]
    with pytest.raises(TypeError, match="retrying decorates functions, not int"):
        RetryPolicy().retrying(5)  # type: ignore[type-var]  # that is what is tested
    assert await async_map(old, [1, 2]) == [1, 2]
