"""Sending what has ended before a SIGTERM ends the process.

The default action of SIGTERM ends a process on the spot: no ``finally``, no ``atexit``. So what waits in memory is
lost, unless somebody takes the signal. That is done only where it was asked for, and everything else stays as it was:
a handler that was there before is called afterwards, and where there was none the process dies of the signal.
"""

from __future__ import annotations

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
"""How long the interrupted code is held at a time: it may hold a lock that the flush is waiting for."""
PAUSE_S: Final = 0.005
"""How long it is then let go on."""


class SigtermFlush:
    """Flushes when the process gets a SIGTERM, then lets happen what would have happened.

    Must be made in the main thread. A handler that asyncio's ``loop.add_signal_handler`` has set keeps being called
    by its loop; one that is set that way later replaces this one, as any later handler does.

    Args:
        flush: Called in a thread of its own with the seconds it has; what it raises is passed over.
        timeout_s: How long the end of the process is put off at most.

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
        if self._deadline is None:
            self._deadline = time.monotonic() + self._timeout_s
            self._done.clear()
            if not _start(self._run):
                self._done.set()
        is_done = self._done.wait(min(SLICE_S, max(0.0, self._deadline - time.monotonic())))
        if not is_done and time.monotonic() < self._deadline and _start(_signal_again):
            return
        self._deadline = None
        self._pass_on(number, frame)

    def _run(self) -> None:
        try:
            self._flush(self._timeout_s)
        except Exception:
            _logger.exception("what has ended could not be sent before the end of the process")
        finally:
            self._done.set()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous
        if callable(previous):
            previous(number, frame)
        elif previous is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _signal_again() -> None:
    time.sleep(PAUSE_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _start(function: Callable[[], None]) -> bool:
    """Run `function` in a thread; made now, since one made earlier would be missing after a fork."""
    try:
        threading.Thread(target=function, name="spanloom-otel-sigterm", daemon=True).start()
    except RuntimeError:
        return False  # the interpreter is shutting down: whoever is doing that flushes
    return True
