"""The clock of limiters: the running loop's, so that they follow a test's virtual clock."""

from __future__ import annotations

import time
from asyncio import get_running_loop

__all__ = ["loop_time"]


def loop_time() -> float:
    """Return seconds on the running loop's clock; on the monotonic clock, asyncio's default, if no loop is running.

    Also on the monotonic clock under uvloop: its own stands still during a turn of the loop, so a start would be
    recorded too early, and the next one allowed too early.
    """
    try:
        loop = get_running_loop()
    except RuntimeError:
        return time.monotonic()
    return time.monotonic() if type(loop).__module__.startswith("uvloop") else loop.time()
