"""The ``async with`` block of a limiter that observes calls: takes a slot and enters an attempt."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

__all__ = ["HeedfulBlock"]


class _NoTask:
    """Stands for code that runs in no task."""


_NO_TASK = _NoTask()


class HeedfulBlock:
    """Mix-in that makes a limiter with `attempt` usable in ``async with``.

    All users share one limiter, and its ``__aexit__`` is not told which block ends. So each task has a stack of its
    attempts. An async generator may leave its block in another task than it entered it in. Then only the slot is given
    back: the attempt is not exited, and is dropped with the first task.
    """

    def __init__(self) -> None:
        self._entered: WeakKeyDictionary[object, list[AbstractAsyncContextManager[object]]] = (
            WeakKeyDictionary()
        )

    if TYPE_CHECKING:  # defined by the limiter or another base class

        async def acquire(self) -> None: ...
        def release(self) -> None: ...
        def attempt(self) -> AbstractAsyncContextManager[object]: ...

    async def __aenter__(self) -> Self:
        await self.acquire()
        attempt = self.attempt()
        try:
            await attempt.__aenter__()
        except BaseException:
            self.release()
            raise
        self._entered.setdefault(asyncio.current_task() or _NO_TASK, []).append(attempt)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = asyncio.current_task() or _NO_TASK
        attempts = self._entered.get(task)
        try:
            if attempts:
                attempt = attempts.pop()
                if not attempts:
                    del self._entered[task]
                await attempt.__aexit__(kind, error, traceback)
        finally:
            self.release()
