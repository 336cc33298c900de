"""A queue of tasks, each of which may go on at a time that is computed when it is first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Line"]


class Line:
    """First come, first served. The first task sleeps until its time; a cancelled one leaves without a trace.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sleep: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        self._forget_dead()
        return len(self._waiting)

    async def wait(self, allowed_at: Callable[[float], float], take: Callable[[float], None]) -> None:
        """Wait to be first, then until the allowed time; then call `take`.

        Args:
            allowed_at: Given the present time, returns the earliest time at which the caller may go on.
            take: Called with the time at which it goes on, before the next task computes its own.
        """
        self._forget_dead()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            if self._waiting[0] is not turn:
                await turn
            # Again after each sleep: a timer may fire a tick early, and the allowed time may have changed.
            while (delay := allowed_at(now := self._clock()) - now) > 0:
                await self._sleep_for(delay)
            take(now)
        finally:
            with suppress(ValueError):  # its loop was closed, and it was removed
                self._waiting.remove(turn)
            self._forget_dead()
            if self._waiting and not self._waiting[0].done():
                self._waiting[0].set_result(None)

    def look_again(self) -> None:
        """Let the first task compute its time anew, as it may be earlier now."""
        if self._sleep is not None and not self._sleep.get_loop().is_closed():
            _wake(self._sleep)

    async def _sleep_for(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._sleep = sleep = loop.create_future()
        timer = loop.call_later(seconds, _wake, sleep)
        try:
            await sleep
        finally:
            timer.cancel()
            if self._sleep is sleep:  # else that of a later task, after this one's loop was closed
                self._sleep = None

    def _forget_dead(self) -> None:
        """Remove the first tasks while their loop is closed: they would never go on, and block all others."""
        while self._waiting and self._waiting[0].get_loop().is_closed():
            self._waiting.popleft()


def _wake(sleep: asyncio.Future[None]) -> None:
    if not sleep.done():
        sleep.set_result(None)
