"""A limiter refuses the wait that could never end, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from spanloom import AdaptiveLimiter, FixedLimiter, NestedLimiterError, async_map, run_jobs
from spanloom.testing import capture_events


async def within(seconds: float, awaitable: object) -> None:
    """Await something for so long, from outside of its task: with a deadline inside, any wait might end."""
    task = asyncio.ensure_future(awaitable)  # type: ignore[call-overload] # any awaitable
    done, _ = await asyncio.wait([task], timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait([task])
        raise TimeoutError
    task.result()


async def test_a_task_that_takes_its_only_slot_twice_is_told_so() -> None:
    """The second wait of the same task raises, names the function and the line, and leaves the slot as it was."""
    limiter = FixedLimiter(1, name="api")

    async def fetch() -> None:
        async with limiter, limiter:
            pass

    with pytest.raises(
        NestedLimiterError, match=r"limiter 'api' .*its only slot is held by .*fetch"
    ) as caught:
        await within(2, fetch())
    assert "test_nested_limiter.py" in caught.value.cycle[0]
    assert (limiter.in_use, limiter.waiting) == (0, 0)


def test_a_limiter_of_the_program_refuses_in_each_of_its_loops() -> None:
    """A loop that ended before it was looked whether its waits can end keeps the next one from nothing."""
    limiter = FixedLimiter(1)

    async def fetch() -> None:
        async with limiter:
            await asyncio.sleep(0)

    async def fetch_twice() -> None:
        async with limiter:
            await fetch()

    asyncio.run(run_jobs([fetch] * 5))  # the slot moves: it is to be looked later, when the loop is gone
    with pytest.raises(NestedLimiterError):
        asyncio.run(within(2, fetch_twice()))


@pytest.mark.parametrize("size", [1, 3])
async def test_jobs_that_wait_for_jobs_of_their_own_limiter_are_refused(size: int) -> None:
    """As soon as all slots are held by jobs that wait for inner jobs, the batch fails instead of hanging."""
    limiter = FixedLimiter(size)

    async def embed_chunk(chunk: int) -> int:
        await asyncio.sleep(0)
        return chunk

    async def embed_document(document: int) -> int:
        await asyncio.sleep(0.01)
        return sum(await async_map(embed_chunk, range(document), limit=limiter))

    with (
        capture_events() as events,
        pytest.raises(NestedLimiterError, match=r"embed_document.* for embed_chunk"),
    ):
        await within(5, async_map(embed_document, [4] * 6, limit=limiter))
    told: Any
    (told,) = [event for event in events.events if event.type == "stall"]
    (finding,) = told.payload["findings"]
    assert (finding["code"], finding["level"], finding["resource"]) == ("NESTED_LIMITER", "PROVEN", "limiter")
    assert (limiter.in_use, limiter.waiting) == (0, 0)


@pytest.mark.parametrize("how", ["gather", "group", "task"])
async def test_the_ring_is_seen_through_tasks(how: str) -> None:
    """Holders that wait for children in a gather, a task group or one task are found to be holders."""
    limiter = FixedLimiter(2)

    async def inner() -> None:
        async with limiter:
            await asyncio.sleep(0)

    async def outer() -> None:
        async with limiter:
            await asyncio.sleep(0.01)
            if how == "gather":
                await asyncio.gather(inner(), inner())
            elif how == "task":
                await asyncio.create_task(inner())
            else:
                async with asyncio.TaskGroup() as group:
                    group.create_task(inner())
                    group.create_task(inner())

    with pytest.raises((NestedLimiterError, ExceptionGroup)) as caught:
        await within(3, asyncio.gather(outer(), outer()))
    error = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
    assert isinstance(error, NestedLimiterError)


async def test_a_wait_that_somebody_else_can_end_is_left_alone() -> None:
    """A holder that sleeps, one with a deadline, a free slot, a failing sibling: nobody is refused, and all end."""
    limiter = FixedLimiter(2)

    async def inner(seconds: float) -> None:
        async with limiter:
            await asyncio.sleep(seconds)

    async def outer() -> None:
        async with limiter:
            await inner(0.01)

    await within(3, asyncio.gather(outer(), inner(0.05), inner(0.05)))

    async def patient() -> None:
        async with limiter:
            try:
                async with asyncio.timeout(0.05):
                    await inner(0)
            except TimeoutError:
                return

    await within(3, asyncio.gather(patient(), patient(), patient()))

    async def failing() -> None:
        await asyncio.sleep(0.05)
        raise ValueError

    async def hopeful() -> None:
        async with limiter:
            await asyncio.sleep(0.01)
            await asyncio.gather(inner(0), failing())

    results = asyncio.gather(hopeful(), hopeful(), return_exceptions=True)
    await within(3, results)
    assert [type(result) for result in results.result()] == [ValueError, ValueError]


async def test_slots_that_timers_give_back_are_not_taken_for_held() -> None:
    """One task that takes slots by hand, for a timer to give back, is a rate limiter and goes on."""
    limiter = FixedLimiter(2)

    async def paced() -> None:
        for _ in range(6):
            await limiter.acquire()
            asyncio.get_running_loop().call_later(0.02, limiter.release)

    await within(3, paced())


async def test_only_fixed_limiters_refuse_and_only_if_they_are_to() -> None:
    """With `refuse_nested` off, and with other limiters, such a wait goes on until something else ends it."""

    async def twice(limiter: FixedLimiter | AdaptiveLimiter) -> None:
        async with limiter, limiter:
            pass

    with pytest.raises(TimeoutError):
        await within(0.2, twice(FixedLimiter(1, refuse_nested=False)))
    with pytest.raises(TimeoutError):
        await within(0.2, twice(AdaptiveLimiter(1, 1, 1)))
    limiter = FixedLimiter(1, refuse_nested=False)
    task = asyncio.create_task(twice(limiter))
    await asyncio.sleep(0.01)
    limiter.resize(2)
    await within(1, task)


async def test_an_ordinary_contended_batch_is_not_refused() -> None:
    """Two batches, a shared limiter, an async input, more jobs than slots: all of it runs to its end."""
    limiter = FixedLimiter(3)

    async def numbers() -> AsyncIterator[int]:
        for number in range(40):
            await asyncio.sleep(0)
            yield number

    async def job(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    first, second = await asyncio.gather(
        async_map(job, numbers(), limit=limiter), run_jobs([job(n) for n in range(40)], workers=40)
    )
    assert first == second == list(range(40))


@pytest.mark.parametrize("how", ["wait_for", "gather", "group"])
async def test_a_deadline_further_out_is_waited_for(how: str) -> None:
    """A ring that somebody with a deadline waits for is not refused: it ends by that."""
    limiter = FixedLimiter(1)

    async def fetch() -> None:
        async with limiter, limiter:
            pass

    with pytest.raises(TimeoutError):
        if how == "wait_for":
            await asyncio.wait_for(fetch(), 0.05)
        else:
            async with asyncio.timeout(0.05):
                if how == "gather":
                    await asyncio.gather(fetch())
                else:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(fetch())
    assert (limiter.in_use, limiter.waiting) == (0, 0)
