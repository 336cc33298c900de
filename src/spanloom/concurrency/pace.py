"""When the workers of a batch let the loop turn."""

from __future__ import annotations

import asyncio

from spanloom.concurrency.engine import SLICE_NS
from spanloom.events.clock import monotonic_ns

__all__ = ["Pace"]


class Pace:
    """Tells workers when to let the loop turn.

    A job that suspends lets it turn anyway. So a worker looks at the clock only when it has ended two
    jobs and no other worker has ended one in between; and once one of them finds that time is up, all
    that still work in this turn of the loop stop after the job they are at.

    The same when handlers cannot follow: then time is up after every job, and the pause is a real one.

    Attributes:
        last: The slot whose worker ended the last job.
        until_ns: When time is up.
        over: Whether somebody has found that it is.
    """

    __slots__ = ("_relief_s", "last", "over", "until_ns")

    def __init__(self) -> None:
        self.last: int = -1
        self.over: bool = False
        self.until_ns: int = monotonic_ns() + SLICE_NS
        self._relief_s = 0.0

    def relieve(self, relief_s: float) -> None:
        """Have every worker pause for `relief_s` seconds after each job from now on; 0 for not any more."""
        if relief_s or self._relief_s:
            self._relief_s = relief_s
            self.over = relief_s > 0

    async def turn(self) -> None:
        """Let the loop turn."""
        first, self.over = not self.over, True
        try:
            await asyncio.sleep(self._relief_s)
        finally:
            if first:  # and so the first to come back: the others have not begun their next turn
                self.over = self._relief_s > 0
                self.until_ns = monotonic_ns() + SLICE_NS
