"""The writer: puts the rows of one run into the file, a transaction at a time, and never raises a fault of the file.

Rules.
1. The file is opened when there is something to write. Whatever goes wrong then or later, `write` does not raise: lost
   events are counted in `lost`, and the first fault or loss is logged as a warning. Only the first: a program that runs
   for a week on a full disk must not fill its log, too.
2. A write by another process is waited for as long as the caller has time. Rows are kept for the next attempt, up to
   `MAX_BUSY` events.
3. After a fault that may pass (a full disk, a missing directory or permission), the file is reopened after a second,
   then after two, four, ... up to half a minute. Meanwhile at most `MAX_WAITING` events are kept; beyond that, all that
   wait are dropped.
4. A fault that will not pass (a file of a newer version, of another program, or damaged) ends the recording. The file
   is left as it is, as it may still be of use.
5. A file that was removed or replaced is noticed before the next write. A new one is created, and the run goes on in
   it; what was in the old one is lost.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from spanloom.events.clock import monotonic_ns, wall_ns
from spanloom.exceptions import StoreCorruptError, StoreError, StoreVersionError
from spanloom.store.connection import BUSY, code_of, connect, first_transaction, identity_of
from spanloom.store.origin import Origin
from spanloom.store.retention import Retention, sweep, used
from spanloom.store.rows import Rows
from spanloom.store.schema import transaction
from spanloom.store.statements import SEE_RUN, START_RUN, Statement, statements_of
from spanloom.store.thinning import LOOKED_AT, Thinning

__all__ = ["RunWriter"]

MAX_WAITING: Final = 20_000
"""Ended events kept while the file cannot be written: some 6 MB."""
MAX_BUSY: Final = 100_000
"""The same while another process writes to it, which passes sooner: as many as a drain holds."""
RETRY_NS: Final = 1_000_000_000
MAX_RETRY_NS: Final = 30_000_000_000
TIDY_WAIT_S: Final = 0.05

PAUSE: Final = 16
MIN_PAUSE_BYTES: Final = 64_000
"""Least growth after which a file that is too large, and could not be made smaller, is tidied again; at least a
`PAUSE`-th of its bound."""
THINNED: Final = (
    "the run alone is more than %s may hold, %d bytes: what went well leaves it, the oldest first, and is counted "
    "there, see Retention(max_bytes=)"
)

_PERMANENT: Final = (StoreVersionError, StoreCorruptError)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_logger = logging.getLogger("spanloom.store")


class _RunGoneError(Exception):
    """The run's own row is not in the file any more."""


class RunWriter:
    """Writes one run. Not to be used by two threads at once.

    Args:
        path: The file; created, with its directory, if missing.
        origin: The origin of the run.
        payloads: Whether the user's payloads are recorded.
        deep: Returns whether busy time is measured.
        account: Returns how many ended events were to be recorded, and how many of them were lost on the way here.
        keep: Which other runs stay in the file; ``None`` for all.

    Attributes:
        rows: Takes the events.
        lost: Ended events that were given to `rows` and will never be in the file.
        busy: Whether another process was writing at the last attempt.
    """

    def __init__(
        self,
        path: Path,
        origin: Origin,
        *,
        payloads: bool,
        deep: Callable[[], bool],
        account: Callable[[], tuple[int, int]],
        keep: Retention | None = None,
    ) -> None:
        self.path: Path = path
        self.untidy: bool = keep is not None
        """Whether `tidy` may have something to do."""
        self._keep = keep
        self.rows: Rows = Rows(origin.began_ns, payloads=payloads)
        self.lost: int = 0
        self.busy: bool = False
        self.exit_code: int | None = None
        self._origin = origin
        self._payloads = payloads
        self._deep = deep
        self._account = account
        self._wait_ms = 0
        self._warned = False
        self._told_thinned = False
        self._given_up = False
        self._retry_ns = RETRY_NS
        self._retry_at_ns = 0
        self._connection: sqlite3.Connection | None = None
        self._written = 0
        self._begin_file()

    def _begin_file(self) -> None:
        """Reset all that is known about the file: nothing of the run is in it."""
        self.is_new: bool = True
        """Whether the open events must all be given to `rows` again."""
        self._run: int | None = None
        self._identity: tuple[int, int] | None = None
        self._statements: dict[str, Statement] = {}
        self._events = self._jobs = self._failed = self._cancelled = 0
        self._accounted = (0, 0)
        self.thinning: Thinning = Thinning()
        self._check_at_bytes = None if self._keep is None else self._keep.max_bytes

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._origin.run_id

    @property
    def has_begun(self) -> bool:
        """Whether the run is in the file."""
        return self._run is not None

    @property
    def written(self) -> int:
        """Ended events of the run that are in the file."""
        return self._events

    # writing --------------------------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Whether the file lacks the run, or the current numbers of produced and dropped events."""
        return self._run is None or self._accounted != self._account_now()

    def write(self, wait_s: float, *, ended: bool = False) -> bool:
        """Write what waits, and that the run was seen now. Never raises; returns False if it could not be done.

        Args:
            wait_s: Seconds to wait for another process's write.
            ended: Write the end of the run, too.
        """
        if not self._given_up and (ended or monotonic_ns() >= self._retry_at_ns):  # an end is the last chance
            try:
                self._open(wait_s)
                self._write(ended=ended)
            except _RunGoneError:
                self._gone("has lost its run to someone who deleted it")
            except (sqlite3.Error, OSError, StoreError, ValueError, OverflowError) as error:
                self._failed_with(error)
            else:
                self._retry_ns, self._retry_at_ns = RETRY_NS, 0
                self.busy = False
                return True
        if self._given_up or len(self.rows) > (MAX_BUSY if self.busy else MAX_WAITING):
            self._lose(len(self.rows))
            self.rows.forget()
            self.is_new = not self._given_up
        return False

    def tidy(self) -> None:
        """Do some steps of deleting what need not be kept, enough to keep up with the writing. Never raises."""
        connection, keep = self._connection, self._keep
        if connection is None or keep is None:
            return
        try:
            self._wait(TIDY_WAIT_S)
            # While a list of open events still has one, its end must stay, or it would count as open again. The next
            # write makes the lists exact.
            is_exact = self.rows.open.is_exact
            thinning = self.thinning if is_exact else None
            for _ in range(1 + 2 * self._written // LOOKED_AT):
                self.untidy = sweep(connection, keep, self._run, thinning)
                if not self.untidy:
                    break
            if not is_exact and keep.max_bytes is not None and used(connection) > keep.max_bytes:
                self.untidy = True
            self._written = 0
            if self.thinning.events and not self._told_thinned:
                self._told_thinned = True
                _logger.warning(THINNED, self.path, keep.max_bytes)
            if not self.untidy and keep.max_bytes is not None:
                held, self._check_at_bytes = used(connection), keep.max_bytes
                if held > keep.max_bytes:
                    self._check_at_bytes = held + max(keep.max_bytes // PAUSE, MIN_PAUSE_BYTES)
        except sqlite3.Error as error:
            if code_of(error) not in BUSY:
                self.untidy = False  # not worth more: a real fault will show at the next write

    def abandon(self) -> None:
        """Count what waits as lost, and drop it: there is no further attempt."""
        waiting, why = (
            len(self.rows),
            "another process is writing to it" if self.busy else "it cannot be written",
        )
        self._lose(waiting, f"the last {waiting:,} events of the run are not in {self.path}: {why}")
        self.rows.forget()

    def close(self) -> None:
        """Close the file; it is reopened if more is to be written."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass  # nothing is pending: every transaction has been committed or rolled back

    def _write(self, *, ended: bool) -> None:
        connection, rows = self._connection, self.rows
        assert connection is not None  # noqa: S101 -- _open() has made it or raised
        rows.open.pack(exactly=ended or self.untidy)
        now_wall_ns = wall_ns(monotonic_ns())
        accounted = self._account_now()
        is_first = self._run is None
        with first_transaction(connection, self.path) if is_first else transaction(connection):
            if self._run is None:
                self._run = self._start(connection)
                self._statements = statements_of(self._run, self._origin.began_ns)
            for kind, statement in self._statements.items():
                waiting = getattr(rows, kind)
                if waiting:
                    statement.execute(connection, waiting)
            open_now = len(rows.open)
            events, jobs = self._events + len(rows), self._jobs + rows.job_count
            failed, cancelled = self._failed + rows.failed, self._cancelled + rows.cancelled
            updated = connection.execute(
                SEE_RUN,
                (
                    now_wall_ns,
                    events + open_now,
                    jobs + len(rows.open.jobs),
                    failed,
                    cancelled,
                    open_now,
                    *accounted,
                    now_wall_ns if ended else None,
                    self.exit_code,
                    self._deep(),  # a manager that measures may have been created since
                    self._run,
                ),
            )
            if not updated.rowcount:
                raise _RunGoneError
        self._events, self._jobs, self._failed, self._cancelled = events, jobs, failed, cancelled
        self._accounted = accounted
        self._written += len(rows)
        rows.written()
        if not self.untidy and self._check_at_bytes is not None:
            self.untidy = used(connection) > self._check_at_bytes

    def _account_now(self) -> tuple[int, int]:
        produced, dropped = self._account()
        return produced, dropped + self.lost

    def _start(self, connection: sqlite3.Connection) -> int:
        row = self._origin.row()
        cursor = connection.execute(START_RUN, (*row, row[-1], self._deep(), self._payloads))
        return int(cursor.lastrowid or 0)

    # the file -------------------------------------------------------------------------------------------

    def _open(self, wait_s: float) -> None:
        if self._identity is not None and identity_of(self.path) != self._identity:
            self._gone("was removed or replaced")
        if self._connection is None:
            self._connection = connect(self.path, wait_s)
            self._wait_ms = int(wait_s * 1_000)
            if self._identity is None:
                self._identity = identity_of(self.path)
        self._wait(wait_s)

    def _wait(self, wait_s: float) -> None:
        """Set how long statements wait for another process."""
        wait_ms = int(wait_s * 1_000)
        if self._connection is not None and wait_ms != self._wait_ms:
            self._connection.execute(f"PRAGMA busy_timeout = {wait_ms:d}")
            self._wait_ms = wait_ms

    def _gone(self, how: str) -> None:
        """Begin anew in a new file, and count what was written of the run as lost."""
        self.close()
        self._lose(self._events + len(self.rows), f"{self.path} {how}; the run goes on in a new one")
        self.rows.forget()
        self._begin_file()

    def _failed_with(self, error: Exception) -> None:
        code = code_of(error)
        self.busy = code in BUSY
        if self.busy:
            return
        self.close()
        if isinstance(error, _PERMANENT) or code in _DAMAGED:
            self._given_up = True
            more = "nothing" if self._run is None else "nothing more"
            self._warn(f"{more} is recorded to {self.path}: {error}")
            return
        self._retry_at_ns = monotonic_ns() + self._retry_ns
        self._retry_ns = min(2 * self._retry_ns, MAX_RETRY_NS)
        self._warn(f"cannot record to {self.path}, will try again: {error}")

    def _lose(self, events: int, why: str = "") -> None:
        self.lost += events
        if events:
            self._warn(why or f"{self.path} cannot be written; events are lost")

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(
                "%s. What is lost is counted in the handler's statistics and not logged again", text
            )
