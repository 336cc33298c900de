"""A wait in the caller's own task that another task can break off."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["Interrupt"]

T = TypeVar("T")


class Interrupt:
    """Breaks off a wait as asyncio.TaskGroup does: cancel the waiting task, and take the cancel back later.

    The input of a batch is awaited in the caller's task, where a failing job cannot raise. Awaiting it
    in a task of its own would be simpler, but the user's async iterator would then run in that task.

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
        """Await `awaitable`; `fire` may break it off with a ``CancelledError``."""
        self._waiting = True
        try:
            return await awaitable
        finally:
            self._waiting = False

    def fire(self) -> None:
        """Break off the present wait, if there is one. The cancel is delivered before the wait can return."""
        if self._waiting and not self.fired:
            self.fired = True
            self._owner.cancel()

    def undo(self, error: BaseException | None) -> BaseException | None:
        """Take back the cancel of `fire` after the wait.

        Args:
            error: What the wait raised.

        Returns:
            `error`; ``None`` in place of the ``CancelledError`` of `fire`, unless a cancel came from outside, too.
        """
        if not self.fired:
            return error
        self.fired = False
        outside = self._owner.uncancel() > self._base
        return error if outside or not isinstance(error, CancelledError) else None
