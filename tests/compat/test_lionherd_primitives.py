"""Locks, queues, task groups and the leak tracker as lionherd's users know them."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import Any

import anyio
import pytest

from spanloom.compat import lionherd
from tests.compat.running import Jobs, run


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lionherd.Lock, 1),
        (lionherd.Condition, 1),
        (lambda: lionherd.Condition(lionherd.Lock()), 1),
        (lambda: lionherd.Semaphore(3), 3),
        (lambda: lionherd.CapacityLimiter(2), 2),
        (lambda: lionherd.CapacityLimiter(math.inf), 9),
    ],
)
def test_so_many_get_in_at_once(make: Any, most: int) -> None:
    """Each primitive lets in as many as it says, by ``async with``, which gives it, and by hand."""
    jobs = Jobs()

    async def main() -> None:
        gate = make()

        async def enter(number: int) -> None:
            if number % 2:
                await gate.acquire()
                await jobs.sleep(1, number)
                gate.release()
            else:
                async with gate as entered:
                    assert entered is gate
                    await jobs.sleep(1, number)

        await lionherd.gather(*map(enter, range(9)))

    run(main())
    assert jobs.most == most


def test_what_makes_no_sense_is_refused() -> None:
    """The messages are lionherd's."""
    with pytest.raises(ValueError, match="initial_value must be >= 0"):
        lionherd.Semaphore(-1)
    for number in (0, -1):
        with pytest.raises(ValueError, match="total_tokens must be > 0"):
            lionherd.CapacityLimiter(number)
    limiter = lionherd.CapacityLimiter(1)
    with pytest.raises(ValueError, match="total_tokens must be > 0"):
        limiter.total_tokens = 0


async def test_a_capacity_limiter_tells_and_changes_its_tokens() -> None:
    """Tokens can be borrowed for others, and there can be more of them at any time."""
    limiter = lionherd.CapacityLimiter(2)
    await limiter.acquire_on_behalf_of("somebody")
    async with limiter:
        assert (limiter.total_tokens, limiter.borrowed_tokens, limiter.available_tokens) == (2, 2, 0)
        limiter.total_tokens = 4
        assert limiter.available_tokens == limiter.remaining_tokens == 2
    limiter.release_on_behalf_of("somebody")
    assert limiter.borrowed_tokens == 0


def test_an_event_wakes_all_who_wait() -> None:
    """Once set it stays set, and it knows who waits."""

    async def main() -> None:
        event = lionherd.Event()
        waiting = [asyncio.create_task(event.wait()) for _ in range(3)]
        await asyncio.sleep(1)
        assert not event.is_set()
        assert event.statistics().tasks_waiting == 3
        event.set()
        await asyncio.gather(*waiting)
        assert event.is_set()
        await event.wait()

    run(main())
    assert lionherd.ConcurrencyEvent is lionherd.Event


def test_a_condition_wakes_as_many_as_it_is_told_to() -> None:
    """`notify` wakes some, `notify_all` the rest; the lock can be shared."""

    async def main() -> None:
        lock = lionherd.Lock()
        condition = lionherd.Condition(lock)
        woken = 0

        async def waiter() -> None:
            nonlocal woken
            async with condition:
                await condition.wait()
                woken += 1

        waiting = [asyncio.create_task(waiter()) for _ in range(5)]
        await asyncio.sleep(1)
        assert condition.statistics().tasks_waiting == 5
        async with lock:
            condition.notify(2)
        await asyncio.sleep(1)
        assert woken == 2
        async with condition:
            condition.notify_all()
        await asyncio.gather(*waiting)

    run(main())


async def test_a_queue_is_first_in_first_out_and_bounded() -> None:
    """What is full or empty is told by `anyio.WouldBlock`, what is closed by `anyio.ClosedResourceError`."""
    async with lionherd.Queue[int].with_maxsize(2) as queue:
        await queue.put(1)
        queue.put_nowait(2)
        with pytest.raises(anyio.WouldBlock):
            queue.put_nowait(3)
        assert (await queue.get(), queue.get_nowait()) == (1, 2)
        with pytest.raises(anyio.WouldBlock):
            queue.get_nowait()
        await queue.sender.send(4)
        assert await queue.receiver.receive() == 4
    with pytest.raises(anyio.ClosedResourceError):
        await queue.put(5)
    with pytest.raises(anyio.ClosedResourceError):
        await queue.get()


def test_a_queue_of_no_size_hands_over() -> None:
    """A `put` waits for its `get`."""

    async def main() -> float:
        async with lionherd.Queue[str].with_maxsize(0) as queue:

            async def get() -> str:
                await asyncio.sleep(3)
                return await queue.get()

            getting = asyncio.create_task(get())
            await queue.put("here")
            assert await getting == "here"
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(3)


def test_a_priority_queue_gives_the_smallest_first() -> None:
    """A full one makes `put` wait and an empty one `get`; without waiting they raise."""

    async def main() -> None:
        queue = lionherd.PriorityQueue[tuple[int, str]](maxsize=2)
        with pytest.raises(lionherd.QueueEmpty, match="Queue is empty"):
            await queue.get_nowait()
        assert (queue.qsize(), queue.empty(), queue.full(), queue.maxsize) == (0, True, False, 2)
        getting = asyncio.create_task(queue.get())
        await asyncio.sleep(1)
        await queue.put_nowait((5, "first come"))
        assert await getting == (5, "first come")
        await queue.put((3, "low"))
        await queue.put_nowait((1, "high"))
        assert queue.full()
        with pytest.raises(lionherd.QueueFull, match="Queue is full"):
            await queue.put_nowait((0, "too much"))
        putting = asyncio.create_task(queue.put((2, "middle")))
        await asyncio.sleep(1)
        assert await queue.get_nowait() == (1, "high")
        await putting
        assert [await queue.get(), await queue.get()] == [(2, "middle"), (3, "low")]

    run(main())


def test_a_task_group_is_anyios() -> None:
    """It waits for its tasks, raises their errors in a group, and can be cancelled."""
    jobs = Jobs()
    boom = ValueError("boom")

    async def ready(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        task_status.started("ready")
        await jobs.sleep(1)

    async def main() -> None:
        async with lionherd.create_task_group() as group:
            assert isinstance(group, lionherd.TaskGroup)
            group.start_soon(jobs.sleep, 2, name="a name")
            assert await group.start(ready) == "ready"
        assert jobs.ended == [1, 2]
        with pytest.raises(lionherd.ExceptionGroup) as caught:
            async with lionherd.create_task_group() as group:
                group.start_soon(jobs.sleep, 1, "failing", boom)
        assert caught.value.exceptions == (boom,)
        async with lionherd.create_task_group() as group:
            group.start_soon(jobs.sleep, 30)
            await asyncio.sleep(1)
            group.cancel_scope.cancel()

    run(main())
    assert jobs.cancelled == [30]


class Thing:
    """Something that can be referred to weakly."""


def test_a_leak_tracker_knows_what_is_alive() -> None:
    """An object is reported until it is gone or untracked, and is not kept alive."""
    tracker = lionherd.LeakTracker()
    one, two = Thing(), Thing()
    tracker.track(one, name="one", kind="thing")
    tracker.track(two, name="under an old name", kind=None)
    tracker.track(two, name=None, kind=None)
    first, second = tracker.live()
    assert (first.name, first.kind) == ("one", "thing")
    assert second.name == f"obj-{id(two)}"
    assert 0 <= second.created_at - first.created_at < 60
    del one
    gc.collect()
    assert tracker.live() == [second]
    tracker.untrack(two)
    tracker.untrack(two)
    assert tracker.live() == []
    tracker.track(two, name="again", kind=None)
    tracker.clear()
    assert tracker.live() == []


def test_the_tracker_of_the_process_takes_defaults() -> None:
    """Name and kind can be left out; forgetting what was never tracked is no error."""
    thing = Thing()
    lionherd.track_resource(thing)
    lionherd.untrack_resource(thing)
    lionherd.untrack_resource(thing)
    with pytest.raises(TypeError):
        lionherd.track_resource(1)
