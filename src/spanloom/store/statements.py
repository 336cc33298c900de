"""The statements that write rows. ``{run}`` is the number of the run: one value less to bind.

Binding ``None`` takes the sqlite3 module six times as long as binding a number, so rows have placeholders for it,
which ``nullif`` turns into NULL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final, Protocol

from spanloom.store.job_lists import JobStatement

__all__ = [
    "NO_ID",
    "NO_NUMBER",
    "NO_TEXT",
    "NO_TIME",
    "SEE_RUN",
    "START_RUN",
    "Statement",
    "statements_of",
]

NO_NUMBER: Final = -1
NO_ID: Final = 0
NO_TIME: Final = -(1 << 63)
NO_TEXT: Final = ""

START_RUN: Final = """
INSERT INTO run (run_id, name, argv, cwd, host, pid, machine, process, python, version,
                 started_wall_ns, seen_wall_ns, deep, payloads)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
SEE_RUN: Final = """
UPDATE run SET seen_wall_ns = ?, events = ?, jobs = ?, failed = ?, cancelled = ?, open = ?, produced = ?, dropped = ?,
               ended_wall_ns = ?, exit_code = ?, deep = max(deep, ?)
WHERE id = ?"""

_EVENT: Final = """
event (run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns,
       end_ns, status, attempt, is_point, error, payload)
VALUES ({run}, ?, ?, ?, ?, nullif(?, 0), nullif(?, 0), nullif(?, -1), nullif(?, -1),
        nullif(?, -9223372036854775808), nullif(?, ''), nullif(?, -1), ?, nullif(?, 0), nullif(?, ''))"""

MANY: Final = 64
"""Rows that one statement writes. SQLite before 3.32 takes no more than 999 values, and rows have up to 14."""
FEW: Final = 8
"""Most left-over rows that are written one by one; more are padded to `MANY` rows."""

_start_ns: Final = itemgetter(0)


class Statement(Protocol):
    """Writes rows of one kind."""

    def execute(self, connection: sqlite3.Connection, rows: Any) -> None:  # Any: see `Rows`
        """Write `rows`, in whatever order is fast."""


class OneStatement:
    """Writes kinds with few rows, one by one.

    Args:
        text: SQL, with ``{run}`` for the number of the run.
        run: That number.
    """

    def __init__(self, text: str, run: int) -> None:
        self._text = text.format(run=run)

    def execute(self, connection: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> None:
        """Write `rows`."""
        connection.executemany(self._text, rows)


class ManyStatement:
    """Writes kinds with many rows, whose first column is the start, by which the table is ordered.

    One statement per row would release the GIL at every row, and get it back only when the event loop yields it; and
    starting and ending a statement takes as long as its work.

    Args:
        text: SQL, with ``{run}`` for the number of the run, ending in ``VALUES`` and one row.
        run: That number.
    """

    def __init__(self, text: str, run: int) -> None:
        self._one = text.format(run=run)
        into, _, values = self._one.partition("VALUES ")
        self._many = f"{into}VALUES {', '.join([values] * MANY)}"

    def execute(self, connection: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> None:
        """Write `rows` in order of start."""
        ordered = sorted(rows, key=_start_ns)
        left_over = len(ordered) % MANY
        whole = len(ordered) - (left_over if left_over <= FEW else 0)
        _execute_many(connection, self._many, MANY, ordered[:whole])
        connection.executemany(self._one, ordered[whole:])


def _execute_many(
    connection: sqlite3.Connection, text: str, many: int, rows: Sequence[Sequence[Any]]
) -> None:
    """Execute a statement that takes `many` rows until all are written, repeating the last row as padding.

    The repeats do no harm: the row has a key, so each one replaces the row that is there, or is ignored.
    """
    if rows:
        values = chain(chain.from_iterable(rows), chain.from_iterable(repeat(rows[-1], -len(rows) % many)))
        connection.executemany(text, zip(*[values] * (many * len(rows[0])), strict=True))


JOBS: Final = """
INSERT OR IGNORE INTO event (run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns,
                             end_ns, status)
VALUES ({run}, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ok')"""
"""Such a job cannot have a row already: one that was written as open has a payload, and so a detail. OR REPLACE would
make SQLite ready to undo the statement, with a copy of each page that it changes."""

# In order of execution: referenced rows come first. An event that was written as open is written again, in full, when
# it has ended.
STATEMENTS: Final = {
    "labels": "INSERT INTO label (run, id, type, name) VALUES ({run}, ?, ?, ?)",
    "traces": "INSERT INTO trace (run, id, trace_id, root_id) VALUES ({run}, ?, ?, ?)",
    "stacks": "INSERT INTO stack (run, id, frames) VALUES ({run}, ?, ?)",
    "errors": "INSERT INTO error (run, id, type, message, stack) VALUES ({run}, ?, ?, ?, ?)",
    "opened": "INSERT OR IGNORE INTO " + _EVENT,
    "open_lists": "INSERT OR IGNORE INTO open_list (run, id, events) VALUES ({run}, ?, ?)",
    "closed_lists": "DELETE FROM open_list WHERE run = {run} AND id = ?",
    "jobs": JOBS,
    "details": """
INSERT OR REPLACE INTO event (run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns,
                              end_ns, status, busy_ns, attempt, error, payload)
VALUES ({run}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, -1), nullif(?, -1), nullif(?, 0),
        nullif(?, ''))""",
    "events": "INSERT OR REPLACE INTO " + _EVENT,
    "batches": """
INSERT OR REPLACE INTO batch (run, batch_id, name, total, started, in_flight, failed, cancelled, backing_off, retried,
                              skipped)
VALUES ({run}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
}
"""SQL by the name of the attribute of `Rows` whose rows it writes."""


def statements_of(run: int, began_ns: int) -> dict[str, Statement]:
    """Return the statements of a run by the name of the attribute of `Rows`, in order of execution.

    Args:
        run: The number of the run.
        began_ns: Its start, on the clock of the events.
    """
    statements: dict[str, Statement] = {kind: OneStatement(text, run) for kind, text in STATEMENTS.items()}
    # These kinds have many rows.
    return {
        **statements,
        "jobs": JobStatement(run, began_ns, ManyStatement(JOBS, run)),
        "details": ManyStatement(STATEMENTS["details"], run),
    }
