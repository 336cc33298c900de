"""File descriptors of ours in somebody else's process: out of its way, and some for when it has none left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

__all__ = ["Spares", "moved"]

HIGH: Final = 128
"""Ours begin here, where that is possible: a program may count its own."""
SPARES: Final = 4
"""For the connection, a module that is imported to answer, a folder of ``/proc`` and a file in it."""


def moved(number: int) -> int:
    """Return the descriptor under a number that is out of the way of those of the program."""
    try:
        high = _copied(number)
    except OSError:  # so many may not be open
        return number
    os.close(number)
    return high


def _copied(number: int) -> int:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, HIGH)


class Spares:
    """Copies of a descriptor, given back while something has to be opened.

    A program that leaks descriptors gets stuck when it has none left, and is to be asked then above all.

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
        """Have so many descriptors more inside of the ``with`` block, unless another thread takes them first."""
        self.close()
        try:
            yield
        finally:
            self._take()

    def close(self) -> None:
        """Give them back, but for those that the program has closed: these numbers are somebody else's now."""
        while self._held:
            number = self._held.pop()
            with contextlib.suppress(OSError):
                if os.fstat(number).st_ino == self._inode:
                    os.close(number)

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # as many as there are
            while len(self._held) < SPARES:
                self._held.append(_copied(self._of))
