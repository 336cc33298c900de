"""The fast lane: what a worker leaves to the next job, and what it may not."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from gc import get_referents
from typing import Any

from spanloom import CallbackManager, async_map, current_event, run_jobs, stream, use_callback_manager

bucket: ContextVar[Any] = ContextVar("bucket")


def test_the_map_of_a_context_is_replaced_by_a_set_and_by_nothing_else() -> None:
    """What the lane relies on: a copied context refers to one map, the same one until a variable is set."""
    bucket.set([])
    before, same = copy_context(), copy_context()
    bucket.set([])
    after = copy_context()
    assert len(get_referents(before)) == len(get_referents(after)) == 1
    assert get_referents(same)[0] is get_referents(before)[0]
    assert get_referents(after)[0] is not get_referents(before)[0]


async def test_an_equal_other_list_is_something_left_behind() -> None:
    """A job that sets an empty list in place of an empty list does not hand its list to the next job."""
    ours: list[int] = []
    bucket.set(ours)

    async def first() -> bool:
        bucket.set([])
        await asyncio.sleep(0)
        return bucket.get() is ours

    async def second() -> bool:
        return bucket.get() is ours

    assert await run_jobs([first(), second()], workers=1, isolation="context") == [False, True]


async def test_a_value_that_cannot_be_compared_harms_nobody() -> None:
    """The values of a context are never compared by code of theirs."""

    class Touchy:
        __hash__ = None  # type: ignore[assignment]  # as numpy's arrays are

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("the truth value is ambiguous")

    bucket.set(Touchy())

    async def job(number: int) -> int:
        bucket.set(Touchy())
        return number

    assert await async_map(job, range(3), limit=1, isolation="context") == [0, 1, 2]


async def test_a_scope_that_a_job_has_closed_is_nothing_left_behind() -> None:
    """A variable that is set and set back, as every scope does, costs the worker nothing."""
    tasks = set()

    async def job(number: int) -> None:
        with manager.event("step"):
            await asyncio.sleep(0)
        tasks.add(asyncio.current_task())
        event = current_event()
        assert event is not None
        assert event.job_index == number

    manager = CallbackManager()
    with use_callback_manager(manager):
        await async_map(job, range(50), limit=2, isolation="context")
    assert len(tasks) == 2


async def test_leaving_a_stream_at_once_starts_no_job() -> None:
    """A batch that is stopped before its first worker runs has no jobs."""
    ran: list[int] = []

    async def job(number: int) -> None:
        ran.append(number)

    async with stream(job, range(1000), limit=4, isolation="context"):
        pass
    assert ran == []


async def test_failures_that_are_skipped_make_room() -> None:
    """Workers that wait for the consumer go on when a job fails, whose outcome nobody will take."""

    async def job(number: int) -> int:
        await asyncio.sleep(0)
        if number % 2:
            raise ValueError(number)
        return number

    async with (
        asyncio.timeout(20),
        stream(job, range(200), limit=3, on_error="skip", isolation="context") as outcomes,
    ):
        assert sorted([outcome.index async for outcome in outcomes]) == list(range(0, 200, 2))


async def test_an_input_that_grows_meanwhile_is_worked_off() -> None:
    """A job may append to the list that the batch takes its items from."""
    items = [0, 1]

    async def job(number: int) -> int:
        if number < 4:
            items.append(number + 2)
        return number

    assert await async_map(job, items, limit=1, isolation="context") == [0, 1, 2, 3, 4, 5]


async def test_the_pull_of_an_item_is_not_the_time_of_its_job() -> None:
    """A generator that takes its time makes queue time, not run time."""
    manager = CallbackManager()

    def slow() -> Any:
        for number in range(3):
            deadline = asyncio.get_running_loop().time() + 0.02
            while asyncio.get_running_loop().time() < deadline:
                pass
            yield number

    async def job(number: int) -> None:
        pass

    with use_callback_manager(manager):
        await async_map(job, slow(), limit=1, isolation="context")
    assert manager.recorder is not None
    times = [event.duration_ns or 0 for event in manager.recorder.ended() if event.type == "job"]
    assert len(times) == 3
    assert min(times) < 15_000_000  # the least of three: the machine may be busy with something else
