"""Many rows of a kind in one statement: all of them are there, in the order of the table, and as they were."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanloom.store.connection import connect
from spanloom.store.statements import MANY, NO_ID, NO_NUMBER, NO_TEXT, statements_of


def jobs(count: int) -> list[tuple[int, ...]]:
    rows = [(start, start - 7, 1, 1, 5, 5, start, 3, start + 9) for start in range(count)]
    random.Random(count).shuffle(rows)
    return rows


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return connect(tmp_path / "runs.db", 1.0)


@pytest.mark.parametrize("count", [1, MANY - 1, MANY, MANY + 1, 5 * MANY + 3])
def test_however_many_rows_there_are_each_is_written_once(connection: sqlite3.Connection, count: int) -> None:
    """Below, at and beyond what one statement takes, every row is in the file, whatever order they came in."""
    with closing(connection):
        statements_of(3)["jobs"].execute(connection, jobs(count))
        found = connection.execute(
            "SELECT run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns, end_ns, status "
            "FROM event"
        ).fetchall()
    assert found == [(3, *row, "ok") for row in sorted(jobs(count))]


def test_what_a_row_does_not_have_is_null_in_each_row_of_many(connection: sqlite3.Connection) -> None:
    """Details of some hundred jobs: what one of them has is not in its neighbours' rows."""
    nothing = "ok", NO_NUMBER, NO_NUMBER, NO_ID, NO_TEXT
    everything = "error", 1, 2, 3, "{}"
    with closing(connection):
        details = [(*job, *(nothing if job[0] % 3 else everything)) for job in jobs(2 * MANY + 1)]
        statements_of(1)["details"].execute(connection, details)
        found = connection.execute("SELECT start_ns, status, busy_ns, attempt, error, payload FROM event")
        assert found.fetchall() == [
            (start, "ok", None, None, None, None) if start % 3 else (start, *everything)
            for start in range(2 * MANY + 1)
        ]


def test_hundreds_of_rows_take_a_few_statements(connection: sqlite3.Connection) -> None:
    """SQLite lets go of the interpreter at each statement, and the event loop may keep it for milliseconds then."""
    seen: list[str] = []
    with closing(connection):
        connection.set_trace_callback(seen.append)
        statements_of(1)["jobs"].execute(connection, jobs(10 * MANY))
    assert len([text for text in seen if text.lstrip().startswith("INSERT")]) == 10
