"""What holds a loop, asked of a process that nobody watches, or has watched for a moment only."""

from __future__ import annotations

import _thread
import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

import pytest

from spanloom.diagnosis.watch.blocked import SPAN_S, blocked
from spanloom.diagnosis.watch.pulse import LONG_S
from spanloom.diagnosis.watch.unwatched import with_holds
from spanloom.diagnosis.watch.watcher import Watcher


@contextmanager
def running(work: Coroutine[object, object, object]) -> Iterator[None]:
    """Run a task, beside one that sleeps, in the loop of another thread while the block lasts."""

    async def main() -> None:
        await asyncio.gather(work, asyncio.sleep(0.001))

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_loop_that_is_held_is_seen_by_who_asks() -> None:
    """Nobody has watched it until then: the question looks for a second by itself."""
    go_on = threading.Event()
    began = threading.Event()

    async def holds() -> None:
        began.set()
        go_on.wait()

    with running(holds()):
        began.wait()
        found = with_holds([])
        go_on.set()
    assert [finding.code for finding in found] == ["LOOP_BLOCKED"]
    assert "test_unwatched.py" in str(found[0].location)


def test_a_loop_that_rests_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask a healthy program takes no longer than it did."""
    done, began = threading.Event(), threading.Event()

    async def waits() -> None:
        began.set()
        while not done.is_set():
            await asyncio.sleep(0.001)

    looks = 0
    look = Watcher.look

    def counted(self: Watcher) -> None:
        nonlocal looks
        looks += 1
        look(self)

    monkeypatch.setattr(Watcher, "look", counted)
    with running(waits()):
        began.wait()
        found = with_holds([])
        done.set()
    assert not found
    assert looks < 10


def test_many_short_holds_of_a_young_program_are_waited_for() -> None:
    """Half a second after the start it is not known yet; a second later it is."""
    done = threading.Event()

    async def calls() -> None:
        while not done.is_set():
            time.sleep(0.5)
            await asyncio.sleep(0)

    async def other() -> None:
        while not done.is_set():
            await asyncio.sleep(0.01)

    async def both() -> None:
        await asyncio.gather(calls(), other())

    watcher = Watcher(endpoint=False)
    watcher.ident = _thread.get_ident()
    with running(both()):
        while not any(len(pulse.waited) > 1 for pulse in watcher.pulses.values()):
            watcher.look()
            time.sleep(LONG_S)
        (pulse,) = watcher.pulses.values()
        pulse.first_s = time.monotonic() - SPAN_S / 8
        finding = blocked(pulse, time.monotonic(), watcher.look)
        done.set()
    assert finding is not None
    assert finding.code == "LOOP_BLOCKED"
