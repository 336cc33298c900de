"""The flight recorder and the table of open events."""

from __future__ import annotations

import asyncio
import threading

import pytest

from spanloom import run_jobs, use_callback_manager
from spanloom.callbacks import CallbackManager, FlightRecorder
from spanloom.callbacks.recorder import DEFAULT_CAPACITY
from tests.callbacks.recorders import recorded


def test_it_is_on_by_default() -> None:
    """A manager remembers the last events without being asked to."""
    manager = CallbackManager()
    assert manager.recorder is not None
    assert manager.recorder.capacity == DEFAULT_CAPACITY
    manager.emit(name="a")
    assert [event.name for event in recorded(manager)] == ["a"]


def test_it_keeps_the_last_events_only() -> None:
    """The ring holds as many events as it was told to, oldest first."""
    manager = CallbackManager(recorder=3)
    for number in range(10):
        manager.emit(name=str(number))
    assert [event.name for event in recorded(manager)] == ["7", "8", "9"]
    assert manager.stats().recorded == 3
    assert manager.stats().produced == 10


def test_it_can_be_emptied() -> None:
    """`clear` forgets what is there; what comes after is kept."""
    manager = CallbackManager()
    manager.emit()
    assert manager.recorder is not None
    manager.recorder.clear()
    assert len(manager.recorder) == 0
    manager.emit()
    assert len(manager.recorder) == 1


async def test_it_can_be_switched_off() -> None:
    """With `recorder=0` nothing is kept, and events work as before."""
    manager = CallbackManager(recorder=0)
    assert manager.recorder is None

    async def job() -> int:
        with manager.event():
            manager.emit()
        return 1

    with use_callback_manager(manager):
        assert await run_jobs([job(), job()]) == [1, 1]
    assert manager.stats().recorded == 0


@pytest.mark.parametrize("capacity", [0, -5])
def test_a_recorder_for_nothing_is_refused(capacity: int) -> None:
    """A ring needs room for one event."""
    with pytest.raises(ValueError, match=rf"capacity must be at least 1 \(got {capacity}\)"):
        FlightRecorder(capacity)


async def test_open_events_are_listed_oldest_first() -> None:
    """Scopes, events by id, batches and running jobs are all in flight, with their age, until they end."""
    manager = CallbackManager()
    go_on = asyncio.Event()
    running = asyncio.Semaphore(0)

    async def job() -> None:
        running.release()
        await go_on.wait()

    held = manager.on_event_start("llm", name="held")
    with use_callback_manager(manager), manager.event(name="scope"):
        runs = [asyncio.create_task(run_jobs([job() for _ in range(3)], workers=2, desc="batch"))]
        await running.acquire()
        await running.acquire()
        found = manager.in_flight()
        assert [event.type for event in found] == ["llm", "step", "batch", "job", "job"]
        assert [event.name for event in found][:3] == ["held", "scope", "batch"]
        assert all(event.end_ns is None and event.age_ns >= 0 for event in found)
        assert manager.stats().open == 5
        go_on.set()
        assert await asyncio.gather(*runs) == [[None, None, None]]
    manager.on_event_end(held)
    assert manager.in_flight() == []
    assert manager.stats().open == 0


def test_open_events_can_be_listed_from_any_thread() -> None:
    """Looking while events come and go in other threads finds open events only, and never fails."""
    manager = CallbackManager(recorder=16)
    done = threading.Event()
    failures: list[BaseException] = []

    async def job() -> None:
        with manager.event():
            await asyncio.sleep(0)

    async def batches() -> None:
        with use_callback_manager(manager):
            while not done.is_set():
                await run_jobs([job() for _ in range(20)], workers=5)

    def churn() -> None:
        try:
            asyncio.run(batches())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            found = manager.in_flight()
            assert found == sorted(found, key=lambda event: event.start_ns)
            stats = manager.stats()
            assert stats.open >= 0
            assert len(recorded(manager)) <= 16
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert manager.in_flight() == []
