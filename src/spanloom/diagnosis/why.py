"""Asking a program, from inside, what is wrong with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.stuck import APART_S, stuck
from spanloom.diagnosis.watched import WATCHED

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding

__all__ = ["why"]

SETTLE_S: Final = 0.005
"""Seconds that who asks by ``await asyncio.to_thread(why)`` gets to come to the await: a task that still runs may do
anything, so nothing would be found."""


def why(*, apart_s: float = APART_S) -> list[Finding]:
    """Say what is wrong with the running program, the cause before its symptoms.

    Looks twice, and tells what both looks have found, so that a program that moves while it is looked at is
    not taken for a stuck one. Blocks the calling thread meanwhile, and with the thread of a loop that loop: from a
    coroutine, call it by ``await asyncio.to_thread(why)``, which holds the loop for some milliseconds at a time.

    Where a loop is held, and nobody watches the process, it is looked at for up to a second more, for a hold is one
    only if it lasts.

    Args:
        apart_s: Seconds between the looks.

    Returns:
        The findings; none if nothing is wrong, or if nothing wrong can be seen.
    """
    time.sleep(SETTLE_S)
    if WATCHED:
        return WATCHED[0]()
    from spanloom.diagnosis.watch.unwatched import with_holds  # with most of the diagnosis

    return with_holds(stuck(apart_s=apart_s))
