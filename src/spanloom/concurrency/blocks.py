"""What an ``async with`` block of a limiter has to remember from its beginning to its end."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Blocks"]

T = TypeVar("T")


class _NoTask:
    """Stands for code that runs in no task."""


_NO_TASK = _NoTask()


class Blocks(Generic[T]):
    """By task, what its blocks have entered; those inside last.

    A limiter is one object for all who use it, and its ``__aexit__`` is not told which block ends. An async generator
    may end its block in another task than it began it in: that finds nothing, and what it left goes with its task.
    """

    def __init__(self) -> None:
        self._entered: WeakKeyDictionary[object, list[T]] = WeakKeyDictionary()

    def enter(self, value: T) -> None:
        """Remember `value` for the block that the current task has begun."""
        self._entered.setdefault(asyncio.current_task() or _NO_TASK, []).append(value)

    def leave(self) -> T | None:
        """Return what was remembered for the block that ends; ``None`` if it began in another task."""
        task = asyncio.current_task() or _NO_TASK
        entered = self._entered.get(task)
        if not entered:
            return None
        value = entered.pop()
        if not entered:
            del self._entered[task]
        return value
