"""When the workers of a batch let the loop turn."""

from __future__ import annotations

import asyncio

from spanloom.concurrency.engine import SLICE_NS
from spanloom.events.clock import monotonic_ns

__all__ = ["Pace"]


class Pace:
    """Tells workers when to let the loop turn.

    A job that suspends lets it turn anyway. So a worker reads the clock only if it has ended two jobs
    with no other worker's in between. Once one worker finds that time is up, all others that run in
    this turn of the loop stop after their present job.

    When handlers fall behind, time is up after every job, and the workers sleep instead.

    Attributes:
        last: The slot of the worker that ended the last job.
        until_ns: When time is up.
        over: Whether time is up for all workers.
    """

    __slots__ = ("_relief_s", "last", "over", "until_ns")

    def __init__(self) -> None:
        self.last: int = -1
        self.over: bool = False
        self.until_ns: int = monotonic_ns() + SLICE_NS
        self._relief_s = 0.0

    def relieve(self, relief_s: float) -> None:
        """Make every worker pause for `relief_s` seconds after each job from now on; 0 ends this."""
        if relief_s or self._relief_s:
            self._relief_s = relief_s
            self.over = relief_s > 0

    async def turn(self) -> None:
        """Let the loop turn."""
        first, self.over = not self.over, True
        try:
            await asyncio.sleep(self._relief_s)
        finally:
            if first:  # and so the first to resume, before the others go on
                self.over = self._relief_s > 0
                self.until_ns = monotonic_ns() + SLICE_NS
