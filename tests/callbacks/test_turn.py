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
    monkeypatch.setattr(turn, "sleep", taken.append)
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
    naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that lets go of the GIL in the middle of its work, as SQLite does, takes many turns."""
    now = 0
    monkeypatch.setattr(turn, "monotonic_ns", lambda: now)
    monkeypatch.setattr(Turn, "_used_ns", lambda self: len(naps) * turn.WORKED_NS)
    one = Turn()
    one.want(0)
    for _ in range(20):
        one.let_in()
        now += turn.GAP_NS
    assert len(naps) == 20


def test_a_handler_that_waits_beside_a_busy_thread_takes_no_turns() -> None:
    """What a nap costs then is the busy thread's turn; they become rare, although each takes long."""
    entered, stop = threading.Event(), threading.Event()

    class Waiting(Lists):
        def on_events(self, events: object) -> None:
            entered.set()
            stop.wait()

    def work() -> None:
        while not stop.is_set():
            pass

    manager = CallbackManager([Waiting()])
    manager.emit()
    assert entered.wait(10)
    (guard,) = manager._table
    assert guard.drain is not None
    busy = threading.Thread(target=work)
    busy.start()
    until = time.monotonic() + 10
    while guard.drain._turn._gap_ns < turn.MAX_GAP_NS:
        guard.drain.let_in()
        assert time.monotonic() < until, "it is taken for one that works"
    stop.set()
    busy.join()
    manager.close()


def test_whoever_forbids_sleep_on_the_loop_does_not_mean_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests replace ``time.sleep`` to find calls that block the loop."""

    def forbidden(_: float) -> None:
        raise AssertionError("a blocking call")

    monkeypatch.setattr(time, "sleep", forbidden)
    one = Turn()
    one.want(0)
    one.let_in()


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
