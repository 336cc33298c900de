"""Who is awaited, and by whom, as the callbacks of tasks tell."""

from __future__ import annotations

import asyncio
import threading

import pytest

from spanloom.diagnosis.history.company import Company, is_awaited


async def answer(told: asyncio.Event) -> None:
    await told.wait()


async def test_a_task_that_another_one_awaits_is_joined() -> None:
    """Whatever Python calls the callback by which that one goes on."""
    told = asyncio.Event()
    inner = asyncio.create_task(answer(told))
    alone = asyncio.create_task(answer(told))

    async def outer() -> None:
        await inner

    waiting = asyncio.create_task(outer())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [(Company().is_joined(task), is_awaited(task)) for task in (inner, alone)] == [
        (True, True),
        (False, False),
    ]
    told.set()
    await asyncio.gather(alone, waiting)


@pytest.mark.parametrize("awaited", [True, False])
async def test_a_task_that_one_of_another_loop_awaits_is_joined(awaited: bool) -> None:
    """It is tied to a future of threads, and that to one of the other loop."""
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever, daemon=True)
    thread.start()
    told = asyncio.Event()
    future = asyncio.run_coroutine_threadsafe(answer(told), other)
    waiting = asyncio.ensure_future(asyncio.wrap_future(future)) if awaited else None

    async def wait() -> None:
        if waiting is not None:
            await waiting

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    while not asyncio.all_tasks(other):
        await asyncio.sleep(0.001)
    (there,) = asyncio.all_tasks(other)
    assert Company().is_joined(there) is awaited
    other.call_soon_threadsafe(told.set)
    await asyncio.to_thread(future.result)
    await task
    other.call_soon_threadsafe(other.stop)
    thread.join()
    other.close()
