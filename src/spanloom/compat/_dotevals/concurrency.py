"""`Concurrency`: slots taken by hand or by a wrapped client, and the strategies that own them."""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, cast
from weakref import WeakSet

from spanloom._numbers import check_count, check_number
from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.adaptive import AdaptiveLimiter
from spanloom.concurrency.slots import Slots
from spanloom.events import keys
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.instrument.limiting import LimiterBlock

__all__ = ["Concurrency", "ConcurrencyStrategy", "adaptive", "fixed", "sequential"]

REMEMBERED: Final = 100
"""Ends of calls that `adaptive` remembers."""


class ConcurrencyStrategy(Protocol):
    """What `Concurrency` takes: anything with these three methods."""

    async def acquire(self) -> None:
        """Wait for a slot, and take it."""

    async def release(self, error: Any = None) -> None:
        """Give the slot back; `error` is what the call raised, if it did."""

    def reset(self) -> None:
        """Free all slots."""


class _Slots(Slots):
    """Slots that can all be taken back."""

    def free(self) -> None:
        """Take all slots back; waiters get them."""
        self._in_use = 0
        self._hand_on()


class _AdaptiveSlots(_Slots, AdaptiveLimiter):
    """The same for an adaptive limiter."""

    def free(self) -> None:
        """Take all slots back; the ends of running calls are not counted."""
        self._begin_anew()
        super().free()


class fixed:  # noqa: N801 -- its name
    """A fixed number of slots, first come, first served.

    Args:
        size: How many; 0 lets nobody through.

    Raises:
        ValueError: `size` is below 0.
        TypeError: it is no number.
    """

    def __init__(self, size: int) -> None:
        check_number(size, "size")
        if size < 0:
            raise ValueError(f"size must be at least 0 (got {size})")
        self._slots = _Slots(size, "fixed")
        self._holders: list[object] = []
        """Tasks that hold a slot, in order."""
        self._freed: WeakSet[Any] = WeakSet()
        """Tasks whose slot was freed by a `reset` before they gave it back."""

    @property
    def size(self) -> int:
        """How many slots there are."""
        return self._slots.size

    async def acquire(self) -> None:
        """Wait for a slot, and take it."""
        await self._slots.acquire()
        self._holders.append(asyncio.current_task())

    async def release(self, error: BaseException | None = None) -> None:
        """Give a slot back. If a `reset` has freed it, do nothing: it may be another task's by now."""
        task = asyncio.current_task()
        if task in self._holders:
            self._holders.remove(task)
        elif task in self._freed or not self._holders:
            self._freed.discard(task)
            return
        else:
            del self._holders[0]  # taken by another task, which has handed it over
        self._slots.release()

    def reset(self) -> None:
        """Free all slots."""
        self._freed.update(self._holders)
        self._holders.clear()
        self._slots.free()


class adaptive:  # noqa: N801 -- its name
    """An adaptive number of slots: an `AdaptiveLimiter`, taken and given back by hand.

    Args:
        initial: Slots at the start, clamped to `min` and `max`.
        min: Least slots, at least 1.
        max: Most slots.
        increase_threshold: Add slots only while the throughput is above this fraction of the former one.
        decrease_threshold: Undo an increase after which the throughput is below this fraction of the former one.
        adaptation_interval: Least seconds between decisions.
        error_backoff: Factor by which the number is multiplied when calls fail.

    Attributes:
        increase_threshold, decrease_threshold, adaptation_interval, error_backoff: As given.
        completion_times: When the last successful calls ended, in seconds since the epoch.
        error_count: Calls that failed since the number last changed.
    """

    def __init__(
        self,
        initial: int = 5,
        min: int = 1,
        max: int = 100,
        increase_threshold: float = 0.98,
        decrease_threshold: float = 0.90,
        adaptation_interval: float = 2.0,
        error_backoff: float = 0.7,
    ) -> None:
        self._limiter = _AdaptiveSlots(
            builtins.max(
                check_count(min, "min"),
                builtins.min(check_count(initial, "initial"), check_count(max, "max")),
            ),
            min,
            max,
            adaptation_interval,
            increase_threshold=increase_threshold,
            decrease_threshold=decrease_threshold,
            error_backoff_factor=error_backoff,
            error_tolerance=0.0,
            name="adaptive",
        )
        self.increase_threshold = increase_threshold
        self.decrease_threshold = decrease_threshold
        self.adaptation_interval = adaptation_interval
        self.error_backoff = error_backoff
        self._calls: list[tuple[object, AbstractAsyncContextManager[object]]] = []
        """Task and measured attempt of each slot that is held, in order."""
        self._freed: WeakSet[Any] = WeakSet()
        """As of `fixed`."""
        self.completion_times: list[float] = []
        self.error_count: int = 0

    @property
    def current(self) -> int:
        """Number of slots now."""
        return self._limiter.size

    @property
    def min_concurrency(self) -> int:
        """Least number of slots."""
        return self._limiter.minimum

    @property
    def max_concurrency(self) -> int:
        """Greatest number of slots."""
        return self._limiter.maximum

    @property
    def active_count(self) -> int:
        """Slots that are held."""
        return self._limiter.in_use

    async def acquire(self) -> None:
        """Wait for a slot, and take it."""
        await self._limiter.acquire()
        attempt = self._limiter.attempt()
        await attempt.__aenter__()
        self._calls.append((asyncio.current_task(), attempt))

    async def release(self, error: BaseException | None = None) -> None:
        """Give a slot back, and record how the call ended. Any task may do so, not only the one that took it."""
        task = asyncio.current_task()
        is_freed = task in self._freed and all(owner is not task for owner, _ in self._calls)
        if is_freed or not self._calls:
            self._freed.discard(task)
            return  # a reset has freed it, or it was released twice
        attempt = self._attempt_of(task)
        if error is None:
            self.completion_times.append(time.time())
            del self.completion_times[:-REMEMBERED]
        elif isinstance(error, Exception):
            self.error_count += 1
        before = self.current
        try:
            await attempt.__aexit__(None if error is None else type(error), error, None)
        finally:
            self._limiter.release()
        if self.current != before:
            self.error_count = 0

    def reset(self) -> None:
        """Free all slots, and forget what was counted; the number of slots stays."""
        self._freed.update(owner for owner, _ in self._calls)
        self._calls.clear()
        self._limiter.free()
        self.completion_times.clear()
        self.error_count = 0

    def _attempt_of(self, task: object) -> AbstractAsyncContextManager[object]:
        """Return the last call of `task`; without one, the oldest of all, which another task has handed over."""
        mine = [index for index, (owner, _) in enumerate(self._calls) if owner is task]
        return self._calls.pop(mine[-1] if mine else 0)[1]


class sequential:  # noqa: N801 -- its name
    """One slot, first come, first served.

    Attributes:
        lock: Held by the holder of the slot.
    """

    def __init__(self) -> None:
        self.lock: asyncio.Lock = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait for the slot, and take it."""
        if not self.lock.locked():
            await self.lock.acquire()
            return
        with get_callback_manager().event(
            EventType.SLOT_WAIT, {keys.LIMITER: "sequential"}, name="sequential"
        ):
            await self.lock.acquire()

    async def release(self, error: BaseException | None = None) -> None:
        """Give the slot back. If a `reset` has freed it, do nothing."""
        self.reset()

    def reset(self) -> None:
        """Free the slot: it goes to the longest waiter."""
        if self.lock.locked():
            self.lock.release()


class Concurrency:
    """Slots for calls, with hooks around acquiring and releasing them.

    ::

        client = Concurrency(adaptive(max=50)).wrap(AsyncOpenAI())

    Args:
        strategy: Owns the slots; anything with ``acquire``, ``release`` and ``reset``. ``None`` for ``fixed(10)``.
        before_acquire, after_acquire: Called with the strategy.
        before_release, after_release: Called with the strategy and the error of the call, or ``None``.
    """

    def __init__(
        self,
        strategy: ConcurrencyStrategy | None = None,
        *,
        before_acquire: Callable[[Any], object] | None = None,
        after_acquire: Callable[[Any], object] | None = None,
        before_release: Callable[[Any, Any], object] | None = None,
        after_release: Callable[[Any, Any], object] | None = None,
    ) -> None:
        self.strategy: ConcurrencyStrategy = fixed(10) if strategy is None else strategy
        self.before_acquire = before_acquire
        self.after_acquire = after_acquire
        self.before_release = before_release
        self.after_release = after_release

    async def acquire(self) -> None:
        """Take a slot; give it back if `after_acquire` raises."""
        if self.before_acquire is not None:
            self.before_acquire(self.strategy)
        await self.strategy.acquire()
        if self.after_acquire is not None:
            try:
                self.after_acquire(self.strategy)
            except BaseException:
                await self.strategy.release()
                raise

    async def release(self, error: BaseException | None = None) -> None:
        """Give a slot back, even if `before_release` raises.

        Args:
            error: What the call raised, or ``None``.
        """
        try:
            if self.before_release is not None:
                self.before_release(self.strategy, error)
        finally:
            await self.strategy.release(error)
        if self.after_release is not None:
            self.after_release(self.strategy, error)

    def wrap(self, client: Any) -> Any:
        """Return `client` with a slot held during each of its asynchronous calls, at any depth.

        Args:
            client: The client; not changed.
        """
        from spanloom.instrument.proxies import limited_value  # wrapt takes longer to import than all of us

        return limited_value(client, cast("LimiterBlock", _Holding(self)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.strategy.reset()


class _Holding:
    """A slot held during a block."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency

    async def __aenter__(self) -> None:
        await self._concurrency.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._concurrency.release(error)
