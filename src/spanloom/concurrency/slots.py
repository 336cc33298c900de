"""Slots: the part that limiters of a number of holders have in common."""

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
"""How long a wait of a limiter that was moving has begun before it is looked whether it can end; 0.01 % of a core."""


class Slots:
    """At most `size` holders at once, first come, first served; the base of limiters.

    A slot that is given back goes to the longest waiting, even if somebody else asks in the same
    moment. A wait that is not over at once is an event of type ``slot_wait``.

    Not safe to use from several event loops at the same time.
    """

    def __init__(self, size: int, name: str, *, refuse_nested: bool = False) -> None:
        self._size = size
        self.name = name
        self._refuses = refuse_nested
        self._looking: asyncio.AbstractEventLoop | None = None
        """The loop that is going to look whether a wait can end; one that was closed before that never will."""
        self._moves = False
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
        """Slots that are held now; more than `size` for a while after the size was lowered."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Tasks that wait for a slot now."""
        return sum(not waiter.done() for waiter in self._waiters)

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody waits; return whether it did."""
        if self._waiters:
            self._forget_dead()
        if self._in_use < self._size and not self._waiters:
            self._in_use += 1
            return True
        return False

    async def acquire(self) -> None:
        """Take a slot; wait for it if need be. Cancelled while it waits, it has taken none.

        Raises:
            NestedLimiterError: the wait could never end, and the limiter is one that refuses those.
        """
        if self.try_acquire():
            return
        with get_callback_manager().event(EventType.SLOT_WAIT, {keys.LIMITER: self.name}, name=self.name):
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiters[waiter] = asyncio.current_task()
            if self._refuses and self._looking is not loop:
                # Not now: only of a task that is suspended can be seen what it holds and waits for. And not with every
                # wait of a batch that moves: where a slot has been given back since the last look, a little later.
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
            RuntimeError: no slot is held: `release` was called once too often.
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
        """Have the last wait that began fail, if it is certain that the holders of all slots wait for one of them."""
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
        """Have `size` slots from now on. Who holds one above that keeps it; who waits gets what is new."""
        self._size = size
        self._hand_on()

    def _hand_on(self) -> None:
        """Give free slots to who waits: they go from hand to hand and are never free in between."""
        while self._waiters and self._in_use < self._size:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done() and not waiter.get_loop().is_closed():
                self._in_use += 1
                waiter.set_result(None)

    def _forget_dead(self) -> None:
        """Let go of those first in line whose loop is gone: they, and what they hold, can be collected then."""
        waiters = self._waiters
        while waiters and next(iter(waiters)).get_loop().is_closed():
            waiters.popitem(last=False)
