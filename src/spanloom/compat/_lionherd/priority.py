"""A queue whose smallest item comes first."""

from __future__ import annotations

import asyncio
from asyncio import QueueEmpty, QueueFull
from typing import Any, Generic, TypeVar

__all__ = ["PriorityQueue", "QueueEmpty", "QueueFull"]

T = TypeVar("T")


class PriorityQueue(Generic[T]):
    """Returns the smallest item first (``asyncio.PriorityQueue``; `put_nowait` and `get_nowait` are coroutines).

    Args:
        maxsize: Most items; 0 for no bound.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._queue: asyncio.PriorityQueue[Any] = asyncio.PriorityQueue(maxsize)

    async def put(self, item: T) -> None:
        """Add an item, such as ``(priority, count, value)``; wait while the queue is full."""
        await self._queue.put(item)

    async def put_nowait(self, item: T) -> None:
        """Add an item.

        Raises:
            QueueFull: there are `maxsize` items.
        """
        if self.full():
            raise QueueFull("Queue is full")
        self._queue.put_nowait(item)

    async def get(self) -> T:
        """Take the smallest item; wait while there is none."""
        item: T = await self._queue.get()
        return item

    async def get_nowait(self) -> T:
        """Take the smallest item.

        Raises:
            QueueEmpty: there is none.
        """
        if self.empty():
            raise QueueEmpty("Queue is empty")
        item: T = self._queue.get_nowait()
        return item

    def qsize(self) -> int:
        """Return the number of items."""
        return self._queue.qsize()

    def empty(self) -> bool:
        """Return whether there are no items."""
        return self._queue.empty()

    def full(self) -> bool:
        """Return whether there are `maxsize` items."""
        return self._queue.full()
