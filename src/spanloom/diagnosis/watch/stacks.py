"""The last resort: the stacks of a process in which not even the watching thread can run.

A C call that holds the GIL, such as a regular expression that backtracks for hours, stops every Python thread. A signal
handler in C still works: that of `faulthandler`, which writes the stacks to a file. The watched process registers it
for an unused real-time signal. The client sends that signal, but only after some silence, and only if the handler and
the file are still there.

Only after silence: the handler walks the frames of all threads without the GIL. If one of them runs Python meanwhile,
it may read memory that is no frame any more, and crash the process. So the process leaves in the file's times when it
last ran (*beats*); also, from a thread of its own, while an answer is being made, which may take seconds on a slow
machine.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Final, TextIO

from spanloom.diagnosis.watch.descriptors import moved
from spanloom.diagnosis.watch.folder import dump_path

__all__ = ["SIGNAL", "Stacks", "is_beating"]

SIGNAL: Final = getattr(signal, "SIGRTMAX", 0) - 3
BEAT_S: Final = 0.05
"""Seconds between two beats while an answer is being made."""


class Stacks:
    """The file of this process, and the handler that writes to it.

    Raises:
        OSError: the file cannot be made, or the system has no real-time signals.
    """

    def __init__(self) -> None:
        if SIGNAL <= 0:
            raise OSError("there are no real-time signals")
        self._pid = os.getpid()
        self.path: Path = dump_path(self._pid)
        self.path.unlink(missing_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        self._number = moved(os.open(self.path, flags, 0o600))
        # The number may have another owner by the time that the object is freed: that must not close it.
        self._file: TextIO = os.fdopen(self._number, "w", encoding="utf-8", closefd=False)
        self._inode = os.fstat(self._number).st_ino
        os.write(self._number, f"{self._number}\n".encode())
        faulthandler.register(SIGNAL, file=self._file, all_threads=True, chain=False)

    def beat(self) -> None:
        """Set the file's times, to show that this process was able to run now."""
        if self._is_ours():
            with contextlib.suppress(OSError):
                os.utime(self._number)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat, from a thread of its own, for as long as the block lasts."""
        over = _thread.allocate_lock()
        self.beat()
        with over:
            with contextlib.suppress(RuntimeError):  # no more threads can be started
                _thread.start_new_thread(self._beat_until, (over,))
            yield

    def _beat_until(self, over: _thread.LockType) -> None:
        while not over.acquire(timeout=BEAT_S):
            self.beat()

    def _is_ours(self) -> bool:
        try:
            return os.fstat(self._number).st_ino == self._inode
        except OSError:
            return False

    def close(self, *, unlink: bool = True) -> None:
        """Remove the handler and the file."""
        faulthandler.unregister(SIGNAL)
        if self._is_ours():
            with contextlib.suppress(OSError):
                os.close(self._number)
        if unlink and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


_BEATS: Final[CodeType] = Stacks._beat_until.__code__  # noqa: SLF001 -- it is what is looked for


def is_beating(frame: FrameType) -> bool:
    """Tell whether `frame` belongs to the thread that beats."""
    outer: FrameType | None = frame
    while outer is not None:
        if outer.f_code is _BEATS:
            return True
        outer = outer.f_back
    return False
