"""The ``async with`` block of a limiter that heeds how it goes: slot, attempt, and the way out of both."""

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
    """Makes a limiter with `attempt` one for ``async with``.

    A limiter is one object for all who use it, and its ``__aexit__`` is not told which block ends, so each task's
    attempts are remembered, those inside last. An async generator may end its block in another task than it began it
    in: that finds nothing, and what it left goes with its task.
    """

    def __init__(self) -> None:
        self._entered: WeakKeyDictionary[object, list[AbstractAsyncContextManager[object]]] = (
            WeakKeyDictionary()
        )

    if TYPE_CHECKING:  # the limiter has them, perhaps from another base

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
