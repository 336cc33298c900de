"""The findings and all stacks on standard error, on a signal: for when no second terminal is at hand.

The handler is `faulthandler`'s, in C: it writes to a file of ours, whatever the main thread does. That only serves as a
bell, for one thread: to let it read the frames of threads that run meanwhile crashes the process once in some hundred
times. The watching thread sees the file grow, and writes the stacks of all threads itself while it holds the GIL.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import tempfile
from collections.abc import Callable
from typing import Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.watch.descriptors import moved

__all__ = ["Dump"]

STDERR: Final = 2
MAX_BYTES: Final = 1_000_000


class Dump:
    """Handles one signal; an `Observer`, called after each look.

    Args:
        signal_number: The signal, which the program must not use itself.
        find: Returns the findings of this moment.

    Attributes:
        signal_number: The same.

    Raises:
        ValueError: the signal cannot be handled.
    """

    def __init__(self, signal_number: int, find: Callable[[], list[Finding]]) -> None:
        if signal_number not in signal.valid_signals() or signal_number in {signal.SIGKILL, signal.SIGSTOP}:
            raise ValueError(
                f"signal {signal_number} cannot be handled; SIGUSR1 and SIGUSR2 are free for such things"
            )
        self.signal_number: int = signal_number
        self._find = find
        with tempfile.TemporaryFile() as file:
            self._number = moved(os.dup(file.fileno()))
        self._inode = os.fstat(self._number).st_ino
        self._file = os.fdopen(self._number, "w", encoding="utf-8", closefd=False)
        self._seen = 0
        faulthandler.register(signal_number, file=self._file, all_threads=False, chain=False)

    def __call__(self, _: float) -> None:
        """Write the findings and stacks if the signal has come since the last call."""
        number = self._number
        info = os.fstat(number)
        size = info.st_size
        if info.st_ino != self._inode or size == self._seen:
            return
        faulthandler.dump_traceback(file=self._file, all_threads=True)
        self._seen = os.fstat(number).st_size  # covers all signals until now
        stacks = os.pread(number, min(self._seen - size, MAX_BYTES), size)
        lines = [f"{one.code} ({one.level}): {one.message}" for one in self._find()]
        text = "\n".join(lines or ["nothing is wrong, as far as can be seen"])
        with contextlib.suppress(OSError):
            os.write(STDERR, f"spanloom why {os.getpid()}\n{text}\n".encode(errors="replace") + stacks)
