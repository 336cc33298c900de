"""Hold back what signals raise while something must be done as a whole, on a thread that they interrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["uninterrupted"]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
"""Those whose handlers raise something in most programs that have any."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have Ctrl-C, and a SIGTERM that the program handles, wait until the end of the block.

    Their handlers are called then. This is for milliseconds, and does nothing in other threads than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))

    before: dict[int, Any] = {}
    try:
        for ending in _ENDING:
            handler = signal.getsignal(ending)
            if callable(handler):
                before[ending] = handler
                signal.signal(ending, note)
        yield
    finally:
        for number in reversed(before):
            signal.signal(number, before[number])
        for number, frame in came:
            before[number](number, frame)
