"""The statements that put rows into the file. ``{run}`` is the number of the run: one value less to bind.

To bind ``None`` takes the sqlite3 module six times as long as a number, so rows have words of their own for it, which
``nullif`` turns into NULL.
"""

from __future__ import annotations

import sqlite3
from itertools import chain
from operator import itemgetter
from typing import Any, Final

__all__ = ["NO_ID", "NO_NUMBER", "NO_TEXT", "NO_TIME", "SEE_RUN", "START_RUN", "Statement", "statements_of"]

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
"""Rows that one statement puts into the file. SQLite before 3.32 takes no more than 999 values, and rows have 14."""

_start_ns: Final = itemgetter(0)


class Statement:
    """What puts rows of one kind into the file.

    Args:
        text: With ``{run}`` for the number of the run, and ending in what one row is, if there are many.
        run: That number.
        many: Whether there are many rows, each of which begins with what the table is in the order of.
    """

    def __init__(self, text: str, run: int, *, many: bool) -> None:
        self._one: str = text.format(run=run)
        self._many = ""
        if many:
            into, _, values = self._one.partition("VALUES ")
            self._many = f"{into}VALUES {', '.join([values] * MANY)}"
            self._marks = MANY * values.count("?")

    def execute(self, connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:  # Any: see `Rows`
        """Put in `rows`, in whatever order is fast.

        A statement for each row would let go of the GIL at each row, and get it back when the event loop pleases; and
        to begin and end it takes as long as what it does.
        """
        if not self._many:
            connection.executemany(self._one, rows)
            return
        # Those of jobs that took long lie among thousands of others: neighbours go to the same pages.
        ordered = sorted(rows, key=_start_ns)
        whole = len(ordered) - len(ordered) % MANY
        values, marks = list(chain.from_iterable(ordered[:whole])), self._marks
        connection.executemany(self._many, (values[at : at + marks] for at in range(0, len(values), marks)))
        connection.executemany(self._one, ordered[whole:])


# In the order in which they are executed: what is referred to comes first. What was written as open may be there again
# when it has ended, and then in full.
STATEMENTS: Final = {
    "labels": "INSERT INTO label (run, id, type, name) VALUES ({run}, ?, ?, ?)",
    "traces": "INSERT INTO trace (run, id, trace_id, root_id) VALUES ({run}, ?, ?, ?)",
    "stacks": "INSERT INTO stack (run, id, frames) VALUES ({run}, ?, ?)",
    "errors": "INSERT INTO error (run, id, type, message, stack) VALUES ({run}, ?, ?, ?, ?)",
    "opened": "INSERT OR IGNORE INTO " + _EVENT,
    "open_lists": "INSERT OR IGNORE INTO open_list (run, id, events) VALUES ({run}, ?, ?)",
    "closed_lists": "DELETE FROM open_list WHERE run = {run} AND id = ?",
    "jobs": """
INSERT OR REPLACE INTO event (run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns,
                              end_ns, status)
VALUES ({run}, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ok')""",
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
"""By the name of the list in `Rows` whose rows they are for."""

OF_MANY: Final = frozenset({"jobs", "details"})
"""Those that have many rows, which come as they end."""


def statements_of(run: int) -> dict[str, Statement]:
    """Return what puts rows of the run into the file, by the name of the list in `Rows`, in the order of execution."""
    return {kind: Statement(text, run, many=kind in OF_MANY) for kind, text in STATEMENTS.items()}
