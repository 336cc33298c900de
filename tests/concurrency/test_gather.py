"""`gather` and `batch_gather`: all at once, and chunk after chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from spanloom import CallbackManager, batch_gather, gather, use_callback_manager
from spanloom.testing import virtual_clock


async def value(number: Any) -> Any:
    await asyncio.sleep(0)
    return number


async def test_gather_gives_results_in_order() -> None:
    """Results stand in the order of the arguments."""
    assert await gather(asyncio.sleep(0.002, 1), value(2), value(None)) == [1, 2, None]
    assert await gather() == []


async def test_gather_runs_an_awaitable_that_is_given_twice_once() -> None:
    """The same object at two places is one job, with its result at both."""
    job, future = value(1), asyncio.get_running_loop().create_future()
    future.set_result(2)
    assert await gather(job, future, job, future) == [1, 2, 1, 2]


async def test_gather_returns_exceptions_on_request() -> None:
    """return_exceptions=True puts the very objects in the places of the results."""
    mine = ValueError("mine")

    async def fail() -> None:
        raise mine

    results = await gather(value(1), fail(), return_exceptions=True)
    assert results == [1, mine]
    with pytest.raises(ValueError) as caught:
        await gather(value(1), fail())
    assert caught.value is mine


async def test_gather_never_returns_a_cancel() -> None:
    """A cancelled awaitable is no result, not even with return_exceptions=True."""
    task = asyncio.create_task(asyncio.sleep(5))
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await gather(task, return_exceptions=True)


async def test_a_large_gather_lets_others_run_before_it_begins() -> None:
    """Looking for an awaitable given twice among 50,000 takes several turns of the loop, and finds it."""
    first_at: list[int] = []
    turns = 0

    async def job(number: int) -> int:
        first_at.append(turns)
        return number

    async def count_turns() -> None:
        nonlocal turns
        while not first_at:
            turns += 1
            await asyncio.sleep(0)

    jobs = [job(number) for number in range(50_000)]
    counting = asyncio.create_task(count_turns())
    results = await gather(*jobs, jobs[0])
    assert results == [*range(50_000), 0]
    assert first_at[0] >= 5
    await counting


async def test_a_large_gather_that_is_cancelled_before_it_begins_cleans_up() -> None:
    """Coroutines that never started are closed, a future is cancelled, and the batch ends as cancelled."""
    jobs = [value(number) for number in range(25_000)]
    future = asyncio.get_running_loop().create_future()
    manager = CallbackManager()
    with use_callback_manager(manager):
        task = asyncio.create_task(gather(*jobs, future))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert all(job.cr_frame is None for job in jobs)
    assert future.cancelled()
    assert manager.recorder is not None
    (batch,) = manager.recorder.ended()
    assert (batch.type, batch.status) == ("batch", "cancelled")


async def test_gather_takes_a_wrong_type_for_a_failure() -> None:
    """Something that is not awaitable fails as a job, and the coroutines are not left unawaited."""
    with pytest.raises(TypeError, match="a job must be an awaitable"):
        await gather(value(1), 7)


@pytest.mark.parametrize("source", ["list", "generator", "async generator"])
def test_a_chunk_starts_when_the_last_one_has_ended(source: str) -> None:
    """Chunks of batch_size do not overlap, and all jobs of a chunk start together, whatever the input is."""
    started: list[tuple[float, int]] = []

    async def job(number: int) -> int:
        started.append((asyncio.get_running_loop().time(), number))
        await asyncio.sleep(1 + number % 3)
        return number

    def jobs() -> Iterator[Any]:
        for number in range(7):
            yield job(number)

    async def ajobs() -> AsyncIterator[Any]:
        for item in jobs():
            yield item

    async def main() -> list[int]:
        inputs = {"list": lambda: list(jobs()), "generator": jobs, "async generator": ajobs}
        return await batch_gather(inputs[source](), 3)

    with virtual_clock() as runner:
        assert runner.run(main()) == list(range(7))
    assert [(round(time), number) for time, number in started] == [
        (0, 0), (0, 1), (0, 2), (3, 3), (3, 4), (3, 5), (6, 6),
    ]  # fmt: skip


async def test_batch_gather_pulls_no_further_than_the_chunk() -> None:
    """A failure in the first chunk leaves the rest of a generator alone."""
    pulled: list[int] = []

    async def job(number: int) -> int:
        await asyncio.sleep(0)
        if number == 1:
            raise ValueError(number)
        return number

    def jobs() -> Iterator[Any]:
        for number in range(9):
            pulled.append(number)
            yield job(number)

    with pytest.raises(ValueError, match="1"):
        await batch_gather(jobs(), 3)
    assert pulled == [0, 1, 2]


@pytest.mark.parametrize(("on_error", "expected"), [("return", ["1", "2"]), ("skip", ["1"])])
async def test_batch_gather_goes_on_after_failures_on_request(on_error: Any, expected: list[str]) -> None:
    """on_error="return" and "skip" are those of `run_jobs`."""

    async def fail() -> None:
        raise ValueError(2)

    assert [
        str(result) for result in await batch_gather([value(1), fail()], 1, on_error=on_error)
    ] == expected


@pytest.mark.parametrize(
    ("size", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("3", TypeError)]
)
async def test_a_bad_batch_size_is_refused(size: Any, kind: type[Exception]) -> None:
    """batch_size is an int of at least 1, and nothing is consumed before that is checked."""
    jobs = iter([value(1)])
    with pytest.raises(kind, match="batch_size must be"):
        await batch_gather(jobs, size)
    assert await next(jobs) == 1


async def test_a_list_in_the_place_of_awaitables_is_told() -> None:
    """As asyncio.gather wants them, one by one."""
    with pytest.raises(TypeError, match=r"not list; gather and race take jobs one by one: gather\(\*jobs\)"):
        await gather([])  # type: ignore[call-overload]  # what is tested
