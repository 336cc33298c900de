"""What blocks the loops of a process that nobody watches: found by the one that asks, in a second of looks."""

from __future__ import annotations

import _thread
import time
from typing import Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.settings import looking
from spanloom.diagnosis.watch.blocked import ONCE_S
from spanloom.diagnosis.watch.pulse import LONG_S
from spanloom.diagnosis.watch.verdict import causes, held_now
from spanloom.diagnosis.watch.watcher import Watcher

__all__ = ["with_holds"]

APART_S: Final = 0.05
SHORT_S: Final = 2 * LONG_S
"""Seconds after which a busy loop without a hold is taken to have much to do, and not to be blocked."""


def with_holds(found: list[Finding]) -> list[Finding]:
    """Return `found` with the findings on the loops that are blocked now, the cause before its symptoms.

    Blocks for up to 0.2 s if no loop is blocked; else until the hold has lasted for a second, or is over.
    """
    watcher = Watcher(endpoint=False)
    watcher.ident = _thread.get_ident()  # it looks from here
    began_s = time.monotonic()
    with looking():
        while True:
            watcher.look()
            now_s = time.monotonic()
            holds = [pulse.hold for pulse in watcher.pulses.values() if pulse.hold is not None]
            if not holds and (
                now_s - began_s > SHORT_S
                or not any(pulse.restless_looks for pulse in watcher.pulses.values())
            ):
                return found
            if holds and all(hold.lasts_s(now_s) >= ONCE_S for hold in holds):
                break
            time.sleep(APART_S)
        return causes([*found, *held_now(watcher)])
