"""Progress where there is no terminal: a line now and then, and one at the end."""

from __future__ import annotations

import time
from typing import TextIO

from spanloom.events import Event
from spanloom.handlers._progress_board import Entry
from spanloom.handlers._progress_text import is_call, line_of, more_of

__all__ = ["Lines"]


class Lines:
    """Plain lines on a stream.

    Args:
        stream: Where to write.
        max_lines: Batches that get a line of their own at one time; the others share one.
        interval_s: Seconds between two lines on one batch.
    """

    def __init__(self, stream: TextIO, max_lines: int, interval_s: float) -> None:
        self._stream = stream
        self._max_lines = max_lines
        self._interval_s = interval_s

    def update(self, entries: list[Entry]) -> None:
        """Write a line on each batch that has had none for `interval_s`."""
        now_s = time.monotonic()
        shown = 0
        rest: list[Event] = []
        for entry in entries:
            with entry.lock:
                if entry.is_over or not self._is_due(entry, now_s):
                    continue
                if shown < self._max_lines:
                    shown += 1
                    self._write(line_of(entry.event))
                else:
                    rest.append(entry.event)
        if rest:
            self._write(more_of(rest))

    def finish(self, entry: Entry) -> None:
        """Write the last line of an outermost batch; of inner batches and single calls only after `interval_s`."""
        if (entry.outer is None and not is_call(entry.event)) or entry.event.age_ns >= self._interval_s * 1e9:
            self._write(line_of(entry.event))

    def abandon(self) -> None:
        """Do nothing: a line that was written is written."""

    def _is_due(self, entry: Entry, now_s: float) -> bool:
        last_s = now_s - entry.event.age_ns / 1e9 if entry.last_s is None else entry.last_s
        is_due = now_s - last_s >= self._interval_s
        if is_due:
            entry.last_s = now_s
        return is_due

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
