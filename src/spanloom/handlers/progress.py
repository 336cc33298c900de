"""Progress of running batches: tqdm bars in a terminal or notebook, plain lines anywhere else.

Nothing is done per job. A batch's event carries live numbers, and one thread reads them ten times a second. When a
batch ends, its exact final numbers are shown.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TextIO

from tqdm.auto import tqdm

from spanloom._numbers import check_count, check_number
from spanloom.events import Event, EventType
from spanloom.handlers._progress_board import Display, Entry, board
from spanloom.handlers._progress_lines import Lines
from spanloom.handlers._progress_text import is_call, more_of, name_of, numbers_of, total_of

__all__ = ["ProgressHandler"]

MAX_BARS: Final = 8
"""Default for the number of bars: a third of the usual height of a terminal."""
LINE_INTERVAL_S: Final = 5.0
"""Default for the seconds between two lines on a batch where there are no bars."""

_IS_NOTEBOOK: Final = any(kind.__name__ == "tqdm_notebook" for kind in tqdm.__mro__)

if TYPE_CHECKING:
    _Tqdm = tqdm[object]
else:
    _Tqdm = tqdm


class _Bar(_Tqdm):
    # Seconds after which a thread of tqdm's refreshes bars; 0 for no such thread, as ours does that.
    monitor_interval = 0


def _use_thread_lock() -> None:
    # By default, tqdm also takes a lock shared between processes, and may start a helper process for it.
    lock = getattr(sys.modules["tqdm.std"], "TqdmDefaultWriteLock", None)
    _Bar.set_lock(threading.RLock() if lock is None else lock.th_lock)


_use_thread_lock()


class ProgressHandler:
    """Show the progress of every running batch.

    In a terminal or a notebook, each batch has a bar; a batch inside a job of another one is below that one's. The bar
    of an outermost batch stays, at n/n if all went well. A batch that ends before it was ever drawn gets a bar only if
    it is outermost. Elsewhere, a line is written every `line_interval` seconds, at the end of each outermost batch, and
    at the end of an inner one that lasted longer than that. A single call given to a pool of threads or processes
    counts as an inner batch.

    Args:
        file: Where to write; ``None`` for ``sys.stderr`` as it is when a batch starts. Never closed.
        max_bars: Batches that are shown one by one, at least 1; all others share one line.
        line_interval: Seconds between two lines where there are no bars; more than 0.
        leave: Leave the bars of outermost batches in the terminal.

    Attributes:
        shows_progress: True, so that a runner called with ``show_progress=True`` does not add a second handler.

    Raises:
        ValueError: `max_bars` or `line_interval` is out of range.
    """

    wants: frozenset[str] | None = frozenset({EventType.BATCH})
    shows_progress: Final = True

    def __init__(
        self,
        file: TextIO | None = None,
        *,
        max_bars: int = MAX_BARS,
        line_interval: float = LINE_INTERVAL_S,
        leave: bool = True,
    ) -> None:
        check_count(max_bars, "max_bars")
        line_interval = check_number(line_interval, "line_interval")
        if not line_interval > 0:
            raise ValueError(f"line_interval must be above 0 seconds (got {line_interval})")
        self._file = file
        self._max_bars = max_bars
        self._line_interval = line_interval
        self._leave = leave
        self._entries: dict[int, Entry] = {}

    def on_event_start(self, event: Event) -> None:
        """Show a batch from now on."""
        if event.counts is None:
            return  # a user's event of type ``batch``
        display = _display(self._file, self._max_bars, self._line_interval, leave=self._leave)
        if display is not None:
            self._entries[event.event_id] = board.add(event, display)

    def on_event_end(self, event: Event) -> None:
        """Show the exact final numbers of a batch and close its bar."""
        entry = self._entries.pop(event.event_id, None)
        if entry is not None:
            board.remove(entry)

    def close(self) -> None:
        """Close the bars of all batches that this handler shows."""
        while self._entries:
            board.remove(self._entries.popitem()[1])


_shared: weakref.WeakValueDictionary[tuple[object, ...], Display] = weakref.WeakValueDictionary()


def _display(file: TextIO | None, max_bars: int, line_interval: float, *, leave: bool) -> Display | None:
    """Return the shared display for these options, so that `max_bars` bounds all handlers on a stream together."""
    stream = sys.stderr if file is None else file
    if stream is None:
        return None  # a process without any standard streams
    key = (id(stream), max_bars, line_interval, leave)
    display = _shared.get(key)  # it holds the stream, so no other stream can have this id
    if display is None:
        is_notebook = _IS_NOTEBOOK and file is None
        if is_notebook or stream.isatty():
            display = _Bars(None if is_notebook else stream, stream, max_bars, leave=leave)
        else:
            display = Lines(stream, max_bars, line_interval)
        display = _shared.setdefault(key, display)
    return display


class _Bars:
    """tqdm bars on one stream, or in the notebook."""

    def __init__(self, target: TextIO | None, stream: TextIO, max_bars: int, *, leave: bool) -> None:
        self._target = target
        self._stream = stream  # kept alive: it is known by its id
        self._max_bars = max_bars
        self._leave = leave
        self._bars: dict[Entry, _Bar] = {}
        self._rest: _Bar | None = None
        self._lock = threading.Lock()

    def update(self, entries: list[Entry]) -> None:
        rest: list[Event] = []
        for entry in entries:
            with entry.lock:
                if entry.is_over:
                    continue
                bar = self._bar_of(entry)
                if bar is None:
                    rest.append(entry.event)
                else:
                    _set(bar, entry.event)
                    bar.refresh()
        self._show_rest(rest)

    def finish(self, entry: Entry) -> None:
        is_passing = entry.outer is not None or is_call(entry.event)
        bar = self._bars.get(entry) if is_passing else self._bar_of(entry)
        if bar is not None:
            bar.leave = self._leave and not is_passing
            _set(bar, entry.event)
            bar.refresh()  # even if it does not stay: captured output must end at n/n
            with self._lock:
                self._bars.pop(entry, None)
            bar.close()
        if not self._bars:
            self._show_rest([])

    def abandon(self) -> None:
        # The parent's thread may have held the lock at the fork, and its bars are not ours to close.
        _Bar.set_lock(threading.RLock())
        self._lock = threading.Lock()
        for bar in (*self._bars.values(), *([self._rest] if self._rest is not None else ())):
            bar.disable = True
        self._bars.clear()
        self._rest = None

    def _bar_of(self, entry: Entry) -> _Bar | None:
        with self._lock:
            bar = self._bars.get(entry)
            if bar is None and len(self._bars) < self._max_bars:
                bar = self._bars[entry] = self._make(entry)
            return bar

    def _make(self, entry: Entry) -> _Bar:
        outer = None if entry.outer is None else self._bars.get(entry.outer)
        position: int | None = None
        if outer is not None:
            # tqdm would take the first free line, which may be one above the outer batch.
            taken = {abs(bar.pos) for bar in self._bars.values()}
            position = next(line for line in count(abs(outer.pos) + 1) if line not in taken)
        counts = entry.event.counts
        bar = _Bar(
            iter(()),
            desc=name_of(entry.event),
            total=None if counts is None else counts.total,
            file=self._target,
            leave=self._leave and entry.outer is None,
            position=position,
            unit="job",
            **self._shape(),
            smoothing=0,
            miniters=1,
            delay=1e-9,  # not drawn at once, when there are no numbers yet
        )
        bar.start_t -= entry.event.age_ns / 1e9  # the batch's start, not the bar's
        return bar

    def _shape(self) -> dict[str, Any]:
        """Return options for the size of a bar: that of the terminal at any time, or 80 x 24 if it reports none.

        A fresh pseudo-terminal (script, docker -t) reports 0 x 0, in which tqdm draws nothing at all.
        """
        try:
            columns, _ = os.get_terminal_size((self._target or sys.stderr).fileno())
        except (AttributeError, OSError, ValueError):  # not a terminal, or a stream without a file
            return {"dynamic_ncols": True}
        return {"dynamic_ncols": True} if columns else {"ncols": 80, "nrows": 24}

    def _show_rest(self, rest: list[Event]) -> None:
        with self._lock:
            if rest and self._rest is None:
                self._rest = _Bar(
                    iter(()), file=self._target, leave=False, bar_format="{desc}", **self._shape()
                )
            if self._rest is not None:
                if rest:
                    self._rest.set_description_str(more_of(rest))
                else:
                    self._rest.close()
                    self._rest = None


def _set(bar: _Bar, event: Event) -> None:
    counts = event.counts
    if counts is None:
        return
    bar.n = counts.ended
    bar.total = total_of(event, counts)
    bar.set_postfix_str(numbers_of(counts), refresh=False)
