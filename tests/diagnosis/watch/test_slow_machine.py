"""Where it takes seconds to load the diagnosis: what was seen before that is old, and the program has moved since."""

from __future__ import annotations

import _thread
import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

import pytest

from spanloom.diagnosis.finding import Finding, Severity
from spanloom.diagnosis.watch import spin
from spanloom.diagnosis.watch.pulse import LONG_S, Pulse
from spanloom.diagnosis.watch.verdict import _threads
from spanloom.diagnosis.watch.watcher import Finder, Watcher

LOADING_S = 5.0
"""For how long nobody has looked."""


@contextmanager
def running(work: Coroutine[object, object, None]) -> Iterator[asyncio.AbstractEventLoop]:
    """Run a task, beside one that sleeps, in the loop of another thread while the block lasts."""
    loop = asyncio.new_event_loop()

    def serve() -> None:
        tasks = [loop.create_task(work), loop.create_task(asyncio.sleep(3600))]
        loop.run_forever()
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def watching() -> Watcher:
    """Return a watcher that has this thread, and looks when it is told to."""
    watcher = Watcher(endpoint=False)
    watcher.ident = _thread.get_ident()
    return watcher


def pulse_of(watcher: Watcher) -> Pulse:
    """Look until the loop is seen, and return its pulse."""
    while not watcher.pulses:
        watcher.look()
        time.sleep(0.001)
    return next(iter(watcher.pulses.values()))


async def spins() -> None:
    while True:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            continue


def test_a_task_still_spins_when_the_modules_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the diagnosis takes seconds there, and the last look is that old."""
    monkeypatch.setattr(spin, "RESTLESS_S", 0.0)
    watcher = watching()
    with running(spins()):
        pulse = pulse_of(watcher)
        while pulse.restless_looks < spin.RESTLESS_LOOKS:
            watcher.look()
        pulse.seen_s -= LOADING_S
        watcher.looked_s -= LOADING_S
        assert [finding.code for finding in _threads(watcher)] == ["BUSY_SPIN"]


def test_what_held_a_loop_before_the_modules_were_loaded_may_be_over() -> None:
    """What was seen before is looked at once more before it is told."""
    go_on, turned = threading.Event(), threading.Event()

    async def holds() -> None:
        go_on.wait()

    watcher = watching()
    with running(holds()) as loop:
        pulse = pulse_of(watcher)
        while pulse.hold is None or sum(pulse.hold.places.values()) < 3:
            time.sleep(LONG_S / 2)
            watcher.look()
        pulse.hold.began_s -= LOADING_S
        go_on.set()
        loop.call_soon_threadsafe(turned.set)
        turned.wait()
        assert not list(_threads(watcher))


def test_what_is_found_is_told_while_somebody_waits_for_it() -> None:
    """Who asks gives up after some time; rules that have not been asked by then cost the answer of the others."""
    asked: list[str] = []

    def says(code: str, severity: Severity) -> Finder:
        def rule(_: Watcher) -> list[Finding]:
            asked.append(code)
            return [Finding(code, code, severity, "LIKELY", (), None, None, None)]

        return rule

    watcher = watching()
    watcher.finders = [
        says("PIPELINE_BOTTLENECK", "info"),
        says("TASK_LEAK", "error"),
        says("LOST_EXCEPTION", "error"),
    ]
    found = watcher.findings(within_s=0.0)
    assert asked == ["PIPELINE_BOTTLENECK", "TASK_LEAK"]
    assert {finding.code for finding in found} == set(asked)
    asked.clear()
    watcher.findings(within_s=3600.0)
    assert asked == ["PIPELINE_BOTTLENECK", "TASK_LEAK", "LOST_EXCEPTION"]


def test_a_turn_is_long_by_the_measure_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who spins takes longer for a turn where everything does."""
    thread_time = time.thread_time
    assert spin._long_turn_s() >= spin.LONG_TURN_S
    monkeypatch.setattr(time, "thread_time", lambda: thread_time() * 100)
    assert spin._long_turn_s() > spin.LONG_TURN_S * 10
