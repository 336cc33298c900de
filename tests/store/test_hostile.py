"""Files that are damaged, or made to do harm: a clear error, and nothing of theirs is run."""

from __future__ import annotations

import os
import random
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from spanloom.exceptions import StoreCorruptError, StoreError
from spanloom.store import StoreReader
from spanloom.viewer.otlp import write_otlp
from tests.store.files import change, make_runs, read, record


def read_all(path: Path) -> int:
    with StoreReader(path) as store:
        count = 0
        for run in store.runs():
            store.summary(run)
            count += sum(1 for _ in store.records(run))
        return count


@pytest.mark.parametrize(
    "content",
    [b"hello", b"x" * 10_000, b"SQLite format 3\x00", b"SQLite format 3\x00" + bytes(4_080), b"\x00" * 100],
)
def test_what_is_no_database_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    """A file of anything else is refused with a message that names it."""
    (path := tmp_path / "runs.db").write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"runs\.db"):
        read_all(path)
    assert path.read_bytes() == content


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe to which nobody writes is refused at once."""
    os.mkfifo(path := tmp_path / "runs.db")
    with pytest.raises(StoreCorruptError, match="not a file"):
        StoreReader(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET start_ns = 'soon'",
        "UPDATE event SET end_ns = 1.5",
        "UPDATE event SET status = x'07'",
        "UPDATE event SET payload = x'00ff'",
        "UPDATE event SET payload = '[1, 2]'",
        "UPDATE event SET payload = '{'",
        f"UPDATE event SET payload = '{{\"a\": {'[' * 100_000}{']' * 100_000}}}'",
        "UPDATE event SET job_index = 'first'",
        "UPDATE event SET error = 99",
        "UPDATE event SET label = 99",
        "UPDATE event SET trace = 99",
        "UPDATE label SET name = x'41'",
        "UPDATE label SET name = CAST(x'ff80' AS TEXT)",
        "UPDATE trace SET trace_id = 'not a number'",
        "UPDATE trace SET trace_id = x'01'",
        "UPDATE label SET type = 'batch'",
        "UPDATE run SET pid = 'me'",
        "UPDATE run SET argv = '{}'",
        "UPDATE run SET name = x'41'",
        "UPDATE run SET started_wall_ns = 'x'",
        "UPDATE run SET started_wall_ns = -9223372036854775807",
        "UPDATE run SET run_id = '../x' || char(27) || '[2J'",
        "UPDATE run SET events = 'many'",
        *(
            f"INSERT INTO open_list SELECT id, {number}, {text} FROM run"
            for number, text in (
                ("1", "'['"),
                ("1", "'{}'"),
                ("1", "x'5b5d'"),
                ("'a'", "'[]'"),
                ("1", "'[[1, 2, 1, 1, 7, 7, 0]]'"),
                ("1", "'[[1, \"2\", 1, 1, 7, 7, 0, 0, null]]'"),
                ("1", "'[[1, 99999999999999999999, 1, 1, 7, 7, 0, 0, null]]'"),
                ("1", "'[[1, 2, 99, 1, 7, 7, 0, 0, null]]'"),
            )
        ),
        "UPDATE event SET payload = '{\"a\": \"' || printf('%.*c', 9000000, 'x') || '\"}'",
    ],
)
def test_values_of_a_wrong_type_are_refused(tmp_path: Path, statement: str) -> None:
    """SQLite keeps anything in any column; the reader does not hand it on."""
    make_runs(path := tmp_path / "runs.db", [1])
    assert read_all(path) == 10
    change(path, "PRAGMA foreign_keys = OFF", statement)
    with pytest.raises(StoreCorruptError, match=r"runs\.db is damaged"):
        read_all(path)


def test_large_payloads_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """However much is in them, a reader holds some of it, and gives all of it."""
    make_runs(path := tmp_path / "runs.db", [1], jobs=60)
    change(path, "UPDATE event SET payload = '{\"a\": \"' || printf('%.*c', 2000000, 'x') || '\"}'")
    tracemalloc.start()
    try:
        assert read_all(path) == 60
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_an_event_that_is_there_twice_is_exported_twice(tmp_path: Path) -> None:
    """An id that is not unique ends no export."""
    record(path := tmp_path / "runs.db", "a", "b")
    change(
        path,
        "INSERT INTO event SELECT run, start_ns + 1, event_id, label, trace, parent_id, batch_id, job_index, end_ns, "
        "status, queue_ns, busy_ns, attempt, is_point, error, payload FROM event",
    )
    run, records = read(path)
    lines: list[bytes] = []
    write_otlp(run, records, lines.append)
    assert b"".join(lines).count(b'"spanId"') >= 2


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE event RENAME TO hidden", "CREATE VIEW event AS SELECT * FROM hidden"),
        (
            "ALTER TABLE label RENAME TO hidden",
            "CREATE VIEW label AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT 1 AS run, i AS id, 'job' AS type, load_extension('evil') AS name FROM n",
        ),
        ("ALTER TABLE event ADD COLUMN evil TEXT AS (hex(zeroblob(100000000)))",),
        ("DROP TABLE trace",),
    ],
)
def test_tables_that_are_not_as_we_make_them_are_refused(tmp_path: Path, statements: tuple[str, ...]) -> None:
    """No view of a stranger's is asked, and no column is computed: what could run code is not even prepared."""
    make_runs(path := tmp_path / "runs.db", [1])
    change(path, "DROP VIEW jobs", "DROP VIEW events", "DROP VIEW runs", *statements)
    with pytest.raises(StoreCorruptError, match="not what it should be"):
        StoreReader(path)


def test_what_others_have_added_does_not_matter(tmp_path: Path) -> None:
    """An index, a table or a view of another tool's, or its own copy of our views, leaves a record a record."""
    make_runs(path := tmp_path / "runs.db", [1])
    change(
        path,
        "CREATE INDEX theirs ON event (run, parent_id)",
        "CREATE TABLE their_notes (x)",
        "CREATE VIEW their_view AS SELECT * FROM event",
        "DROP VIEW jobs",
    )
    assert read_all(path) == 10


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_file_gives_an_error_or_records_and_nothing_else(tmp_path: Path, seed: int) -> None:
    """Whatever bytes are wrong, no other exception comes out, and it does not take long."""
    chance = random.Random(seed)
    make_runs(path := tmp_path / "runs.db", [2, 1], jobs=300)
    content = bytearray(path.read_bytes())
    if seed % 3 == 0:
        del content[chance.randrange(len(content)) :]
    for _ in range(chance.choice([1, 10, 300])):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)
    try:
        assert read_all(path) <= 100_000
    except StoreError as error:
        said = str(error)
        if "runs.db" not in said:
            pytest.fail(f"which file is it? {said}")


def test_a_damaged_log_is_taken_as_far_as_it_goes(tmp_path: Path) -> None:
    """A torn end of the write-ahead log, as a power cut leaves it, costs what was in it and no more."""
    record(path := tmp_path / "runs.db", "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE run SET name = 'first'")
        whole = path.with_name("runs.db-wal").stat().st_size
        writer.execute("UPDATE run SET name = 'second'")
        log = path.with_name("runs.db-wal").read_bytes()
        (copy := tmp_path / "copy.db").write_bytes(path.read_bytes())
    copy.with_name("copy.db-wal").write_bytes(log[: (whole + len(log)) // 2])
    run, records = read(copy)
    assert (run.name, len(records)) == ("first", 1)
