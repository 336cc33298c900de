"""Which runs are kept, and how the others are deleted: in small steps, so that nobody waits long.

A run to be deleted is first marked, which hides it from readers, and then emptied piece by piece, by any writer. Freed
pages are given back to the file system.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

import msgspec

from spanloom._numbers import check_number
from spanloom.store.process import is_alive
from spanloom.store.schema import transaction
from spanloom.store.thinning import Thinning

__all__ = ["Retention", "sweep", "used"]

SLICE: Final = 5_000
"""Rows deleted in one transaction: some 10 ms."""
LIST_ROWS: Final = 100
"""Rows that take as long to delete as one list of jobs."""
PAGES: Final = 1_000
"""Pages given back in one transaction: some 10 ms."""
COUNTING_S: Final = 0.25
"""Most seconds spent on adding up the sizes of checkpoints' results."""
ELSEWHERE_S: Final = 86_400
"""Seconds of silence after which a run of another machine counts as over."""

_TABLES: Final = ("event", "job_list", "open_list", "thinned", "batch", "error", "stack", "trace", "label")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Which ended runs a record keeps. Running ones are always kept.

    Attributes:
        max_runs: Most runs in the file; the oldest are deleted. ``None`` for no bound.
        max_age_s: Seconds after which a run that was last heard of is deleted; ``None`` for no bound.
        max_bytes: Size of the file, not counting results of checkpoints in it. The oldest runs are deleted until it is
            small enough. If the running run alone is larger, its events that ended well are removed, the oldest first,
            and counted. ``None`` for no bound.

    Raises:
        ValueError: a number is below 1, or NaN.
        TypeError: a value is not a number.
    """

    max_runs: int | None = 200
    max_age_s: float | None = None
    max_bytes: int | None = 1 << 30

    def __post_init__(self) -> None:
        for what in self.__struct_fields__:
            value = getattr(self, what)
            if value is not None and not check_number(value, what) >= 1:
                raise ValueError(f"{what} must be at least 1, or None for no bound (got {value})")


def sweep(
    connection: sqlite3.Connection,
    keep: Retention,
    own: int | None = None,
    thinning: Thinning | None = None,
) -> bool:
    """Do one step of the deletion; return False if nothing was left to do.

    Args:
        connection: To the file.
        keep: Which runs stay.
        own: The caller's run, which stays even after its end was written.
        thinning: Progress of thinning that run; ``None`` not to thin it, however large it is.

    Raises:
        sqlite3.Error: it could not be done now.
    """
    expired = connection.execute("SELECT id FROM run WHERE expired LIMIT 1").fetchone()
    if expired is not None:
        _empty(connection, expired[0])
        return True
    run = _surplus(connection, keep, own)
    if run is not None:
        with transaction(connection):
            connection.execute("UPDATE run SET expired = 1 WHERE id = ?", (run,))
        return True
    if (
        thinning is not None  # no other run is left to delete
        and own is not None
        and keep.max_bytes is not None
        and _is_larger(connection, keep.max_bytes)
        and thinning.step(connection, own)
    ):
        return True
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if not free or mode != 2:  # 2 is incremental, as we create files; somebody may have changed it
        return False
    connection.execute(f"PRAGMA incremental_vacuum({PAGES:d})").fetchall()
    return True


def _surplus(connection: sqlite3.Connection, keep: Retention, own: int | None) -> int | None:
    """Return the oldest run to be deleted; ``None`` without one."""
    runs = connection.execute(
        "SELECT id, pid, machine, process, ended_wall_ns, seen_wall_ns FROM run ORDER BY started_wall_ns, id"
    ).fetchall()
    now = time.time_ns()
    too_many = keep.max_runs is not None and len(runs) > keep.max_runs
    too_large = keep.max_bytes is not None and _is_larger(connection, keep.max_bytes)
    for run, pid, machine, process, ended, seen in runs:
        last_seen_s = (now - max(ended or 0, seen)) / 1e9
        too_old = keep.max_age_s is not None and last_seen_s > keep.max_age_s
        if run == own or not (too_many or too_large or too_old):
            continue
        if ended is None:
            alive = is_alive(pid, machine, process)
            if alive or (alive is None and last_seen_s < ELSEWHERE_S):
                continue
        return int(run)
    return None


def _is_larger(connection: sqlite3.Connection, max_bytes: int) -> bool:
    """Return whether runs take more than `max_bytes`, not counting results of checkpoints, which are never deleted."""
    excess = used(connection) - max_bytes
    if excess <= 0:
        return False
    until = time.monotonic() + COUNTING_S
    connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    try:
        (results,) = connection.execute(
            "SELECT coalesce(sum(length(CAST(value AS BLOB))), 0) FROM results"
        ).fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return False  # too many to add up: it is the results that make the file large
    finally:
        connection.set_progress_handler(None, 0)
    return bool(results < excess)


def used(connection: sqlite3.Connection) -> int:
    """Return the bytes of the pages in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {what}").fetchone()[0]
        for what in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _empty(connection: sqlite3.Connection, run: int) -> None:
    """Delete about `SLICE` rows of `run`, and the run itself with its last rows."""
    left = SLICE
    with transaction(connection):
        for table in _TABLES:
            weight = LIST_ROWS if table == "job_list" else 1
            left -= weight * _delete(connection, table, run, -(-left // weight))
            if left <= 0:
                return
        connection.execute("DELETE FROM run WHERE id = ?", (run,))


def _delete(connection: sqlite3.Connection, table: str, run: int, count: int) -> int:
    # The second column of each primary key orders the rows of a run, so the deleted rows are neighbours.
    key = {"event": "start_ns", "batch": "batch_id", "thinned": "label"}.get(table, "id")
    last = connection.execute(
        f"SELECT {key} FROM {table} WHERE run = ? ORDER BY {key} LIMIT 1 OFFSET ?",  # noqa: S608 -- our own names
        (run, count - 1),
    ).fetchone()
    where = "" if last is None else f"AND {key} <= ?"
    deleted = connection.execute(
        f"DELETE FROM {table} WHERE run = ? {where}",  # noqa: S608 -- our own names
        (run, *(last or ())),
    )
    return deleted.rowcount
