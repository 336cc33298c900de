"""Many rows of a kind in one statement: all of them are there, in the order of the table, and as they were."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanloom.store.connection import connect
from spanloom.store.statements import (
    ALIKE,
    FEW,
    MANY,
    MANY_ALIKE,
    NO_ID,
    NO_NUMBER,
    NO_TEXT,
    JobRow,
    Shared,
    statements_of,
)

BEGAN = 1_000
FIRST = -(1 << 63)
"""The least of all numbers that SQLite knows."""
ALL = (
    "SELECT run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns, end_ns, status, "
    "attempt, busy_ns, is_point, error, payload FROM event"
)


def jobs(count: int, first: int = 0) -> list[JobRow]:
    rows = [(BEGAN + start, start - 7, start, BEGAN + start + 9) for start in range(first, first + count)]
    random.Random(count).shuffle(rows)
    return rows


def found_of(rows: list[JobRow], shared: Shared) -> list[tuple[object, ...]]:
    label, trace, batch_id, ready_ns = shared
    queued = {row: 0 if ready_ns is None else row[0] - ready_ns for row in rows}
    nothing = None, None, 0, None, None
    return [
        (
            3,
            row[0] - BEGAN,
            row[1],
            label,
            trace,
            batch_id,
            batch_id,
            row[2],
            queued[row],
            row[3] - BEGAN,
            "ok",
            *nothing,
        )
        for row in rows
    ]


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return connect(tmp_path / "runs.db", 1.0)


@pytest.mark.parametrize(
    "count", [1, FEW, FEW + 1, MANY - 1, MANY, MANY + 1, ALIKE - 1, ALIKE, ALIKE + 1, 5 * MANY_ALIKE + 3]
)
@pytest.mark.parametrize(
    "shared", [Shared(1, 2, 5, BEGAN - 3), Shared(3, 1, FIRST, -5), Shared(1, 1, -1, None)]
)
def test_however_many_rows_there_are_each_is_written_once(
    connection: sqlite3.Connection, count: int, shared: Shared
) -> None:
    """Below, at and beyond what one statement takes, every row is in the file, whatever order they came in."""
    with closing(connection):
        statements_of(3, BEGAN)["jobs"].execute(connection, {shared: jobs(count)})
        found = connection.execute(ALL).fetchall()
    assert found == sorted(found_of(jobs(count), shared))


def test_the_jobs_of_batches_large_and_small_have_what_is_theirs(connection: sqlite3.Connection) -> None:
    """One transaction has jobs of many batches: what they share is that of their own batch."""
    counts = [1, ALIKE + 1, 3, ALIKE, 2 * MANY_ALIKE, MANY]
    rows = {Shared(at, 7, 100 + at, BEGAN - at): jobs(count, 10_000 * at) for at, count in enumerate(counts)}
    with closing(connection):
        statements_of(3, BEGAN)["jobs"].execute(connection, rows)
        found = connection.execute(ALL).fetchall()
    assert found == sorted(row for shared, own in rows.items() for row in found_of(own, shared))


@pytest.mark.parametrize("count", [FEW, 2 * MANY + 1, 2 * MANY + FEW + 1])
def test_what_a_row_does_not_have_is_null_in_each_row_of_many(
    connection: sqlite3.Connection, count: int
) -> None:
    """Details of some hundred jobs: what one of them has is not in its neighbours' rows."""
    nothing = "ok", NO_NUMBER, NO_NUMBER, NO_ID, NO_TEXT
    everything = "error", 1, 2, 3, "{}"
    with closing(connection):
        known = [(start, event_id, 1, 1, 5, 5, index, 3, end) for start, event_id, index, end in jobs(count)]
        details = [(*job, *(nothing if job[6] % 3 else everything)) for job in known]
        statements_of(1, BEGAN)["details"].execute(connection, details)
        found = connection.execute("SELECT job_index, status, busy_ns, attempt, error, payload FROM event")
        assert found.fetchall() == [
            (index, "ok", None, None, None, None) if index % 3 else (index, *everything)
            for index in range(count)
        ]


def test_hundreds_of_rows_take_a_few_statements(connection: sqlite3.Connection) -> None:
    """SQLite lets go of the interpreter at each statement, and the event loop may keep it for milliseconds then."""
    seen: list[str] = []
    with closing(connection):
        connection.set_trace_callback(seen.append)
        rows = {
            Shared(1, 1, 5, 3): jobs(10 * MANY_ALIKE - 1),
            Shared(1, 1, 6, 3): jobs(MANY, 10_000),
            Shared(1, 1, 7, 3): jobs(2 * MANY - 1, 20_000),
        }
        statements_of(1, BEGAN)["jobs"].execute(connection, rows)
    assert len([text for text in seen if text.lstrip().startswith("INSERT")]) == 13
