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
"""Seconds for a task that calls ``await asyncio.to_thread(why)`` to reach that await.

While it still runs it may do anything, so nothing would be found.
"""


def why(*, apart_s: float = APART_S) -> list[Finding]:
    """Say what is wrong with the running program, the cause before its symptoms.

    Looks twice, and returns what both looks have found, so that a program that moves during a look is not taken for a
    stuck one. Blocks the calling thread meanwhile, and with the thread of a loop that loop: from a coroutine, call it
    by ``await asyncio.to_thread(why)``, which blocks the loop for some milliseconds at a time.

    If a loop is blocked and nobody watches the process, it is watched for up to a second more: only a block that lasts
    is reported. If the process is watched, the findings of the watching thread are returned instead.

    Args:
        apart_s: Seconds between the looks; not used if the process is watched.

    Returns:
        The findings; none if nothing is wrong, or if nothing wrong can be seen.
    """
    time.sleep(SETTLE_S)
    if WATCHED:
        return WATCHED[0]()
    from spanloom.diagnosis.watch.unwatched import with_holds  # late, as it loads most of the diagnosis

    return with_holds(stuck(apart_s=apart_s))
