"""An event loop with a virtual clock: tests of timeouts, back-offs and rates without waiting."""

from __future__ import annotations

import asyncio
import itertools
import selectors
import time
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVarTuple

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["VirtualClockLoop", "virtual_clock"]

Ts = TypeVarTuple("Ts")


def virtual_clock() -> asyncio.Runner:
    """Return a runner whose event loop has a virtual clock.

    ::

        def test_a_slow_job_times_out():
            with virtual_clock() as runner:
                runner.run(scenario())  # an hour of asyncio.sleep takes a millisecond

    Returns:
        An `asyncio.Runner`; close it by using it as a context manager.
    """
    return asyncio.Runner(loop_factory=VirtualClockLoop)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that jumps to its next timer instead of waiting for it.

    ``loop.time()`` starts at 0 and stands still while code runs. Timers due at the same time fire in the order in
    which they were set, so every run has the same order.

    Only timers are virtual. Without one, the loop really waits for sockets and other threads; with one, it jumps
    past them. While a function runs in an executor (``asyncio.to_thread``), time passes as it really does.
    ``time.monotonic`` and the times of events are not virtual.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        self._order = itertools.count()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._clock.now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule `callback`; of several for the same time, the first set runs first."""
        return super().call_at(_Due(when, next(self._order)), callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], Any], *args: *Ts) -> asyncio.Future[Any]:
        """Run `func` in a thread or process; until it ends, time passes as it really does."""
        future = super().run_in_executor(executor, func, *args)
        self._clock.working += 1
        future.add_done_callback(self._worked)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Join the executor's threads, which takes real time: `timeout` must not jump past it."""
        shutdown: Any = super().shutdown_default_executor  # takes no timeout before Python 3.12
        self._clock.working += 1
        try:
            await (shutdown() if timeout is None else shutdown(timeout))
        finally:
            self._clock.working -= 1

    def _worked(self, future: asyncio.Future[Any]) -> None:
        self._clock.working -= 1


class _Due(float):
    """A time that sorts among equal ones by the order in which it was set."""

    __slots__ = ("order",)

    order: int

    def __new__(cls, when: float, order: int) -> _Due:
        due = super().__new__(cls, when)
        due.order = order
        return due

    def __lt__(self, other: float) -> bool:
        if isinstance(other, _Due) and float(self) == float(other):
            return self.order < other.order
        return float(self) < float(other)


class _Clock(selectors.BaseSelector):
    """The seam: a loop with nothing to do asks its selector to wait until the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.working = 0
        self._selector = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return self._selector.select(timeout)
        if self.working:
            before = time.monotonic()
            ready = self._selector.select(timeout)
            self.now += min(timeout, time.monotonic() - before) if ready else timeout
            return ready
        ready = self._selector.select(0)
        if not ready:
            self.now += timeout
        return ready

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._selector.get_key(fileobj)

    def get_map(self) -> Any:  # the type that typeshed gives differs between versions
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()
