"""Many rows of a kind in one statement: all of them are there, in the order of the table, and as they were."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanloom.events.ids import signed_ids_at
from spanloom.store.connection import connect
from spanloom.store.job_lists import MAX_LISTED, MIN_LISTED, Jobs, Shared
from spanloom.store.statements import FEW, MANY, NO_ID, NO_NUMBER, NO_TEXT, statements_of

BEGAN = 1_000
FIRST = -(1 << 63)
"""The least of all numbers that SQLite knows."""
ALL = (
    "SELECT run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns, end_ns, status, "
    "attempt, busy_ns, is_point, error, payload FROM event"
)


def jobs(count: int, first: int = 0) -> Jobs:
    indexes = list(range(first, first + count))
    random.Random(count).shuffle(indexes)
    made = Jobs()
    made.indexes = indexes
    made.starts_ns = [BEGAN + index for index in indexes]
    made.ends_ns = [BEGAN + index + 9 for index in indexes]
    return made


def found_of(jobs: Jobs, shared: Shared) -> list[tuple[object, ...]]:
    label, trace, batch_id, base_id, ready_ns = shared
    nothing = None, None, 0, None, None
    return [
        (
            3,
            start_ns - BEGAN,
            event_id,
            label,
            trace,
            batch_id,
            batch_id,
            index,
            0 if ready_ns is None else start_ns - ready_ns,
            end_ns - BEGAN,
            "ok",
            *nothing,
        )
        for start_ns, event_id, index, end_ns in zip(
            jobs.starts_ns, signed_ids_at(base_id, jobs.indexes), jobs.indexes, jobs.ends_ns, strict=True
        )
    ]


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return connect(tmp_path / "runs.db", 1.0)


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, MANY - 1, MANY, MANY + 1, MIN_LISTED - 1])
@pytest.mark.parametrize(
    "shared", [Shared(1, 2, 5, 8, BEGAN - 3), Shared(3, 1, FIRST, FIRST, -5), Shared(1, 1, -1, -1, None)]
)
def test_however_many_rows_there_are_each_is_written_once(
    connection: sqlite3.Connection, count: int, shared: Shared
) -> None:
    """Below, at and beyond what one statement takes, every row is in the file, whatever order they came in."""
    with closing(connection):
        statements_of(3, BEGAN)["jobs"].execute(connection, {shared: jobs(count)})
        found = connection.execute(ALL).fetchall()
        assert connection.execute("SELECT count(*) FROM job_list").fetchone() == (0,)
    assert found == sorted(found_of(jobs(count), shared))


def test_the_jobs_of_batches_large_and_small_have_what_is_theirs(connection: sqlite3.Connection) -> None:
    """One transaction has jobs of many batches: what they share is that of their own batch."""
    counts = [1, 3, MIN_LISTED - 1, MANY]
    rows = {
        Shared(at, 7, 100 + at, 9, BEGAN - at): jobs(count, 10_000 * at) for at, count in enumerate(counts)
    }
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
        known = [(start, start - 7, 1, 1, 5, 5, start, 3, start + 9) for start in reversed(range(count))]
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
            Shared(1, 1, 5, 3, 3): jobs(3 * MAX_LISTED - 1),
            Shared(1, 1, 6, 3, 3): jobs(MANY, 20_000),
            Shared(1, 1, 7, 3, 3): jobs(2 * MANY - 1, 30_000),
        }
        statements_of(1, BEGAN)["jobs"].execute(connection, rows)
    assert len([text for text in seen if text.lstrip().startswith("INSERT")]) == 6
