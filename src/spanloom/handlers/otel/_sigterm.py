"""Sending what has ended before a SIGTERM ends the process.

The default action of SIGTERM ends a process on the spot: no ``finally``, no ``atexit``. So what waits in memory is
lost, unless a signal handler sends it. One is installed only on request, and everything else stays as it was: a former
handler is called afterwards; without one, the process dies of the signal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

__all__ = ["SigtermFlush"]

_SignalHandler = Callable[[int, FrameType | None], object] | int

_logger = logging.getLogger("spanloom.handlers.otel")

SLICE_S: Final = 0.25
"""How long the interrupted code is held at most: it may hold a lock that the flush is waiting for."""


class SigtermFlush:
    """Flushes on SIGTERM, and then passes the signal on to the former handler, once.

    A flush that takes longer than the interrupted code may be held goes on beside it, and sends the signal again when
    it is over. Not so where the former handler is an event loop's: the loop has heard of the signal by then and ends
    the program as it was told to, and the end of the handlers flushes; hearing of it again would be a second signal.

    Must be made in the main thread. A handler that asyncio's ``loop.add_signal_handler`` has set keeps being called
    by its loop; one that is set that way later replaces this one, as any later handler does.

    Args:
        flush: Called in a thread of its own with the seconds it has; what it raises is passed over.
        timeout_s: Most seconds by which the end of the process is delayed.

    Raises:
        ValueError: this is not the main thread, or the present handler was not set by Python and cannot be kept.
    """

    def __init__(self, flush: Callable[[float], object], timeout_s: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError(
                "flush_on_sigterm=True: a signal can be handled in the main thread only; make it there"
            )
        self._flush = flush
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._done = threading.Event()
        self._previous = self._take()

    def undo(self) -> None:
        """Put back the handler that was there before, if this one is still there and this is the main thread."""
        if self._is_there and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._previous)

    def redo(self) -> None:
        """Take the signal again after an `undo`; elsewhere than in the main thread, that cannot be."""
        if not self._is_there and threading.current_thread() is threading.main_thread():
            self._previous = self._take()

    @property
    def _is_there(self) -> bool:
        return (
            signal.getsignal(signal.SIGTERM) == self._on_signal
        )  # equal, not identical: it is a bound method

    def _take(self) -> _SignalHandler:
        previous = signal.getsignal(signal.SIGTERM)
        if previous is None:
            raise ValueError(
                "flush_on_sigterm=True: SIGTERM has a handler that was not set by Python, and could not be called"
            )
        signal.signal(signal.SIGTERM, self._on_signal)
        return previous

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now, deadline = time.monotonic(), self._deadline
        if deadline is None:
            self._deadline = deadline = now + self._timeout_s
            done = self._flush_aside(deadline)
            is_over = done.wait(SLICE_S) or _is_of_a_loop(self._previous)
            # Where no thread can be started, somebody is shutting the interpreter down, and flushes.
            if not is_over and _start(lambda: _signal_after(done, deadline)):
                return
        elif self._done.is_set() or now >= deadline:
            # The signal that we sent: what has ended while it was put off.
            self._flush_aside(deadline).wait(min(SLICE_S, max(0.0, deadline - now)))
        else:
            return  # sent again by somebody in a hurry: it is under way
        self._deadline = None
        self._pass_on(number, frame)

    def _flush_aside(self, deadline: float) -> threading.Event:
        """Flush in a thread, made now: one made earlier would be missing after a fork."""
        done = self._done = threading.Event()
        if not _start(lambda: self._run(done, deadline)):
            done.set()
        return done

    def _run(self, done: threading.Event, deadline: float) -> None:
        try:
            self._flush(max(0.0, deadline - time.monotonic()))
        except Exception:
            _logger.exception("what has ended could not be sent before the end of the process")
        finally:
            done.set()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous
        if callable(previous):
            previous(number, frame)
        elif previous is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _is_of_a_loop(handler: _SignalHandler) -> bool:
    """Return whether an event loop has set `handler`, which is told of signals through a file descriptor."""
    owner = getattr(handler, "__self__", None)  # uvloop's is a method of the loop
    is_asyncios = getattr(handler, "__module__", None) == "asyncio.unix_events"
    return is_asyncios or isinstance(owner, asyncio.AbstractEventLoop)


def _signal_after(done: threading.Event, deadline: float) -> None:
    done.wait(max(0.0, deadline - time.monotonic()))
    os.kill(os.getpid(), signal.SIGTERM)


def _start(function: Callable[[], None]) -> bool:
    """Run `function` in a thread of its own; False if there can be no more of them."""
    try:
        threading.Thread(target=function, name="spanloom-otel-sigterm", daemon=True).start()
    except RuntimeError:
        return False  # the interpreter is shutting down
    return True
