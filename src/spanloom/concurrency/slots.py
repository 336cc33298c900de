"""Slots: the common base of limiters that bound the number of holders."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from types import TracebackType
from typing import Any, Final, Self

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.events import keys
from spanloom.events.types import EventType

__all__ = ["Slots"]

LOOK_S: Final = 0.02
"""Seconds after which a wait is checked for a deadlock, if a slot was given back recently; costs 0.01 % of a core."""


class Slots:
    """At most `size` holders at once, first come, first served; the base of limiters.

    A slot that is given back goes to the longest waiting task, even if another task asks at the same
    moment. A wait for a slot is an event of type ``slot_wait``.

    Not safe to use from several event loops at the same time.
    """

    def __init__(self, size: int, name: str, *, refuse_nested: bool = False) -> None:
        self._size = size
        self.name = name
        self._refuses = refuse_nested
        self._looking: asyncio.AbstractEventLoop | None = None
        """The loop on which a check for a deadlock is scheduled; a closed one never runs it."""
        self._moves = False
        """Whether a slot has been given back since the last check was scheduled."""
        self._in_use = 0
        self._waiters: OrderedDict[asyncio.Future[None], asyncio.Task[Any] | None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.in_use}/{self.size} in use, {self.waiting} waiting>"

    @property
    def size(self) -> int:
        """Number of slots."""
        return self._size

    @property
    def in_use(self) -> int:
        """Number of slots held now; may exceed `size` for a while after that was lowered."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Number of tasks that wait for a slot now."""
        return sum(not waiter.done() for waiter in self._waiters)

    def try_acquire(self) -> bool:
        """Take a slot if one is free and no task waits; return whether it did."""
        if self._waiters:
            self._forget_dead()
        if self._in_use < self._size and not self._waiters:
            self._in_use += 1
            return True
        return False

    async def acquire(self) -> None:
        """Take a slot, waiting for one if need be. If cancelled while waiting, it has taken none.

        Raises:
            NestedLimiterError: the wait could never end, and the limiter refuses such waits.
        """
        if self.try_acquire():
            return
        with get_callback_manager().event(EventType.SLOT_WAIT, {keys.LIMITER: self.name}, name=self.name):
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiters[waiter] = asyncio.current_task()
            if self._refuses and self._looking is not loop:
                # Not now: what a task holds and waits for can be seen only when it is suspended. And later still if a
                # slot has been given back since the last check, so that a batch that moves does not pay for each wait.
                self._looking = loop
                if self._moves:
                    self._moves = False
                    loop.call_later(LOOK_S, self._refuse_if_nested)
                else:
                    loop.call_soon(self._refuse_if_nested)
            try:
                await waiter
            except BaseException:
                self._waiters.pop(waiter, None)
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    self.release()  # handed a slot and cancelled in the same turn: pass it on
                raise

    def release(self) -> None:
        """Give a slot back.

        Raises:
            RuntimeError: no slot is held, so `release` was called too often.
        """
        if not self._in_use:
            raise RuntimeError(f"{self.name}.release() was called more often than acquire(): no slot is held")
        self._in_use -= 1
        self._moves = True
        self._hand_on()

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _refuse_if_nested(self) -> None:
        """Make the wait that began last fail, if it is certain that the holders of all slots wait for a slot."""
        self._looking = None
        tasks = {
            task: waiter for waiter, task in self._waiters.items() if task is not None and not waiter.done()
        }
        if not tasks or self._in_use < self._size:
            return
        from spanloom.concurrency.nesting import refusal_of

        latest = next(reversed(tasks))
        refusal = refusal_of(self, self._in_use, latest, tasks)
        if refusal is not None:
            self._waiters.pop(tasks[latest], None)
            tasks[latest].set_exception(refusal)

    def _resize(self, size: int) -> None:
        """Set the number of slots. Holders keep theirs; additional slots go to waiting tasks."""
        self._size = size
        self._hand_on()

    def _hand_on(self) -> None:
        """Give free slots to waiting tasks directly, so that they are never free in between."""
        while self._waiters and self._in_use < self._size:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done() and not waiter.get_loop().is_closed():
                self._in_use += 1
                waiter.set_result(None)

    def _forget_dead(self) -> None:
        """Remove the first waiters while their loop is closed, so that they can be garbage-collected."""
        waiters = self._waiters
        while waiters and next(iter(waiters)).get_loop().is_closed():
            waiters.popitem(last=False)
