"""The clock of limiters: the running loop's, so that a test's virtual clock is theirs, too."""

from __future__ import annotations

import time
from asyncio import get_running_loop

__all__ = ["loop_time"]


def loop_time() -> float:
    """Return the seconds of the running loop's clock; of the monotonic one, which is the same, outside of loops.

    uvloop's stands still while a turn lasts. A start that is dated back by that would let the next one come too early.
    """
    try:
        loop = get_running_loop()
    except RuntimeError:
        return time.monotonic()
    return time.monotonic() if type(loop).__module__.startswith("uvloop") else loop.time()
