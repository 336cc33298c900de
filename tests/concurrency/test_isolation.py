"""What a job does stays in the job: everything behaves as in a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from spanloom import async_map, batch_gather, gather, race, run_jobs, stream
from tests.concurrency.loops import LOOPS, run_on

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def by_run_jobs(jobs: list[Callable[[], Awaitable[Any]]], isolation: Any) -> list[Any]:
    return await run_jobs(jobs, workers=2, on_error="return", isolation=isolation)


async def by_async_map(jobs: list[Callable[[], Awaitable[Any]]], isolation: Any) -> list[Any]:
    return await async_map(lambda job: job(), jobs, limit=2, on_error="return", isolation=isolation)


async def by_batch_gather(jobs: list[Callable[[], Awaitable[Any]]], isolation: Any) -> list[Any]:
    return await batch_gather(jobs, 2, on_error="return")


async def by_gather(jobs: list[Callable[[], Awaitable[Any]]], isolation: Any) -> list[Any]:
    return await gather(*[job() for job in jobs], return_exceptions=True)


async def by_stream(jobs: list[Callable[[], Awaitable[Any]]], isolation: Any) -> list[Any]:
    async with stream(jobs, limit=2, isolation=isolation) as outcomes:
        ended = {outcome.index: outcome.value if outcome.ok else outcome.error async for outcome in outcomes}
    return [ended[index] for index in sorted(ended)]


RUNNERS = [by_run_jobs, by_async_map, by_batch_gather, by_gather, by_stream]

loops = pytest.mark.parametrize("loop", LOOPS)
runners = pytest.mark.parametrize("run", RUNNERS)
isolations = pytest.mark.parametrize("isolation", ["task", "context"])


# context --------------------------------------------------------------------------------------------


@loops
@runners
@isolations
@pytest.mark.parametrize("suspend", [False, True])
def test_what_a_job_sets_in_its_context_reaches_nobody_else(
    loop: str, run: Any, isolation: str, suspend: bool
) -> None:
    """Each job finds the caller's value of a ContextVar, and the caller keeps it."""

    async def job(index: int) -> str:
        seen = variable.get()
        variable.set(f"job {index}")
        if suspend:
            await asyncio.sleep(0)
        assert variable.get() == f"job {index}"
        return seen

    async def main() -> None:
        variable.set("caller")
        assert await run([lambda index=index: job(index) for index in range(9)], isolation) == ["caller"] * 9
        assert variable.get() == "caller"

    run_on(loop, main())


@loops
@isolations
def test_a_failed_job_leaves_its_context_to_nobody(loop: str, isolation: str) -> None:
    """The job after one that set a ContextVar and raised finds the caller's value."""

    async def job(index: int) -> str:
        seen = variable.get()
        variable.set(f"job {index}")
        if index % 2:
            raise ValueError(index)
        return seen

    async def main() -> None:
        variable.set("caller")
        results = await by_async_map([lambda index=index: job(index) for index in range(6)], isolation)
        assert results[::2] == ["caller"] * 3

    run_on(loop, main())


@loops
@isolations
def test_a_callback_scheduled_by_a_job_sees_the_context_of_that_job(loop: str, isolation: str) -> None:
    """``loop.call_soon`` carries the job's context, also when it runs after the job has ended."""
    seen: list[str] = []

    async def job(index: int) -> None:
        variable.set(f"job {index}")
        asyncio.get_running_loop().call_soon(lambda: seen.append(variable.get()))

    async def main() -> None:
        await by_async_map([lambda index=index: job(index) for index in range(4)], isolation)
        await asyncio.sleep(0)

    run_on(loop, main())
    assert seen == [f"job {index}" for index in range(4)]


# tasks ----------------------------------------------------------------------------------------------


@loops
@runners
def test_a_job_never_finds_what_another_keyed_by_its_task(loop: str, run: Any) -> None:
    """``current_task()`` is the job's alone, so a registry keyed by it has one entry per job."""
    registry: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
    kept: list[Any] = []

    async def job(index: int) -> int:
        task = asyncio.current_task()
        kept.append(task)
        found = registry.setdefault(task, index)
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        return found

    async def main() -> None:
        assert await run([lambda index=index: job(index) for index in range(9)], "task") == list(range(9))

    run_on(loop, main())
    assert len(set(map(id, kept))) == 9


@loops
@runners
def test_cancelling_the_task_of_an_ended_job_hits_nobody(loop: str, run: Any) -> None:
    """A stale reference to the task of a job that has ended is harmless to the jobs after it."""
    tasks: list[asyncio.Task[Any]] = []

    async def job(index: int) -> int:
        for task in tasks:
            if task.done():
                assert not task.cancel()
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return index

    async def main() -> None:
        assert await run([lambda index=index: job(index) for index in range(9)], "task") == list(range(9))

    run_on(loop, main())
    assert all(task.done() and not task.cancelled() for task in tasks)


@loops
@isolations
@pytest.mark.parametrize("wait", [True, False])
def test_a_job_that_cancels_itself_ends_the_batch_as_cancelled(loop: str, isolation: str, wait: bool) -> None:
    """``current_task().cancel()`` counts whether or not the job awaits anything after it."""
    started: list[int] = []

    async def job(index: int) -> None:
        started.append(index)
        if index == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if not wait:
                return
        await asyncio.sleep(0.01)

    async def main() -> None:
        for _ in range(2):
            started.clear()
            with pytest.raises(asyncio.CancelledError):
                await run_jobs(
                    [lambda index=index: job(index) for index in range(6)],
                    workers=2,
                    on_error="skip",
                    isolation=isolation,
                )
            assert started == [0, 1]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run_on(loop, main())


@loops
@isolations
def test_a_cancel_that_a_job_takes_back_does_no_harm(loop: str, isolation: str) -> None:
    """A job that catches its own cancel, and uncancels, goes on, and so do the jobs after it."""

    async def job(index: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task.uncancel()
        await asyncio.sleep(0)
        return index

    async def main() -> None:
        jobs = [lambda index=index: job(index) for index in range(6)]
        assert await by_run_jobs(jobs, isolation) == list(range(6))

    run_on(loop, main())


# what is built on tasks -----------------------------------------------------------------------------


@loops
@runners
@isolations
def test_a_timeout_inside_a_job_is_the_jobs_own(loop: str, run: Any, isolation: str) -> None:
    """``asyncio.timeout`` ends what it encloses, in the job that it is in."""

    async def job(index: int) -> str:
        try:
            async with asyncio.timeout(0.005 if index % 2 else 5):
                await asyncio.sleep(0.5 if index % 2 else 0)
        except TimeoutError:
            await asyncio.sleep(0)
            return "late"
        return "in time"

    async def main() -> None:
        results = await run([lambda index=index: job(index) for index in range(6)], isolation)
        assert results == ["in time", "late"] * 3

    run_on(loop, main())


@loops
@runners
@isolations
def test_a_task_group_inside_a_job_is_the_jobs_own(loop: str, run: Any, isolation: str) -> None:
    """A failing child of a job's ``TaskGroup`` ends that job with its ExceptionGroup, and no other."""
    error = KeyError("child")

    async def child() -> None:
        await asyncio.sleep(0)
        raise error

    async def job(index: int) -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.001))
            if index == 1:
                group.create_task(child())
        return index

    async def main() -> None:
        results = await run([lambda index=index: job(index) for index in range(4)], isolation)
        assert isinstance(results[1], ExceptionGroup)
        assert results[1].exceptions == (error,)
        assert [results[0], *results[2:]] == [0, 2, 3]

    run_on(loop, main())


@loops
@runners
@isolations
def test_anyio_scopes_inside_a_job_are_the_jobs_own(loop: str, run: Any, isolation: str) -> None:
    """``anyio.CancelScope``, ``move_on_after`` and ``fail_after`` work, and end with the job."""

    async def job(index: int) -> str:
        if index % 3 == 0:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.sleep(1)
            assert scope.cancelled_caught
            await anyio.sleep(0)
            return "cancelled"
        if index % 3 == 1:
            with anyio.move_on_after(0.002):
                await anyio.sleep(1)
            return "moved on"
        with anyio.fail_after(0.002):
            await anyio.sleep(1)
        return "never"

    async def main() -> None:
        results = await run([lambda index=index: job(index) for index in range(6)], isolation)
        assert results[:2] == results[3:5] == ["cancelled", "moved on"]
        assert [type(results[index]) for index in (2, 5)] == [TimeoutError, TimeoutError]

    run_on(loop, main())


@loops
@isolations
def test_an_anyio_scope_around_a_batch_cancels_its_jobs(loop: str, isolation: str) -> None:
    """A cancelled scope of the caller ends all jobs before the block is left."""
    started: list[int] = []
    ended: list[int] = []

    async def job(index: int, scope: anyio.CancelScope) -> None:
        started.append(index)
        if len(started) == 2:
            scope.cancel()
        try:
            await anyio.sleep(5)
        finally:
            ended.append(index)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            await by_run_jobs([lambda index=index: job(index, scope) for index in range(6)], isolation)
        assert scope.cancelled_caught
        assert ended == [0, 1]

    run_on(loop, main())


@loops
@isolations
def test_what_a_job_shields_goes_on_when_the_job_is_cancelled(loop: str, isolation: str) -> None:
    """``asyncio.shield`` keeps a cancel of the batch from what it shields."""
    done: list[int] = []

    async def precious(index: int, release: asyncio.Event) -> None:
        await release.wait()
        done.append(index)

    async def main() -> None:
        release = asyncio.Event()
        inner = [asyncio.ensure_future(precious(index, release)) for index in range(2)]

        async def job(index: int) -> None:
            await asyncio.shield(inner[index])

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await by_run_jobs([lambda index=index: job(index) for index in range(2)], isolation)
        assert done == []
        release.set()
        await asyncio.gather(*inner)

    run_on(loop, main())
    assert done == [0, 1]


@loops
@runners
@isolations
def test_an_async_generator_that_a_job_leaves_early_is_closed_in_that_job(
    loop: str, run: Any, isolation: str
) -> None:
    """The generator's ``finally`` runs in the task and the context of the job that closes it."""
    closed: list[tuple[int, str, bool]] = []

    async def numbers(index: int) -> AsyncIterator[int]:
        owner = asyncio.current_task()
        try:
            for number in range(10):
                yield number
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            closed.append((index, variable.get(), asyncio.current_task() is owner))

    async def job(index: int) -> int:
        variable.set(f"job {index}")
        generator: Any = numbers(index)
        async for number in generator:
            if number == 2:
                break
        await generator.aclose()
        return index

    async def main() -> None:
        assert await run([lambda index=index: job(index) for index in range(4)], isolation) == list(range(4))

    run_on(loop, main())
    assert sorted(closed) == [(index, f"job {index}", True) for index in range(4)]


@loops
def test_racers_are_isolated_too(loop: str) -> None:
    """A racer's ContextVar and task are its own, and losers see a plain cancel."""
    seen: list[str] = []
    tasks: set[Any] = set()

    async def racer(index: int) -> int:
        seen.append(variable.get())
        variable.set(f"racer {index}")
        tasks.add(asyncio.current_task())
        try:
            await asyncio.sleep(0.001 if index == 1 else 60)
        except asyncio.CancelledError:
            seen.append(variable.get())
            raise
        return index

    async def main() -> None:
        assert await race(racer(0), racer(1), racer(2)) == 1

    run_on(loop, main())
    assert seen == ["unset", "unset", "unset", "racer 0", "racer 2"]
    assert len(tasks) == 3


@isolations
async def test_a_variable_that_the_caller_does_not_have_reaches_no_other_job(isolation: Any) -> None:
    """One that is set for the first time in a job is none that has changed, and is gone with the job all the same."""
    fresh: ContextVar[int] = ContextVar("fresh")

    async def job(number: int) -> int | None:
        before = fresh.get(None)
        fresh.set(number)
        return before

    assert await async_map(job, range(3), limit=1, isolation=isolation) == [None] * 3
    assert fresh.get(None) is None


async def test_jobs_that_were_cancelled_and_went_on_are_not_kept() -> None:
    """A deadline inside a job cancels its task and takes that back: nothing may keep the task for it."""
    tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    async def job(_: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        return len(tasks)

    assert max(await async_map(job, range(100), limit=2)) <= 10
