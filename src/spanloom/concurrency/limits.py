"""Limiters: what bounds how many jobs run at once, or start in a span of time."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.events import keys
from spanloom.events.types import EventType

__all__ = ["FixedLimiter", "Limiter", "RateLimiter", "check_count"]


@runtime_checkable
class Limiter(Protocol):
    """What a runner's ``limit=`` takes besides a number. May be shared by any number of batches."""

    def try_acquire(self) -> bool:
        """Take a slot if one is free now and nobody waits for one; never waits."""

    async def acquire(self) -> None:
        """Take a slot, first come, first served. Cancelled while it waits, it has taken none."""

    def release(self) -> None:
        """Give the slot back."""


class FixedLimiter:
    """At most `size` holders at once.

    First come, first served: a slot that is given back goes to the longest waiting, even if
    somebody else asks in the same moment. Use it as ``limit=`` of one or several runners, or by
    itself with ``async with limiter:``. A wait that is not over at once is an event of type
    ``slot_wait``.

    Not safe to use from several event loops at the same time.

    Args:
        size: Number of slots, at least 1.
        name: What events call it.

    Raises:
        ValueError: `size` is below 1.
        TypeError: `size` is not an int.
    """

    def __init__(self, size: int, *, name: str = "limiter") -> None:
        self.size: int = check_count(size, "size")
        self.name = name
        self._free = size
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<FixedLimiter {self.name} {self.in_use}/{self.size} in use, {self.waiting} waiting>"

    @property
    def in_use(self) -> int:
        """Slots that are held now."""
        return self.size - self._free

    @property
    def waiting(self) -> int:
        """Tasks that wait for a slot now."""
        return sum(not waiter.done() for waiter in self._waiters)

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody waits; return whether it did."""
        if self._waiters:
            self._forget_dead()
        if self._free > 0 and not self._waiters:
            self._free -= 1
            return True
        return False

    def _forget_dead(self) -> None:
        """Let go of those first in line whose loop is gone: they, and what they hold, can be collected then."""
        waiters = self._waiters
        while waiters and next(iter(waiters)).get_loop().is_closed():
            waiters.popitem(last=False)

    async def acquire(self) -> None:
        """Take a slot; wait for it if need be. Cancelled while it waits, it has taken none."""
        if self.try_acquire():
            return
        with get_callback_manager().event(EventType.SLOT_WAIT, {keys.LIMITER: self.name}, name=self.name):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            except BaseException:
                self._waiters.pop(waiter, None)
                if waiter.done() and not waiter.cancelled():
                    self.release()  # handed a slot and cancelled in the same turn: pass it on
                raise

    def release(self) -> None:
        """Give a slot back.

        Raises:
            RuntimeError: no slot is held: `release` was called once too often.
        """
        if self._free >= self.size:
            raise RuntimeError(f"{self.name}.release() was called more often than acquire(): no slot is held")
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)  # the slot goes from hand to hand and is never free in between
                return
        self._free += 1

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class RateLimiter:
    """At most `max_rate` starts in any span of `period_s` seconds, wherever the span begins.

    The rule is the sliding-window log: start number k may happen no earlier than `period_s` after
    start number ``k - max_rate``. A burst of `max_rate` is therefore allowed after a pause, and is
    followed by a pause. First come, first served: the first in line sleeps until its start is allowed,
    the others wait for their turn to be first, and a cancelled one leaves the line as if it had never come.

    aiolimiter, the field's library, is a leaky bucket: it lets up to ``2 * max_rate`` starts into
    one period (a full burst, and what leaks meanwhile), which is what providers answer with 429,
    and it cannot be asked whether it would wait. Hence this one.

    A rate has no holders: `release` does nothing, and jobs may overlap without bound. Put an
    ``async with FixedLimiter(n)`` into the job to bound them, too.

    Args:
        max_rate: Starts per period, at least 1.
        period_s: Length of the period in seconds, above 0.
        name: What events call it.
        clock: Monotonic seconds; another clock for tests.

    Raises:
        ValueError: `max_rate` is below 1, or `period_s` is not above 0.
        TypeError: `max_rate` is not an int.
    """

    def __init__(
        self,
        max_rate: int,
        period_s: float = 60.0,
        *,
        name: str = "rate limiter",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not period_s > 0:
            raise ValueError(f"period_s must be above 0 seconds (got {period_s})")
        self.max_rate: int = check_count(max_rate, "max_rate")
        self.period_s = period_s
        self.name = name
        self._clock = clock
        self._starts: deque[float] = deque(maxlen=self.max_rate)  # the last ones; only they decide
        self._line: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<RateLimiter {self.name} {self.max_rate} per {self.period_s} s>"

    def try_acquire(self) -> bool:
        """Take a start if one is allowed now and nobody waits for one; return whether it did."""
        now = self._clock()
        if self._line or self._next_start() > now:
            return False
        self._starts.append(now)
        return True

    async def acquire(self) -> None:
        """Wait until a start is allowed. Cancelled while it waits, it has taken none."""
        if self.try_acquire():
            return
        with get_callback_manager().event(EventType.SLOT_WAIT, {keys.LIMITER: self.name}, name=self.name):
            turn = asyncio.get_running_loop().create_future()
            self._line.append(turn)
            try:
                if self._line[0] is not turn:
                    await turn
                # A timer may fire a clock tick early; a start too early would break the promise.
                while (delay := self._next_start() - self._clock()) > 0:  # noqa: ASYNC110 -- time has no event
                    await asyncio.sleep(delay)
                self._starts.append(self._clock())
            finally:
                self._line.remove(turn)
                if self._line and not self._line[0].done():
                    self._line[0].set_result(None)

    def release(self) -> None:
        """Do nothing: a start cannot be given back."""

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _next_start(self) -> float:
        """Return the earliest moment, on the limiter's clock, at which a start is allowed."""
        starts = self._starts
        return -math.inf if len(starts) < self.max_rate else starts[0] + self.period_s


def check_count(value: object, what: str) -> int:
    """Return `value` if it is an int of at least 1.

    Raises:
        TypeError: it is not an int.
        ValueError: it is below 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int of at least 1 (got {value!r}, {type(value).__name__})")
    if value < 1:
        raise ValueError(f"{what} must be at least 1 (got {value})")
    return value
