"""Waiting in the caller's own task for something that another task may have to break off."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["Interrupt"]

T = TypeVar("T")


class Interrupt:
    """The way of asyncio.TaskGroup: cancel the waiting task, and take the cancel back afterwards.

    The input of a batch is awaited in the caller's task, where a job that fails cannot raise. A
    task in between would be simpler, but the user's async iterator would then run in it.

    Args:
        owner: The task that waits.

    Attributes:
        fired: True from `fire` until `undo`.
    """

    __slots__ = ("_base", "_owner", "_waiting", "fired")

    def __init__(self, owner: asyncio.Task[Any]) -> None:
        self._owner = owner
        self._base = owner.cancelling()
        self._waiting = False
        self.fired: bool = False

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something that `fire` may break off."""
        self._waiting = True
        try:
            return await awaitable
        finally:
            self._waiting = False

    def fire(self) -> None:
        """Break off the wait, if there is one now. The cancel is delivered before the wait can return."""
        if self._waiting and not self.fired:
            self.fired = True
            self._owner.cancel()

    def undo(self, error: BaseException | None) -> BaseException | None:
        """Take the cancel of `fire` back, once the wait is over; return what is left to raise of `error`."""
        if not self.fired:
            return error
        self.fired = False
        outside = self._owner.uncancel() > self._base
        return error if outside or not isinstance(error, CancelledError) else None
