"""The statements that put rows into the file. ``{run}`` is the number of the run: one value less to bind.

To bind ``None`` takes the sqlite3 module six times as long as a number, so rows have words of their own for it, which
``nullif`` turns into NULL.
"""

from __future__ import annotations

from typing import Final

__all__ = ["IN_ORDER", "NO_ID", "NO_NUMBER", "NO_TEXT", "NO_TIME", "SEE_RUN", "START_RUN", "STATEMENTS"]

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

IN_ORDER: Final = frozenset({"jobs", "details"})
"""Those whose rows are written in the order of the table's key: there are many of them, and they come as they end."""
