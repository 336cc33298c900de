"""The family of maps as adaptive-harmony's users know it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from spanloom import TooManyFailuresError
from spanloom.compat.adaptive_harmony import (
    async_map,
    async_map_batch,
    async_map_fallible,
    batch_process_fallible,
)
from spanloom.testing import capture_events
from tests.compat.running import Jobs, run


async def halve(number: int) -> int | None:
    """Fails for odd numbers, and has ``None`` for nothing."""
    await asyncio.sleep(number % 5)
    if number % 2:
        raise ValueError(number)
    return number // 2 or None


async def later(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


class Notifier:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int]] = []

    def report_progress(self, total: int, done: int) -> None:
        self.reports.append((total, done))


async def paired(f: Callable[[Any], Awaitable[Any]], data: Any) -> list[Any]:
    return [value for _, value in await batch_process_fallible(f, data)]


async def notified(f: Callable[[Any], Awaitable[Any]], data: Any) -> list[Any]:
    return [value for _, value in await batch_process_fallible(f, data, 100, Notifier())]


async def batched(f: Callable[[Any], Awaitable[Any]], data: Any) -> list[Any]:
    return await async_map_batch(f, data, 100, max_failure_fraction=1)


every = pytest.mark.parametrize("map_", [async_map, async_map_fallible, paired, notified, batched])
fallible = pytest.mark.parametrize("map_", [async_map_fallible, paired, notified, batched])


@every
@pytest.mark.parametrize("make", [list, iter, lambda items: (item for item in items)])
def test_results_stand_in_input_order(map_: Any, make: Any) -> None:
    """A list, an iterator or a generator: the order is that of the items, and ``None`` is a result."""
    assert run(map_(halve, make([4, 2, 0]))) == [2, 1, None]


@every
def test_no_items_give_an_empty_list(map_: Any) -> None:
    """An empty input is no error."""
    assert run(map_(halve, [])) == []
    assert run(map_(halve, iter(()))) == []


@every
def test_all_items_run_at_once(map_: Any) -> None:
    """Up to the batch size, nothing waits."""
    jobs = Jobs()
    run(map_(jobs.sleep, [1, 2, 3, 4]))
    assert jobs.most == 4


@every
def test_cancelling_the_caller_cancels_every_item(map_: Any) -> None:
    """The cancel is raised when all items have ended."""
    jobs = Jobs()

    async def main() -> None:
        task = asyncio.create_task(map_(jobs.sleep, [10, 20, 30]))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert jobs.alive == 0

    run(main())
    assert sorted(jobs.cancelled) == [10, 20, 30]


@every
def test_a_cancelled_item_cancels_the_call(map_: Any) -> None:
    """A cancel is no failure that could be skipped."""

    async def cancel(number: int) -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await map_(cancel, [1, 2])

    run(main())


@every
def test_a_map_is_a_batch_to_handlers(map_: Any) -> None:
    """Progress is tracked without being asked for: each item is an event under one batch."""

    async def main() -> list[tuple[str, str]]:
        with capture_events() as captured:
            await map_(halve, [0, 2])
        return sorted((event.type.value, str(event.status)) for event in captured.events)

    assert run(main()) == [("batch", "ok"), ("job", "ok"), ("job", "ok")]


@fallible
def test_failures_are_left_out(map_: Any) -> None:
    """Those that survive stand in input order."""
    assert run(map_(halve, range(9))) == [None, 1, 2, 3, 4]


def test_async_map_raises_the_first_error_bare() -> None:
    """The very object, after the others have been cancelled."""
    jobs = Jobs()
    boom = ValueError("boom")

    async def call(number: int) -> Any:
        return await jobs.sleep(number, error=boom if number == 2 else None)

    async def main() -> None:
        with pytest.raises(ValueError) as caught:
            await async_map(call, [1, 2, 3])
        assert caught.value is boom
        assert jobs.alive == 0

    run(main())
    assert jobs.cancelled == [3]


def test_async_inputs_are_taken() -> None:
    """An async generator serves as well."""
    assert run(async_map_fallible(halve, later(5))) == [None, 1, 2]
    assert run(async_map_batch(halve, later(9), 3, max_failure_fraction=1)) == [None, 1, 2]


# batch_process_fallible ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", [None, Notifier()])
def test_pairs_carry_the_index_and_are_sorted(notifier: Notifier | None) -> None:
    """The index is that of the input, failures counted; at most `batch_size` run at once."""
    jobs = Jobs()

    async def call(number: int) -> Any:
        await jobs.sleep(5 - number, number)
        return await halve(number)

    pairs = run(batch_process_fallible(fn=call, data=range(5), batch_size=2, stage_notifier=notifier))
    assert pairs == [(0, None), (2, 1), (4, 2)]
    assert jobs.most == 2


@pytest.mark.parametrize(
    ("count", "batch_size", "expected"),
    [(7, 3, [0, 3, 6, 7]), (6, 3, [0, 3, 6]), (2, 100, [0, 2]), (0, 5, [0])],
)
def test_progress_goes_from_nothing_to_the_total(count: int, batch_size: int, expected: list[int]) -> None:
    """The total never changes, failures count, and a generator is counted first."""
    for data in (list(range(count)), iter(range(count))):
        notifier = Notifier()
        run(batch_process_fallible(halve, data, batch_size, notifier))
        assert notifier.reports == [(count, done) for done in expected]


def test_a_notifier_that_raises_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, with its traceback, and not called again; the results are whole."""
    calls = 0

    class Broken:
        def report_progress(self, total: int, done: int) -> None:
            nonlocal calls
            calls += 1
            raise OSError("no line")

    with caplog.at_level(logging.ERROR, "spanloom"):
        assert run(batch_process_fallible(halve, range(4), 2, Broken())) == [(0, None), (2, 1)]
    assert calls == 1
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_an_input_is_pulled_lazily_without_a_notifier() -> None:
    """Memory does not hold what has not been started."""
    jobs = Jobs()
    pulled = 0

    def delays() -> Iterator[float]:
        nonlocal pulled
        for _ in range(8):
            pulled += 1
            assert pulled - len(jobs.ended) <= 3
            yield 1

    assert len(run(batch_process_fallible(jobs.sleep, delays(), 3))) == 8


# async_map_batch ----------------------------------------------------------------------------------------------------


def test_a_failed_item_is_replaced_by_the_next_and_never_retried() -> None:
    """The batch has its size, and the iterator is left where the last item was taken."""
    calls: list[int] = []

    async def call(number: int) -> int:
        calls.append(number)
        if number in (1, 3):
            raise ValueError(number)
        return number

    data = iter(range(100))
    assert run(async_map_batch(f=call, data=data, batch_size=4, max_failure_fraction=0.5)) == [0, 2, 4, 5]
    assert sorted(calls) == [0, 1, 2, 3, 4, 5]
    assert next(data) == 6


def test_a_short_input_gives_a_short_list() -> None:
    """Running out is no failure."""
    assert run(async_map_batch(halve, iter(range(4)), 10)) == [None, 1]


@pytest.mark.parametrize(
    ("size", "fraction", "allowed"),
    [(4, 0.5, 2), (5, 0.5, 2), (4, 0, 0), (4, 1.0, 4), (3, 0.34, 1), (10, 0.25, 2)],
)
def test_exactly_so_many_failures_are_allowed(size: int, fraction: float, allowed: int) -> None:
    """`max_failure_fraction * batch_size` failures are borne, one more is not."""
    last: list[Exception] = []
    jobs = Jobs()

    async def call(item: tuple[int, bool]) -> int:
        number, good = item
        if good:
            await jobs.sleep(100, number)
            return number
        await asyncio.sleep(number + 1)
        last.append(ValueError(number))
        raise last[-1]

    def items(bad: int) -> Iterator[tuple[int, bool]]:
        return iter([(number, number >= bad) for number in range(100)])

    good = run(async_map_batch(call, items(allowed), size, fraction))
    assert good == list(range(allowed, allowed + size))

    async def too_many() -> None:
        with pytest.raises(RuntimeError) as caught:
            await async_map_batch(call, items(allowed + 1), size, fraction)
        assert isinstance(caught.value, TooManyFailuresError)
        assert caught.value.__cause__ is last[-1]
        assert jobs.alive == 0

    last.clear()
    started = len(jobs.started)
    run(too_many())
    assert len(last) == allowed + 1
    assert len(jobs.cancelled) == len(jobs.started) - started


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one_is_refused_before_anything_is_consumed(size: int) -> None:
    """The message names the argument, and the input is untouched."""
    data = iter([1, 2])
    for call in (
        async_map_batch(halve, data, size),
        batch_process_fallible(halve, data, size),
        batch_process_fallible(halve, data, size, Notifier()),
    ):
        with pytest.raises(ValueError, match="batch_size must be at least 1"):
            run(call)
    assert list(data) == [1, 2]
