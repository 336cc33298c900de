"""Loops with a task factory: jobs may end in the moment in which they are started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spanloom import async_map, batch_gather, fill_batch, gather, race, run_jobs, stream
from spanloom.testing import capture_events
from tests.concurrency.loops import LOOPS, run_on

loops = pytest.mark.parametrize("loop", LOOPS)


async def value(number: int) -> int:
    return number


@loops
def test_jobs_that_never_suspend_all_run(loop: str) -> None:
    """However few jobs may run at once, no item of the input is left out."""

    async def main() -> None:
        expected = list(range(50))
        for limit in (1, 2, 7):
            assert await run_jobs([value(number) for number in range(50)], workers=limit) == expected
            assert await async_map(value, iter(range(50)), limit=limit) == expected
            assert await batch_gather((value(number) for number in range(50)), limit) == expected
            async with stream(value, range(50), limit=limit) as outcomes:
                assert [outcome.value async for outcome in outcomes] == expected
            assert await fill_batch(value, range(50), limit) == list(range(limit))
        assert await async_map(value, range(50)) == expected
        assert await gather(*[value(number) for number in range(50)]) == expected
        assert await race(value(3), value(4)) == 3

    run_on(loop, main())


@loops
@pytest.mark.parametrize("runner", ["run_jobs", "async_map", "gather", "batch_gather", "stream"])
def test_a_failure_without_suspension_starts_and_leaves_nothing(loop: str, runner: str) -> None:
    """A job that fails at once ends the batch at once: siblings are cancelled, and later ones never start."""
    mine = ValueError("mine")
    ended: list[int] = []

    async def job(number: int) -> int:
        if number == 3:
            raise mine
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)
        return number

    async def main() -> None:
        if runner == "async_map":
            await async_map(job, range(8))
            return
        jobs = [job(number) for number in range(8)]
        async with asyncio.timeout(10):
            if runner == "run_jobs":
                await run_jobs(jobs, workers=8)
            elif runner == "gather":
                await gather(*jobs)
            elif runner == "batch_gather":
                await batch_gather(jobs, 8)
            else:
                async with stream(jobs, on_error="raise") as outcomes:
                    async for _ in outcomes:
                        pass

    with pytest.raises(ValueError) as caught:
        run_on(loop, main())
    assert caught.value is mine
    assert ended == [0, 1, 2]


@loops
def test_a_generator_is_not_pulled_on_after_a_failure_without_suspension(loop: str) -> None:
    """What has not been pulled when a job fails stays in the generator, but for what may start beside it."""
    pulled: list[int] = []

    def jobs() -> Iterator[Callable[[], Any]]:
        for number in range(100):
            pulled.append(number)
            yield lambda number=number: value(1 // (2 - number))

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await run_jobs(jobs(), workers=1)

    run_on(loop, main())
    assert pulled == [0, 1, 2]


@loops
def test_events_are_complete_for_jobs_that_never_suspend(loop: str) -> None:
    """Each job has its event under its batch, whenever it ended."""

    async def main() -> str:
        with capture_events() as captured:
            await run_jobs([value(number) for number in range(3)], workers=2)
        assert captured.open == []
        return captured.tree()

    assert run_on(loop, main()) == "batch value ok\n  job value #0 ok\n  job value #1 ok\n  job value #2 ok"


def test_a_factory_of_another_task_class_makes_the_jobs() -> None:
    """A task factory that somebody installed is used, and its tasks are cancelled like any other."""

    class OtherTask(asyncio.Task[Any]):
        pass

    seen: set[type] = set()

    async def job(number: int) -> int:
        seen.add(type(asyncio.current_task()))
        await asyncio.sleep(0)
        if number == 9:
            raise ValueError(number)
        return number

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(
            lambda loop, coroutine, **options: OtherTask(coroutine, loop=loop, **options)
        )
        assert await async_map(job, range(5), limit=2) == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="9"):
            await async_map(job, [1, 9, 2, 3], limit=2)

    asyncio.run(main())
    assert seen == {OtherTask}
