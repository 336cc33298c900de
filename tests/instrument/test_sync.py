"""Locks and the like that are tracked on request: who holds them, who waits, where they were made."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Iterator

import pytest

import spanloom
from spanloom import CallbackManager
from spanloom.instrument.sync import resource_of, resources


@pytest.fixture(autouse=True)
def tracked(manager: CallbackManager) -> Iterator[None]:
    spanloom.instrument("asyncio.sync")
    yield
    spanloom.uninstrument()
    assert resources() == []


def here() -> int:
    return sys._getframe(1).f_lineno


async def test_a_lock_knows_its_holder_its_waiters_and_its_place() -> None:
    """Until it is released; then it has neither."""
    lock, line = asyncio.Lock(), here()

    async def take() -> None:
        async with lock:
            pass

    await lock.acquire()
    waiter = asyncio.create_task(take())
    await asyncio.sleep(0)
    found = resource_of(lock)
    assert found is not None
    assert (found.kind, found.size, list(found.holders)) == ("Lock", 1, [asyncio.current_task()])
    assert dict(found.waiters) == {waiter: "acquire"}
    assert found.made_at is not None
    assert (found.made_at.filename, found.made_at.lineno) == (__file__, line)
    lock.release()
    await waiter
    assert (len(found.holders), len(found.waiters)) == (0, 0)


async def test_a_semaphore_counts_its_holders() -> None:
    """Each by how often it holds it; a task that is cancelled while it waits does not."""
    semaphore = asyncio.BoundedSemaphore(3)
    async with semaphore, semaphore:
        found = resource_of(semaphore)
        assert found is not None
        assert (found.kind, found.size, list(found.holders.values())) == ("BoundedSemaphore", 3, [2])
        async with semaphore:
            task = asyncio.create_task(semaphore.acquire())
            await asyncio.sleep(0)
            assert list(found.waiters) == [task]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert (len(found.holders), len(found.waiters)) == (0, 0)


async def test_a_slot_that_another_task_gives_back_is_the_holders() -> None:
    """Taken here, released there: nobody holds it afterwards."""
    semaphore = asyncio.Semaphore(1)
    await semaphore.acquire()

    async def release() -> None:
        semaphore.release()

    await asyncio.create_task(release())
    found = resource_of(semaphore)
    assert found is not None
    assert len(found.holders) == 0


async def test_queues_events_and_conditions_know_who_waits() -> None:
    """And in what: ``get``, ``put``, ``wait``."""
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    event, condition = asyncio.Event(), asyncio.Condition()

    async def wait() -> None:
        async with condition:
            await condition.wait()

    getter, waiter, conditioned = (
        asyncio.create_task(queue.get()),
        asyncio.create_task(event.wait()),
        asyncio.create_task(wait()),
    )
    await asyncio.sleep(0)
    found = [resource_of(each) for each in (queue, event, condition)]
    assert [each and (each.kind, each.size, dict(each.waiters)) for each in found] == [
        ("Queue", 1, {getter: "get"}),
        ("Event", None, {waiter: "wait"}),
        ("Condition", None, {conditioned: "wait"}),
    ]
    event.set()
    await queue.put(1)
    await asyncio.gather(getter, waiter)
    async with condition:
        condition.notify()
    await conditioned
    await queue.put(2)
    putter = asyncio.create_task(queue.put(3))
    await asyncio.sleep(0)
    assert found[0] is not None
    assert dict(found[0].waiters) == {putter: "put"}
    assert (await queue.get(), await queue.get()) == (2, 3)


async def test_nothing_is_kept_alive() -> None:
    """A lock that is gone is forgotten, as is a task that has held one to its end."""
    lock = asyncio.Lock()
    task = asyncio.create_task(lock.acquire())
    await task
    found = resource_of(lock)
    assert found is not None
    assert len(found.holders) == 1
    del task
    await asyncio.sleep(0)  # the loop itself holds what has woken us up, until now
    gc.collect()
    assert len(found.holders) == 0
    before = len(resources())
    del lock
    gc.collect()
    assert len(resources()) == before - 1


async def test_one_of_two_over_each_other_can_be_undone() -> None:
    """Both patch ``Semaphore.acquire``: without the one the other goes on, and without both it is the real one."""
    spanloom.uninstrument()
    original = asyncio.Semaphore.acquire
    spanloom.instrument("asyncio", "asyncio.sync")
    spanloom.uninstrument("asyncio")
    assert spanloom.instrumented() == ("asyncio.sync",)
    semaphore = asyncio.Semaphore(1)
    async with semaphore:
        found = resource_of(semaphore)
        assert found is not None
        assert len(found.holders) == 1
    spanloom.uninstrument("asyncio.sync")
    assert asyncio.Semaphore.acquire is original


def test_a_lock_may_be_made_while_another_one_is_being_tracked() -> None:
    """As by a finalizer, which the garbage collector runs wherever something is allocated."""

    class Named(type):
        @property
        def __name__(cls) -> str:
            asyncio.Lock()
            return "Own"

    class Own(asyncio.Lock, metaclass=Named): ...

    made: list[object] = []
    thread = threading.Thread(target=lambda: made.append(Own()), daemon=True)
    thread.start()
    thread.join(10)
    found = resource_of(made[0])
    assert found is not None
    assert found.kind == "Own"
