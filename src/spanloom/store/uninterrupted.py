"""Defer signal handlers while the main thread does something that must not be interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["uninterrupted"]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
"""Signals whose handlers, where a program has any, usually raise an exception."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C, and a SIGTERM that the program handles, to the end of the block: their handlers are called then.

    For blocks of milliseconds. Does nothing in threads other than the main one.
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
