"""Ctrl-C while a batch with a checkpoint runs: first its running jobs may end, then they are cancelled.

Rules.
1. SIGINT is taken over while such a batch runs in the main thread, and only from Python's own handler or that of
   ``asyncio.Runner``: a program's own handler is left alone. The previous handler is restored before anything is
   raised, so that its owner finds it in its place.
2. On the first Ctrl-C every batch starts no more jobs and waits for the running ones, for its grace period. The second
   cancels these. A third raises ``KeyboardInterrupt`` where the program is, as usual; so does one that comes before the
   loop has processed the last one, because then some code blocks the loop. If the loop has not processed the first one
   by the end of the grace period, a thread sends the second in the user's place.
3. All batches have stopped before the first one raises, since ``KeyboardInterrupt`` ends the loop. A batch inside a job
   of another batch is part of that job, and does not wait for the others.
4. In the main task, or if the main task is unknown, a batch raises ``KeyboardInterrupt``. In another task that would
   break off the program, so there the main task is cancelled, as asyncio's own handler would do, the batch ends as
   cancelled, and ``asyncio.run`` raises ``KeyboardInterrupt``.
"""

from __future__ import annotations

import _thread
import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from types import FrameType
from typing import Any, Protocol, cast

__all__ = ["Batch", "Watch", "blocking", "watch"]


class Batch(Protocol):
    """A batch that can be stopped in two steps."""

    def drain(self) -> None:
        """Start no more jobs."""

    def stop(self, error: BaseException | None) -> None:
        """Cancel the running jobs, too."""


class Watch:
    """The handling of Ctrl-C for one batch. Made by `watch`.

    Attributes:
        task: The task in which the batch is awaited.
        grace_s: Seconds that its running jobs may run on.
        inner: Whether it runs in a job of another watched batch.
        stopped: Whether all its jobs have ended.
    """

    def __init__(self, keyboard: _Keyboard, batch: Batch, grace_s: float, *, inner: bool) -> None:
        self._keyboard = keyboard
        self._batch = batch
        self.grace_s: float = grace_s
        self._timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.inner: bool = inner
        self.stopped: bool = False

    async def settle(self, failure: BaseException | None) -> bool:
        """Wait until all other batches have stopped, too; return whether to raise ``KeyboardInterrupt``.

        Call it when the batch has stopped.

        Args:
            failure: What the batch would raise.

        Raises:
            asyncio.CancelledError: Ctrl-C was pressed, and this is not the main task.
        """
        if not self._keyboard.interrupts or isinstance(
            failure, (KeyboardInterrupt, SystemExit, GeneratorExit)
        ):
            return False
        self.stopped = True
        if self.inner:
            return True
        await self._keyboard.settle()
        if self._keyboard.main_task not in (None, self.task):
            raise asyncio.CancelledError("Ctrl-C")
        return True

    def drain(self) -> None:
        """Start no more jobs; cancel the running ones after the grace period."""
        self._batch.drain()
        self._timer = asyncio.get_running_loop().call_later(self.grace_s, self.stop)

    def stop(self) -> None:
        """Cancel the running jobs now."""
        self._batch.stop(None)

    def end(self) -> None:
        """Stop watching the batch."""
        if self._timer is not None:
            self._timer.cancel()
        self._keyboard.remove(self)


class _Keyboard:
    """SIGINT, from the start of the first batch until the end of the last one, or until all have stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, previous: Any) -> None:
        self.loop = loop
        self.main_task: asyncio.Task[Any] | None = _main_task_of(previous)
        self.interrupts: bool = False
        """Whether Ctrl-C was pressed and the batches are to raise ``KeyboardInterrupt``."""
        self._previous = previous
        self._installed = True
        self._thread = threading.get_ident()
        self._pressed = self._taken = 0
        self._watches: dict[Watch, None] = {}
        self._waiters: list[asyncio.Future[None]] = []
        signal.signal(signal.SIGINT, self._on_signal)

    def add(self, watch: Watch) -> None:
        self._watches[watch] = None
        if self._taken:
            watch.drain()

    def remove(self, watch: Watch) -> None:
        self._watches.pop(watch, None)
        if self._watches:
            self._look()
        else:
            self.release()

    async def settle(self) -> None:
        """Wait until all batches have stopped."""
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        self._look()
        await waiter

    def release(self) -> None:
        """Restore the previous handler of SIGINT."""
        global _keyboard  # noqa: PLW0603 -- there is one SIGINT
        if _keyboard is self:
            _keyboard = None
        if self._installed:
            self._installed = False
            if signal.getsignal(signal.SIGINT) == self._on_signal:
                signal.signal(signal.SIGINT, _if_valid(self._previous))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._pressed += 1
        self.interrupts = self._pressed <= 2 and self._taken == self._pressed - 1
        if not self.interrupts:
            self.release()
            # Not a plain raise: this handler is no longer installed, so `is_from_signal` could not recognize it.
            signal.default_int_handler(number, frame)
        self.loop.call_soon_threadsafe(self._take)  # wakes a sleeping loop
        if self._pressed == 1:
            grace_s = max((watch.grace_s for watch in self._watches), default=0.0)
            with suppress(
                RuntimeError
            ):  # no more threads. `_thread`, because `threading` takes a lock that may be held just now
                _thread.start_new_thread(self._press_in_the_end, (grace_s,))

    def _press_in_the_end(self, grace_s: float) -> None:
        """Send a second Ctrl-C after the grace period, if the loop has not processed the first."""
        time.sleep(grace_s)
        if self._installed and not self._taken:
            if sys.platform == "win32":
                _thread.interrupt_main()
            else:
                signal.pthread_kill(
                    self._thread, signal.SIGINT
                )  # a real signal: it interrupts a system call, too

    def _take(self) -> None:
        self._taken += 1
        for watch in list(self._watches):
            if self._taken == 1:
                watch.drain()
            else:
                watch.stop()

    def _look(self) -> None:
        """Release those that wait in `settle` if all outer batches have stopped."""
        outer = [watch for watch in self._watches if not watch.inner]
        if not self._waiters or not all(watch.stopped for watch in outer):
            return
        self.release()
        main = self.main_task
        if main is not None and not main.done() and all(watch.task is not main for watch in outer):
            self._previous(signal.SIGINT, None)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


_keyboard: _Keyboard | None = None
_enclosing: ContextVar[_Keyboard | None] = ContextVar("spanloom_ctrl_c", default=None)
"""Set in the jobs of a watched batch."""


@contextmanager
def watch(batch: Batch, grace_s: float | None) -> Iterator[Watch | None]:
    """Stop `batch` by Ctrl-C while the block runs; see the rules of the module.

    Args:
        batch: Awaited in the current task.
        grace_s: Seconds for which its running jobs may run on; ``None`` not to watch.

    Yields:
        Its `Watch`; ``None`` if Ctrl-C is not handled here.
    """
    keyboard = None if grace_s is None else _take_over()
    if keyboard is None:
        yield None
        return
    watching = Watch(keyboard, batch, cast("float", grace_s), inner=_enclosing.get() is keyboard)
    token = _enclosing.set(keyboard)
    try:
        keyboard.add(watching)
        yield watching
    finally:
        watching.end()
        try:
            _enclosing.reset(token)
        except ValueError:  # closed by the garbage collector, in another context
            pass


@contextmanager
def blocking() -> Iterator[None]:
    """Make Ctrl-C raise ``KeyboardInterrupt`` in a block that calls synchronous user functions.

    asyncio's own handler would only cancel the main task, which has no effect while the function blocks the loop. Any
    other handler, including ours for batches with a checkpoint, is left in place.
    """
    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT) if is_main else None
    if _main_task_of(previous) is None:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, previous)


def _take_over() -> _Keyboard | None:
    """Return the `_Keyboard` of this thread's loop, installing it if need be; ``None`` to leave SIGINT alone."""
    global _keyboard  # noqa: PLW0603 -- there is one SIGINT
    if threading.current_thread() is not threading.main_thread():
        return None
    loop = asyncio.get_running_loop()
    if _keyboard is not None:
        if _keyboard.loop is loop:
            return _keyboard
        if _keyboard.loop.is_running():  # a loop inside a running loop
            return None
        _keyboard.release()  # its loop was left in the middle of a batch
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler and _main_task_of(previous) is None:
        return None
    _keyboard = _Keyboard(loop, previous)
    return _keyboard


def _main_task_of(handler: Any) -> asyncio.Task[Any] | None:
    """Return the task that the SIGINT handler of an ``asyncio.Runner`` cancels; ``None`` for any other handler."""
    if isinstance(handler, partial) and isinstance(getattr(handler.func, "__self__", None), asyncio.Runner):
        return cast("asyncio.Task[Any] | None", handler.keywords.get("main_task"))
    return None


def _if_valid(handler: Any) -> Any:
    """Return `handler`, or Python's own handler in place of that of a Runner that is no longer running.

    A Runner removes its handler when it ends, but only if that is installed. If something ended the loop while ours was
    installed, the Runner cancels its batches after that step. Restoring its handler then would leave it for good.
    """
    if _main_task_of(handler) is None:
        return handler
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 -- only the stack tells whether it is running
    while frame is not None:
        if (
            frame.f_code is asyncio.Runner.run.__code__
            and frame.f_locals.get("self") is handler.func.__self__
        ):
            return handler
        frame = frame.f_back
    return signal.default_int_handler
