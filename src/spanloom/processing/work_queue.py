"""The queue in front of the engine: an async iterator of items, fed while it is read."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Self

import msgspec

from spanloom.concurrency.limits import FixedLimiter
from spanloom.processing.result import WorkItemResult
from spanloom.processing.work_item import LLMWorkItem

__all__ = ["Entry", "WorkQueue"]

_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, eq=False):
    """One item on its way through a batch.

    Attributes:
        item: As it was added.
        index: Its position in the input, from 0.
        roomed: Whether it holds room in the queue.
        result: Its result; ``None`` until it has ended.
    """

    item: LLMWorkItem[Any, Any, Any]
    index: int
    roomed: bool = False
    result: WorkItemResult[Any, Any] | None = None


class WorkQueue:
    """Hands items to one reader, in the order in which they came.

    Items put before `open` are not bounded: nothing is taken out yet, so waiting for room would never end.

    Args:
        size: Items that may wait once it is open; 0 for no bound.
        ahead: Items that may be taken and not yet `done`; ``None`` for no bound.
    """

    def __init__(self, size: int, ahead: int | None) -> None:
        self._size = size
        self._room = FixedLimiter(size, name="work queue") if size else None
        self._ahead = ahead
        self._items: deque[Entry] = deque()
        self._changed = asyncio.Event()
        self._open = False
        self._added = 0
        self._taken = 0
        self._done = 0
        self.taken: dict[int, Entry] = {}
        """Entries handed out, by index, until the reader of the results pops them."""
        self.closed: str | None = None
        """Why nothing can be added any more; ``None`` while items can be."""

    def open(self) -> None:
        """Bound what is put in from now on."""
        self._open = True

    async def put(self, item: LLMWorkItem[Any, Any, Any]) -> None:
        """Add an item; wait for room if need be. A cancel while waiting adds nothing.

        Raises:
            RuntimeError: the queue is closed, or closes meanwhile.
        """
        self._check()
        entry = Entry(item, 0)
        if self._room is not None:
            if self._open:
                await self._room.acquire()
                entry.roomed = True
                if self.closed is not None:
                    self._room.release()
                self._check()
            elif len(self._items) == self._size:
                _log.warning(
                    "more than max_queue_size (%d) items before the start: the bound holds while the batch runs",
                    self._size,
                )
        entry.index = self._added
        self._added += 1
        self._items.append(entry)
        self._changed.set()

    def close(self, reason: str) -> None:
        """Accept no more items; every `put` that waits for room raises `reason`."""
        if self.closed is None:
            self.closed = reason
        self._changed.set()
        if self._room is not None:
            self._room.resize(self._room.size + self._room.waiting + 1)

    def done(self) -> None:
        """Note that the result of one more item was handed over."""
        self._done += 1
        self._changed.set()

    def drain(self) -> list[Entry]:
        """Empty the queue; return the entries without a result: handed out and never ended, then never taken."""
        left = [entry for entry in (*self.taken.values(), *self._items) if entry.result is None]
        self.taken.clear()
        self._items.clear()
        return left

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        while not self._items or (self._ahead is not None and self._taken - self._done >= self._ahead):
            if not self._items and self.closed is not None:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        entry = self._items.popleft()
        self._taken += 1
        self.taken[entry.index] = entry
        if entry.roomed and self._room is not None:
            self._room.release()
        return entry

    def _check(self) -> None:
        if self.closed is not None:
            raise RuntimeError(self.closed)
