"""`RecordHandler`: a run in a file, readable while it runs, after its end, and after a ``kill -9``.

All work is done on the handler's own thread. Nothing is called when a job starts or ends, unless
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
"""Age at which an open event is written; one that ends sooner is written once, with its end."""
BEAT_NS: Final = 500_000_000
"""Interval at which a run with open events writes that it is alive, and the numbers of its batches."""
MIN_ROWS: Final = 4_096
"""Events in one transaction: some 5 ms, in which other processes wait. When the disk is full, at most so many are lost
besides those that there is no room for."""
MAX_ROWS: Final = 8_192
"""The same for a run that has as many in the file: at most half of what there was room for is lost then. Jobs of very
different durations touch pages that every transaction rewrites, so fewer transactions are cheaper."""
WAIT_S: Final = 0.25
"""Seconds to wait for another process's write at a time. No longer, as a flush, an end or a fork may need the file or
the time. What could not be written is tried again 0.1 s later."""
AGAIN_WAIT_S: Final = 0.02
"""The same from the second attempt on, and always on the handler's thread with ``durability="event"``: a write holds
our own lock, which the event loop may need."""
TIDY_NS: Final = 200_000_000
"""Time that the end of a run spends on deleting others; the next run does the rest."""
END_WAIT_S: Final = 0.25
"""Least seconds that the end of a run waits for another process after a successful flush that has used up its time."""
FORK_WAIT_S: Final = 1.0
"""Seconds that a fork waits for a write."""


_KEEP: Final = Retention()


class RecordHandler(Handler):
    """Write the events of this process to a file, as one run.

    An ended event is in the file at most 100 ms later, or as soon as a slow disk allows; one that is open for longer
    is there as open. Faults of the file never affect the work: events that could not be written are counted as dropped
    by ``manager.stats()`` and by the readers of the record, and the first loss is logged.

    A forked child has a run of its own, from its first event on.

    Args:
        path: The file. ``None`` means the environment variable ``SPANLOOM_RECORD``, or else ``.spanloom/runs.db`` in
            the working directory. Created at the first event.
        payloads: Record the payloads of events, bounded. Otherwise only the keys that spanloom itself writes.
        durability: ``"flush"``, or ``"event"`` to have each event in the file before the code that ended it goes on.
            A ``kill -9`` then loses none, and each event costs a transaction on the event loop: some 40 us, more if
            several processes write to one file. An event that a signal handler or a finalizer ends during such a
            transaction is written 0.1 s later.
        keep: Which other runs stay in the file; ``None`` for all.
        name: Name of the run; ``None`` means that of the script or module.

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
            # Not methods of the class: a hook that does not exist costs nothing.
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
        """Whether the run is in the file."""
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
        """Write the start of the run now, not with its first event."""
        with self._lock:
            self._used = True
            self._tick(WAIT_S, must=True)

    # hooks ------------------------------------------------------------------------------------------

    def attached(self, view: OpenEvents) -> None:
        """Remember the view of a manager's open events."""
        self._views.append(view)

    def on_events(self, events: Sequence[Event]) -> None:
        """Take ended events."""
        with self._lock:
            rows = self._writer.rows
            if self._inline:
                # Nearly all were written where they ended. Not those that a signal handler or a finalizer ended while
                # a hook was running in that thread, as hooks are not called from within each other.
                events = [event for event in events if self._twice.is_first(event.event_id)]
            rows.take(events)
            self._used = True
            most = min(max(MIN_ROWS, self._writer.written), MAX_ROWS)
            if len(rows) >= most and not self._writer.busy:
                self._writer.write(self._patience_s())

    def on_tick(self) -> bool:
        """Write ended events, and those open for a while; return True if some still wait."""
        with self._lock:
            self._tick(self._patience_s())
            if self._writer.untidy and not self._writer.busy:
                self._writer.tidy()
            return self._writer.rows.waiting

    def flush(self, timeout: float) -> bool:
        """Write all ended and open events within `timeout` s; return False if that could not be done."""
        self._flush_until_ns = until_ns = deadline_ns(max(0.0, timeout))
        self._flushed = False
        # In short turns: the event loop or a fork may need the lock.
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
        """Write the end of the run, in the time that the last flush has left."""
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
            # An event that has just started may not be visible yet: the youngest are scanned once more.
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
            return  # it ended during a write of this thread; the handler's thread will write it
        with uninterrupted(), self._lock:  # an exception before the rows are dropped would repeat them
            self._used = True
            if self._twice.is_first(event.event_id):
                self._writer.rows.take((event,))
            # The event loop waits once; after that only the handler's thread tries, until it succeeds.
            if not self._writer.busy:
                self._writer.write(WAIT_S)

    def _is_mine(self) -> bool:
        """Return whether the calling thread holds the lock."""
        lock: Any = self._lock
        return bool(lock._is_owned())  # noqa: SLF001 -- as threading.Condition does; there is no public way

    def _account(self) -> tuple[int, int]:
        accounts = [view.account() for view in self._views]
        return sum(produced for produced, _ in accounts), sum(dropped for _, dropped in accounts)

    # forks --------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        # A child must not inherit SQLite's connections, not even unused: it may close them at its end.
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
"""Writers with connections of a parent process that was writing when it forked; never to be closed."""


def _each(step: str) -> None:
    for handler in list(_handlers):
        getattr(handler, step)()


os.register_at_fork(
    before=lambda: _each("_before_fork"),
    after_in_parent=lambda: _each("_after_fork_in_parent"),
    after_in_child=lambda: _each("_after_fork_in_child"),
)
