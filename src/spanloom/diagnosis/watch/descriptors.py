"""Our file descriptors in the program's process: with high numbers, and some spare ones for when it has none left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

__all__ = ["Spares", "moved"]

HIGH: Final = 128
"""Ours begin with this number if possible: a program may rely on low numbers for its own."""
SPARES: Final = 4
"""For the connection, a module that is imported to answer, a folder of ``/proc`` and a file in it."""


def moved(number: int) -> int:
    """Move a descriptor to a high number and return that; its own number if that fails."""
    try:
        high = _copied(number)
    except OSError:  # above the limit of open files
        return number
    os.close(number)
    return high


def _copied(number: int) -> int:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, HIGH)


class Spares:
    """Spare copies of a descriptor, closed while something has to be opened.

    A program that leaks descriptors gets stuck when it has none left, and just then it must be possible to ask it.

    Args:
        of: What to copy; open as long as this is used.
    """

    def __init__(self, of: int) -> None:
        self._of = of
        self._inode = os.fstat(of).st_ino
        self._held: list[int] = []
        self._take()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Close the copies inside of the ``with`` block; another thread may take the numbers first."""
        self.close()
        try:
            yield
        finally:
            self._take()

    def close(self) -> None:
        """Close the copies, without those that the program has closed: their numbers may have another owner now."""
        while self._held:
            number = self._held.pop()
            with contextlib.suppress(OSError):
                if os.fstat(number).st_ino == self._inode:
                    os.close(number)

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # as many as there are
            while len(self._held) < SPARES:
                self._held.append(_copied(self._of))
