"""A terminal for programs that are shown one."""

from __future__ import annotations

import os
import termios
import threading
from collections.abc import Callable

TIMEOUT_S = 200


class Terminal:
    """A terminal of which a program has the one end, `theirs`; what it writes there is read on a thread."""

    def __init__(self) -> None:
        self._end, self.theirs = os.openpty()
        termios.tcsetwinsize(self.theirs, (24, 100))
        self._text = bytearray()
        self._news = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._read)

    def start(self) -> None:
        """Read; the program has its end."""
        os.close(self.theirs)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self._end, 4096)
            except OSError:  # how Linux says that nobody has the other end any more
                some = b""
            with self._news:
                self._text += some
                self._is_over = not some
                self._news.notify_all()
            if not some:
                return

    @property
    def text(self) -> str:
        """All that was written so far."""
        return self._text.decode("utf-8", "replace")

    def wait_until(self, is_there: Callable[[], bool]) -> None:
        """Wait until something is to be seen, or nothing more will be."""
        with self._news:
            self._news.wait_for(lambda: self._is_over or is_there(), TIMEOUT_S)

    def wait_for(self, text: str) -> None:
        """Wait until `text` has been written."""
        self.wait_until(lambda: text in self.text)
        assert text in self.text

    def close(self) -> None:
        """Wait for the end of the text."""
        self._thread.join(TIMEOUT_S)
        os.close(self._end)
