"""A thread that wants the GIL beside a loop that never waits: it is let in, and at what price."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from spanloom import async_map, use_callback_manager
from spanloom.callbacks import CallbackManager, turn
from spanloom.callbacks.turn import Turn
from spanloom.events.clock import monotonic_ns
from tests.callbacks.recorders import Lists


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the naps that producers take, each of which is over at once."""
    taken: list[float] = []
    monkeypatch.setattr(turn.time, "sleep", taken.append)
    return taken


def test_nobody_naps_for_a_thread_that_wants_nothing_yet(naps: list[float]) -> None:
    """Neither for a new one, nor before it is due, nor for one that sleeps until it is woken."""
    one = Turn()
    one.let_in()
    one.want(monotonic_ns() + 60_000_000_000)
    one.let_in()
    one.want(None)
    one.let_in()
    assert not naps


def test_who_comes_late_is_let_in_once(naps: list[float]) -> None:
    """A producer naps when the thread is due, and not again at once: it may wait for something other than the GIL."""
    one = Turn()
    one.want(monotonic_ns() - 1)
    one.let_in()
    one.let_in()
    assert naps == [turn.NAP_S]


def test_naps_become_rare_for_a_thread_that_does_not_come(
    naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time between two is doubled up to 32 ms; when the thread has been there, it is short again."""
    now = 0
    monkeypatch.setattr(turn, "monotonic_ns", lambda: now)
    one = Turn()
    one.want(0)
    gaps, last = [], 0
    for now in range(0, 300_000_000, turn.GAP_NS):
        before = len(naps)
        one.let_in()
        if len(naps) > before:
            gaps.append((now - last) // turn.GAP_NS)
            last = now
    assert gaps[:9] == [0, 2, 4, 8, 16, 32, 64, 128, 128]
    one.want(last)
    one.let_in()
    now += 2 * turn.GAP_NS
    before = len(naps)
    one.let_in()
    assert len(naps) == before + 1


def test_a_nap_in_which_the_thread_works_does_not_make_the_next_one_rarer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler that lets go of the GIL in the middle of its work, as SQLite does, takes many turns."""
    now = 0
    naps = 0

    def sleep(_: float) -> None:
        nonlocal now, naps
        naps += 1
        now += 10 * turn.NAP_NS  # the thread had the GIL meanwhile

    monkeypatch.setattr(turn, "monotonic_ns", lambda: now)
    monkeypatch.setattr(turn.time, "sleep", sleep)
    one = Turn()
    one.want(0)
    for _ in range(20):
        one.let_in()
        now += turn.GAP_NS
    assert naps == 20


@pytest.mark.parametrize("isolation", ["task", "context"])
async def test_what_ends_beside_a_loop_that_never_waits_is_handed_over_meanwhile(isolation: Any) -> None:
    """Long before the batch ends, though the loop gives its thread no chance to get the GIL of its own accord."""
    manager = CallbackManager([handler := Lists()])
    seen: list[int] = []

    async def job(number: int) -> None:
        await asyncio.sleep(0)
        if number == 39_999:
            seen.append(len(handler.events))

    with use_callback_manager(manager):
        await async_map(job, range(40_000), limit=64, isolation=isolation)
    assert seen[0] > 2_000
    assert await asyncio.to_thread(manager.flush)
    assert len(handler.events) == 40_001
    await manager.aclose()


def test_a_thread_ends_with_its_handler() -> None:
    """It is gone when ``close`` returns: later it would fight for the GIL with whatever comes next."""
    manager = CallbackManager([handler := Lists()])
    manager.emit()
    assert manager.flush()
    (thread,) = handler.threads
    manager.close()
    assert not thread.is_alive()


def test_a_handler_may_be_closed_from_its_own_hook() -> None:
    """Its thread does not wait for itself."""
    manager = CallbackManager()
    done = threading.Event()

    class Closing(Lists):
        def on_events(self, events: object) -> None:
            manager.remove_handler(self)
            done.set()

    manager.add_handler(Closing())
    manager.emit()
    assert done.wait(10)


async def test_the_second_batch_finds_the_thread_awake() -> None:
    """It goes on looking for a second, so batches that follow each other need not wake it."""
    manager = CallbackManager([handler := Lists()])
    (guard,) = manager._table
    assert guard.drain is not None

    async def job(_: int) -> None:
        await asyncio.sleep(0)

    with use_callback_manager(manager):
        await async_map(job, range(3))
        assert await asyncio.to_thread(manager.flush)
        assert not guard.drain._parked
        await async_map(job, range(3))
        deadline = time.monotonic() + 60
        while len(handler.events) < 8:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    await manager.aclose()
