"""Calls of a listener that may be slow, raise or hang, without effect on the work."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final

__all__ = ["Channel"]

_log = logging.getLogger(__name__)

MAX_LAG: Final = 1000
"""Waiting calls above which `Channel.room` waits: the back-pressure on whoever posts."""
MAX_OVERRUNS: Final = 3
"""Timeouts in a row after which a listener is called no more."""
YIELD_MASK: Final = 63
"""Yield to the loop when the number of calls has none of these bits set: a listener may never suspend."""
GRACE_S: Final = 1.0
"""Seconds that a cancelled call has to end before its task is abandoned."""


class Channel:
    """Calls one listener in order, one call at a time, in a task of its own.

    After a call that raises (even a CancelledError of its own making) or takes too long, the next one is made. Every
    timeout is logged, and the first exception. `close` logs the totals. A listener that takes too long three times in a
    row is called no more.

    Args:
        what: Name of the listener in log messages.
        listener: Called with the arguments of `post`; an awaitable that it returns is awaited.
        timeout_s: Seconds for a call; ``None`` for no bound.
        newest_only: After a timeout, drop all waiting calls but the newest.
    """

    def __init__(
        self,
        what: str,
        listener: Callable[..., Any],
        *,
        timeout_s: float | None,
        newest_only: bool = False,
    ) -> None:
        self._what = what
        self._listener = listener
        self._timeout_s = timeout_s
        self._newest_only = newest_only
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._room = asyncio.Event()
        self._context = copy_context()  # not that of the item that happens to post first
        self._busy = False
        self._made = 0
        self._overruns = 0
        self._deaf = False
        self._told = False
        self.failed: int = 0
        """Calls that raised or took too long."""
        self.dropped: int = 0
        """Calls that were not made."""

    def post(self, *args: Any) -> None:
        """Queue a call of the listener with `args`. Never raises, never waits."""
        if self._deaf:
            self.dropped += 1
            return
        self._waiting.append(args)
        if not self._busy:
            self._busy = True  # before the task: an eager one calls the listener in `create_task`
            self._idle.clear()
            self._task = asyncio.create_task(
                self._work_off(), name=f"spanloom {self._what}", context=self._context
            )

    async def room(self) -> None:
        """Wait while more than `MAX_LAG` calls are waiting."""
        while len(self._waiting) > MAX_LAG and not self._deaf:
            self._room.clear()
            await self._progress(self._room)

    async def close(self) -> None:
        """Return when all calls have been made, or the listener has used up its time."""
        while self._busy:
            await self._progress(self._idle)
            if self._deaf:
                break
        if self.failed or self.dropped:
            _log.warning("%s: %d calls failed, %d were not made", self._what, self.failed, self.dropped)

    def abandon(self) -> None:
        """Drop the waiting calls, and cancel the running one."""
        self._silence()
        if self._task is not None:
            self._task.cancel()

    async def gone(self) -> None:
        """Wait until the cancelled call has ended, for at most `GRACE_S` seconds."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=GRACE_S)

    async def _progress(self, event: asyncio.Event) -> None:
        """Wait for `event`; abandon a listener that makes no progress although its call was cancelled."""
        if self._timeout_s is None:
            await event.wait()
            return
        made = self._made
        try:
            async with asyncio.timeout(self._timeout_s + GRACE_S):
                await event.wait()
        except TimeoutError:
            if made == self._made:
                _log.warning("%s cannot be cancelled: it is left to itself", self._what)
                self.abandon()

    async def _work_off(self) -> None:
        task = asyncio.current_task()
        try:
            while self._waiting:
                args = self._waiting.popleft()
                if len(self._waiting) <= MAX_LAG:
                    self._room.set()
                scope = asyncio.timeout(self._timeout_s)
                try:
                    async with scope:
                        answer = self._listener(*args)
                        if inspect.isawaitable(answer):
                            await answer
                    self._overruns = 0
                    if (task is not None and task.cancelling()) or not self._made & YIELD_MASK:
                        await asyncio.sleep(
                            0
                        )  # a cancel that the listener has requested must arrive here, not in the next call
                except asyncio.CancelledError as error:
                    if self._deaf:
                        break
                    while task is not None and task.cancelling():
                        task.uncancel()  # only `abandon` may cancel this task: this came from the listener
                    self._failure(error)
                except TimeoutError as error:
                    if scope.expired():
                        self._overrun()
                    else:
                        self._failure(error)
                except (GeneratorExit, KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # noqa: BLE001 -- whatever it is, the batch must not feel it
                    self._failure(error)
                self._made += 1
        finally:
            self._busy = False
            self._idle.set()
            self._room.set()

    def _failure(self, error: BaseException) -> None:
        self.failed += 1
        self._overruns = 0
        if not self._told:
            self._told = True
            _log.warning("%s failed; the batch goes on", self._what, exc_info=error)

    def _overrun(self) -> None:
        self.failed += 1
        self._overruns += 1
        _log.warning("%s took longer than %g s; the batch goes on", self._what, self._timeout_s)
        if self._newest_only:
            while len(self._waiting) > 1:
                self._waiting.popleft()
                self.dropped += 1
        if self._overruns >= MAX_OVERRUNS:
            _log.warning("%s is called no more", self._what)
            self._silence()

    def _silence(self) -> None:
        self._deaf = True
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._room.set()
