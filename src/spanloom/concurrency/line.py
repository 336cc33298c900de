"""A line of tasks, each of which may go on at a moment that is computed when it is first in it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Line"]


class Line:
    """First come, first served. The first one sleeps until its moment; who is cancelled leaves as if it had never come.

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
        """Wait for the turn, then until the moment; take it.

        Args:
            allowed_at: Given the present, returns the earliest moment at which the caller may go on.
            take: Called with the moment at which it does, before anybody else is asked.
        """
        self._forget_dead()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            if self._waiting[0] is not turn:
                await turn
            # Again after each sleep: a timer may fire a tick early, and the moment may have moved.
            while (delay := allowed_at(now := self._clock()) - now) > 0:
                await self._sleep_for(delay)
            take(now)
        finally:
            with suppress(ValueError):  # its loop is gone, and it was forgotten
                self._waiting.remove(turn)
            self._forget_dead()
            if self._waiting and not self._waiting[0].done():
                self._waiting[0].set_result(None)

    def look_again(self) -> None:
        """Have the first one compute its moment anew, which may have come nearer."""
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
            if self._sleep is sleep:  # not that of who came after its loop was closed
                self._sleep = None

    def _forget_dead(self) -> None:
        """Let go of those first in line whose loop is gone: they will never go on, and all others wait for them."""
        while self._waiting and self._waiting[0].get_loop().is_closed():
            self._waiting.popleft()


def _wake(sleep: asyncio.Future[None]) -> None:
    if not sleep.done():
        sleep.set_result(None)
