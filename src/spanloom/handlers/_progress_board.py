"""The batches that are being shown, by any handler, and the one thread that reads their numbers.

There is one board per process, because handlers share the terminal. A runner with ``show_progress=True`` makes a
handler for its one batch: a thousand such runners must not make a thousand threads, and the bars of nested batches must
know of each other. The thread starts with the first batch and ends within one interval after the last.
"""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import threading
import time
from typing import Protocol

from spanloom.events import Event

__all__ = ["Board", "Display", "Entry", "board", "current"]

INTERVAL_S = 0.1
"""Seconds between two readings of the numbers: faster than anybody reads, too slow to cost anything."""

_logger = logging.getLogger("spanloom.handlers.progress")


class Display(Protocol):
    """How batches are shown on one kind of output."""

    def update(self, entries: list[Entry]) -> None:
        """Show the state of open batches; on the board's thread, every `INTERVAL_S`."""

    def finish(self, entry: Entry) -> None:
        """Show the last state of a batch; in the task that ends it."""

    def abandon(self) -> None:
        """Forget every batch without writing; in a forked child, as they are the parent's."""


class Entry:
    """One batch that is being shown.

    Attributes:
        event: The batch.
        outer: The entry of the batch around it; ``None`` without an open one.
        display: How it is shown.
        lock: Held while it is drawn: by the board's thread, or by whoever ends it.
        is_over: True once it has been drawn for the last time.
        last_s: When its last line was written, for a display that writes lines.
    """

    def __init__(self, event: Event, display: Display, outer: Entry | None) -> None:
        self.event = event
        self.display = display
        self.outer = outer
        self.lock = threading.Lock()
        self.is_over = False
        self.last_s: float | None = None


current: contextvars.ContextVar[Entry | None] = contextvars.ContextVar("spanloom_progress", default=None)
"""The batch around the running code; jobs inherit it with the context of their batch."""


def enclosing() -> Entry | None:
    """Return the innermost open batch around the running code."""
    entry = current.get()
    while entry is not None and entry.is_over:
        entry = entry.outer
    return entry


class Board:
    """All batches that are being shown in this process. Safe from any thread."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._after_fork)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Entry, None] = {}  # in order of their start
        self._thread: threading.Thread | None = None
        self._is_registered = False

    def add(self, event: Event, display: Display) -> Entry:
        """Show a batch from now on, and make it `current` in the caller's context."""
        entry = Entry(event, display, enclosing())
        current.set(entry)
        with self._lock:
            self._entries[entry] = None
            if self._thread is None:
                self._start()
        return entry

    def remove(self, entry: Entry) -> None:
        """Draw a batch for the last time. Harmless if that has happened."""
        with self._lock:
            self._entries.pop(entry, None)
        if current.get() is entry:
            current.set(entry.outer)
        with entry.lock:
            if not entry.is_over:
                entry.is_over = True
                entry.display.finish(entry)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="spanloom-progress", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the interpreter is shutting down: only final states are drawn, by whoever ends the batches
        self._thread = thread
        if not self._is_registered:
            self._is_registered = True
            atexit.register(self._at_exit)

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            time.sleep(INTERVAL_S)
            with self._lock:
                if self._thread is not me:
                    return
                if not self._entries:
                    self._thread = None
                    return
                entries = list(self._entries)
            for display in dict.fromkeys(entry.display for entry in entries):
                self._update(display, [entry for entry in entries if entry.display is display])

    def _update(self, display: Display, entries: list[Entry]) -> None:
        try:
            display.update(entries)
        except Exception as error:  # no caller could get it
            # The program may close the stream, which is often where logs go, too: no loud log for that.
            level = logging.DEBUG if isinstance(error, (OSError, ValueError)) else logging.ERROR
            _logger.log(level, "progress of %d batches cannot be shown any more", len(entries), exc_info=True)
            with self._lock:
                for entry in entries:
                    entry.is_over = True
                    self._entries.pop(entry, None)

    def _at_exit(self) -> None:
        for entry in list(self._entries):
            self.remove(entry)

    def _after_fork(self) -> None:
        entries = list(self._entries)
        self._reset()
        for entry in entries:
            entry.lock = threading.Lock()
            entry.is_over = True
        for display in dict.fromkeys(entry.display for entry in entries):
            display.abandon()


board = Board()
