"""`RecordHandler`: a run in a file, to look into while it runs, after it has ended, and after a ``kill -9``.

Everything is done on the handler's own thread. Nothing is called when a job starts or ends, unless
``durability="event"`` asks for it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from spanloom.events.clock import deadline_ns, left_s, monotonic_ns
from spanloom.events.event import Event
from spanloom.events.handler import Handler, OpenEvents
from spanloom.store.locate import default_path
from spanloom.store.origin import Origin
from spanloom.store.retention import Retention
from spanloom.store.twice import Twice
from spanloom.store.uninterrupted import uninterrupted
from spanloom.store.writer import RunWriter

__all__ = ["RecordHandler"]

OUTLIVED_NS: Final = 100_000_000
"""How old an open event is when it is written: what ends sooner is written once, with its end."""
BEAT_NS: Final = 500_000_000
"""How often a run with open events says that it is there, and how far its batches are."""
MIN_ROWS: Final = 4_096
"""Events in one transaction: some 5 ms, in which other processes wait; and what is lost at most of a file that can grow
no more, beyond what there is no room for."""
MAX_ROWS: Final = 8_192
"""The same of a run that has as many in the file: no more than half of what there was room for is lost then. Jobs that
take very different times end on pages that every transaction writes anew, so it pays to have few of them."""
WAIT_S: Final = 0.25
"""How long another process's write is waited for at a time. Not longer: a flush, an end or a fork may want the file, or
the time, meanwhile. What could not be written is tried again 0.1 s later."""
AGAIN_WAIT_S: Final = 0.02
"""The same from the second time on, and always on the handler's thread with ``durability="event"``: whoever writes has
our own lock, and the event loop may want that."""
TIDY_NS: Final = 200_000_000
"""How long the end of a run is spent on removing others; what is left is for the next run."""
END_WAIT_S: Final = 0.25
"""How long the end of a run waits for another process where a flush before it has used up its time, but was done."""
FORK_WAIT_S: Final = 1.0


_KEEP: Final = Retention()


class RecordHandler(Handler):
    """Write the events of this process to a file, as one run.

    What has ended is in the file at most 100 ms later or, if the disk is slow, as soon as that lets it; what is open
    for longer than that is there as open. Whatever is wrong with the file never touches the work: what could not be
    written is counted as dropped by ``manager.stats()`` and by the readers of the record, and said once in the log.

    A forked child has a run of its own, from its first event on.

    Args:
        path: The file. ``None`` means the environment variable ``SPANLOOM_RECORD``, or else ``.spanloom/runs.db`` in
            the working directory. It is made at the first event.
        payloads: Record what was attached to events, bounded. Otherwise only what spanloom itself attaches is.
        durability: ``"flush"``, or ``"event"`` to have each event in the file before the code that ended it goes on:
            then a ``kill -9`` loses none, and each event costs a transaction on the event loop, some 40 us and more
            where several processes write to one file. What a signal's handler or a finalizer ends in the middle of
            such a transaction is written 0.1 s later.
        keep: Which other runs stay in the file; ``None`` for all.
        name: What the run is called; ``None`` means the name of the script or module.

    Attributes:
        exit_code: Set it before the end of the process to have it recorded.

    Raises:
        ValueError: `durability` is neither ``"flush"`` nor ``"event"``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        payloads: bool = False,
        durability: Literal["flush", "event"] = "flush",
        keep: Retention | None = _KEEP,
        name: str | None = None,
    ) -> None:
        if durability not in {"flush", "event"}:
            raise ValueError(f'durability is "flush" or "event" (got {durability!r})')
        self.exit_code: int | None = None
        self._path = (Path(path) if path is not None else default_path()).absolute()
        self._payloads = payloads
        self._inline = durability == "event"
        self._keep = keep
        self._name = name
        self._views: list[OpenEvents] = []
        if self._inline:
            # Not methods: a hook that is not there costs nothing.
            vars(self).update(on_event_end=self._write_now, on_event=self._write_now)
        self._begin()
        _handlers.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._twice = Twice()
        self._used = False
        self._scanned_ns = 0
        self._beat_ns = 0
        self._flush_until_ns = 0
        self._flushed = True
        self._origin = Origin(self._name)
        self._writer = RunWriter(
            self._path,
            self._origin,
            payloads=self._payloads,
            deep=lambda: any(view.deep for view in self._views),
            account=self._account,
            keep=self._keep,
        )

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._path

    @property
    def run_id(self) -> str:
        """The id of this process's run."""
        return self._writer.run_id

    @property
    def has_begun(self) -> bool:
        """Whether the run is in the file: its first event has been written, or that it has begun."""
        return self._writer.has_begun

    @property
    def lost(self) -> int:
        """Events that were taken and could not be recorded."""
        return self._writer.lost

    @property
    def waiting(self) -> int:
        """Events that were taken and are not yet recorded."""
        return len(self._writer.rows)

    def begin(self) -> None:
        """Write that the run has begun; by default its first event does that."""
        with self._lock:
            self._used = True
            self._tick(WAIT_S, must=True)

    # hooks ------------------------------------------------------------------------------------------

    def attached(self, view: OpenEvents) -> None:
        """Remember where open events can be seen."""
        self._views.append(view)

    def on_events(self, events: Sequence[Event]) -> None:
        """Take ended events."""
        with self._lock:
            rows = self._writer.rows
            if self._inline:
                # Nearly all of them have been written where they ended. Not what a signal's handler or a finalizer has
                # ended while a hook was running in that thread: hooks are not called from within each other.
                events = [event for event in events if self._twice.is_first(event.event_id)]
            rows.take(events)
            self._used = True
            most = min(max(MIN_ROWS, self._writer.written), MAX_ROWS)
            if len(rows) >= most and not self._writer.busy:
                self._writer.write(self._patience_s())

    def on_tick(self) -> bool:
        """Write what has come, and what has been open for a while; return True if some of it still waits."""
        with self._lock:
            self._tick(self._patience_s())
            if self._writer.untidy and not self._writer.busy:
                self._writer.tidy()
            return self._writer.rows.waiting

    def flush(self, timeout: float) -> bool:
        """Write what has come within `timeout` s, and what is open now; return False if that could not be done."""
        self._flush_until_ns = until_ns = deadline_ns(max(0.0, timeout))
        self._flushed = False
        # A bit at a time: the event loop may want the lock, and so may a fork.
        while self._lock.acquire(timeout=left_s(until_ns)):
            try:
                self._flushed = self._tick(min(left_s(until_ns), self._patience_s()), must=True)
                if self._flushed or not self._writer.busy or monotonic_ns() >= until_ns:
                    return self._flushed
            finally:
                self._lock.release()
            time.sleep(0.001)
        return False

    def close(self) -> None:
        """Write the end of the run, in what time is left of the flush before it."""
        until_ns = self._flush_until_ns
        if self._flushed:
            until_ns = max(until_ns, deadline_ns(END_WAIT_S))
        with self._lock:
            writer = self._writer
            if not self._tick(left_s(until_ns), must=True, ended=True):
                writer.abandon()
            elif self._used:
                writer.untidy = self._keep is not None
                tidy_until_ns = monotonic_ns() + TIDY_NS
                while writer.untidy and monotonic_ns() < tidy_until_ns:
                    writer.tidy()
            writer.close()

    def _tick(self, wait_s: float, *, must: bool = False, ended: bool = False) -> bool:
        now = monotonic_ns()
        before_ns = now if must else now - OUTLIVED_NS
        writer = self._writer
        rows = writer.rows
        if writer.is_new:
            writer.is_new = False
            self._scanned_ns = 0
        if must or before_ns - self._scanned_ns >= OUTLIVED_NS:
            for view in self._views:
                rows.take_open(view.between(self._scanned_ns, before_ns))
            # What has just got its start may not be to be seen yet: the youngest are looked at once more.
            self._scanned_ns = now - OUTLIVED_NS
        beat = now - self._beat_ns >= BEAT_NS and bool(rows.open)
        if beat or must:
            rows.take_counts()
        if not (beat or rows.waiting or (self._used and (ended or (must and writer.is_behind)))):
            return True
        self._used = True
        if beat or must:
            self._beat_ns = now
        writer.exit_code = self.exit_code
        return writer.write(wait_s, ended=ended)

    def _patience_s(self) -> float:
        return AGAIN_WAIT_S if self._inline or self._writer.busy else WAIT_S

    def _write_now(self, event: Event) -> None:
        if self._is_mine():
            return  # it ended in the middle of what this thread does here; the handler's thread will bring it
        with uninterrupted(), self._lock:  # rows that were written and not forgotten would be written again
            self._used = True
            if self._twice.is_first(event.event_id):
                self._writer.rows.take((event,))
            # The event loop waits once; then the thread tries, until it gets through.
            if not self._writer.busy:
                self._writer.write(WAIT_S)

    def _is_mine(self) -> bool:
        """Tell whether the calling thread has the lock already."""
        lock: Any = self._lock
        return bool(lock._is_owned())  # noqa: SLF001 -- as threading.Condition asks it; nothing else can tell

    def _account(self) -> tuple[int, int]:
        accounts = [view.account() for view in self._views]
        return sum(produced for produced, _ in accounts), sum(dropped for _, dropped in accounts)

    # forks --------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        # SQLite's connections must not be there in a child, not even unused: it may close them at its end.
        self._held = not self._is_mine() and self._lock.acquire(timeout=FORK_WAIT_S)
        if self._held:
            self._writer.close()

    def _after_fork_in_parent(self) -> None:
        if self._held:
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        if not self._held:
            _inherited.append(self._writer)
        self._begin()


_handlers: weakref.WeakSet[RecordHandler] = weakref.WeakSet()
_inherited: list[RunWriter] = []
"""With connections of a parent process that was writing when it forked; never to be closed."""


def _each(step: str) -> None:
    for handler in list(_handlers):
        getattr(handler, step)()


os.register_at_fork(
    before=lambda: _each("_before_fork"),
    after_in_parent=lambda: _each("_after_fork_in_parent"),
    after_in_child=lambda: _each("_after_fork_in_child"),
)
