"""Ctrl-C while a batch runs that can be resumed: first the running jobs may end, then they are cancelled.

Rules.
1. SIGINT is taken over while such a batch runs in the main thread, and only from Python's own handler or that of
   ``asyncio.Runner``: a program with a handler of its own has decided otherwise. It is given back before anything is
   raised, so that whoever installed it finds it in its place.
2. The first Ctrl-C has every batch start no more jobs and wait for those that run, each for its grace period. The
   second cancels these. One that comes while the loop has not even taken note of the one before, or a third, raises
   ``KeyboardInterrupt`` where the program is, as in any program: somebody's code does not let the loop turn. If
   that is so until the grace period is over, which no loop can tell then, a thread presses it in the user's place.
3. All batches have stopped before the first one raises, since ``KeyboardInterrupt`` breaks off the loop. A batch
   inside a job of another one is a part of that job, and does not wait for the others.
4. In the main task, or where nobody knows which one that is, a batch raises ``KeyboardInterrupt``. In any other task
   that would tear the program apart, so there the main task is cancelled, as asyncio's own handler would have done,
   the batch ends as cancelled, and ``asyncio.run`` raises ``KeyboardInterrupt``.
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
    """What is stopped in two steps."""

    def drain(self) -> None:
        """Start no more jobs."""

    def stop(self, error: BaseException | None) -> None:
        """Cancel those that run, too."""


class Watch:
    """One batch's part in Ctrl-C. Made by `watch`.

    Attributes:
        task: In which the batch is awaited.
        grace_s: Seconds that its running jobs may run on.
        inner: Whether it is part of a job of another one.
        stopped: Whether nothing of it runs any more.
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
        """Wait, once the batch has stopped, until all others have; return whether to raise ``KeyboardInterrupt``.

        Args:
            failure: What the batch would raise.

        Raises:
            asyncio.CancelledError: the main task raises it.
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
        """Let the batch come to its end, for as long as its grace period."""
        self._batch.drain()
        self._timer = asyncio.get_running_loop().call_later(self.grace_s, self.stop)

    def stop(self) -> None:
        """Have it end now."""
        self._batch.stop(None)

    def end(self) -> None:
        """Be no part of it any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._keyboard.remove(self)


class _Keyboard:
    """SIGINT, from the start of the first batch until the end of the last one, or until all have stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, previous: Any) -> None:
        self.loop = loop
        self.main_task: asyncio.Task[Any] | None = _main_task_of(previous)
        self.interrupts: bool = False
        """Whether Ctrl-C was pressed and the batches are to raise it."""
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
        """Give SIGINT back."""
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
            # Not a plain raise: this handler is installed no more, and what is raised must be seen to be a signal's.
            signal.default_int_handler(number, frame)
        self.loop.call_soon_threadsafe(self._take)  # which wakes a loop that sleeps
        if self._pressed == 1:
            grace_s = max((watch.grace_s for watch in self._watches), default=0.0)
            with suppress(
                RuntimeError
            ):  # no thread any more; what `threading` does first may hold a lock just now
                _thread.start_new_thread(self._press_in_the_end, (grace_s,))

    def _press_in_the_end(self, grace_s: float) -> None:
        """Press it a second time, once the grace period is over, if the loop has not taken note of the first."""
        time.sleep(grace_s)
        if self._installed and not self._taken:
            if sys.platform == "win32":
                _thread.interrupt_main()
            else:
                signal.pthread_kill(
                    self._thread, signal.SIGINT
                )  # a real one: it ends a call of the system, too

    def _take(self) -> None:
        self._taken += 1
        for watch in list(self._watches):
            if self._taken == 1:
                watch.drain()
            else:
                watch.stop()

    def _look(self) -> None:
        """See whether those who wait in `settle` are all that there are."""
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
    """Have `batch` stopped by Ctrl-C in the block.

    Args:
        batch: Awaited in the current task.
        grace_s: Seconds for which its running jobs may run on; ``None`` not to watch.

    Yields:
        Its part in it; ``None`` where SIGINT is somebody else's.
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
        except ValueError:  # closed by the garbage collector, in whatever context
            pass


@contextmanager
def blocking() -> Iterator[None]:
    """Have Ctrl-C raise ``KeyboardInterrupt`` in a block that calls plain functions of the user's.

    asyncio's own handler would cancel the main task, of which the function, and the loop that it holds up, learn
    nothing. Any other handler, ours for batches with a checkpoint included, is left in place.
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
    """Return what stands for SIGINT in this thread's loop, or ``None`` where it is to be left alone."""
    global _keyboard  # noqa: PLW0603 -- there is one SIGINT
    if threading.current_thread() is not threading.main_thread():
        return None
    loop = asyncio.get_running_loop()
    if _keyboard is not None:
        if _keyboard.loop is loop:
            return _keyboard
        if _keyboard.loop.is_running():  # one inside the other, by whatever trick
            return None
        _keyboard.release()  # a loop that was left in the middle of a batch
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler and _main_task_of(previous) is None:
        return None
    _keyboard = _Keyboard(loop, previous)
    return _keyboard


def _main_task_of(handler: Any) -> asyncio.Task[Any] | None:
    """Return the task that a handler of ``asyncio.Runner`` cancels; ``None`` if it is another handler."""
    if isinstance(handler, partial) and isinstance(getattr(handler.func, "__self__", None), asyncio.Runner):
        return cast("asyncio.Task[Any] | None", handler.keywords.get("main_task"))
    return None


def _if_valid(handler: Any) -> Any:
    """Return `handler`, or Python's own in place of that of a Runner that does not run any more.

    A Runner takes its handler back when it ends, if it is installed then. If ours was, because something broke off
    the loop, the Runner is past that when its batches are cancelled, and nobody else would take it back.
    """
    if _main_task_of(handler) is None:
        return handler
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 -- whether it runs is written nowhere else
    while frame is not None:
        if (
            frame.f_code is asyncio.Runner.run.__code__
            and frame.f_locals.get("self") is handler.func.__self__
        ):
            return handler
        frame = frame.f_back
    return signal.default_int_handler
