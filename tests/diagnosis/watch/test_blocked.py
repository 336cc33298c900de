"""What holds a loop, told from a few looks at it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from spanloom.diagnosis.watch.blocked import ENOUGH_LOOKS, _stays, blocked
from spanloom.diagnosis.watch.frames import Call
from spanloom.diagnosis.watch.pulse import LONG_S, Hold, Used
from spanloom.diagnosis.watch.watcher import Watcher


@pytest.mark.parametrize("ends", [True, False])
def test_a_hold_that_is_over_when_looked_at_again_is_none(*, ends: bool) -> None:
    """On a machine that has other things to do, all threads of a program stand still for a second at times."""
    stack = (Call(test_a_hold_that_is_over_when_looked_at_again_is_none.__code__, 1, 0),)
    hold = Hold(0.0, None, Used(0.0, 0.0))
    hold.add(stack, 1.5, Used(1.0, 0.0))

    def look() -> None:
        hold.add(stack, 1.6, Used(1.1, 0.0))
        hold.ended_s = 1.6 if ends else None

    assert _stays(hold, look) is not ends
    assert sum(hold.places.values()) == (2 if ends else 3)


def test_a_loop_that_has_ended_is_not_held_by_what_it_did_last() -> None:
    """Its last turn is over, though no turn after it says so."""
    go_on = threading.Event()

    async def other() -> None:
        await asyncio.sleep(3600)

    async def holds() -> None:
        go_on.wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(other())
    thread = threading.Thread(target=loop.run_until_complete, args=(holds(),), daemon=True)
    thread.start()
    watcher = Watcher(endpoint=False)
    while not watcher.pulses or not any(pulse.hold for pulse in watcher.pulses.values()):
        time.sleep(LONG_S / 2)
        watcher.look()
    (pulse,) = watcher.pulses.values()
    for _ in range(ENOUGH_LOOKS):
        watcher.look()
    assert pulse.hold is not None
    assert blocked(pulse, pulse.hold.began_s + 10.0, watcher.look) is not None
    go_on.set()
    thread.join()
    assert blocked(pulse, pulse.hold.began_s + 10.0, watcher.look) is None
    watcher.look()
    assert pulse.hold is None  # or it would be looked at ten times a second for ever
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
