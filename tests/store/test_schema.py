"""The file: what it says of itself, how it is brought up to date, and whose it is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from spanloom.exceptions import StoreCorruptError, StoreVersionError
from spanloom.store import StoreReader, schema
from spanloom.store.connection import connect
from tests.store.files import change, read, record


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    """Other programs can tell a record by its application id and its version; it is in WAL mode and can shrink."""
    record(path := tmp_path / "runs.db", "a")
    with closing(sqlite3.connect(path)) as connection:
        found = [
            connection.execute(f"PRAGMA {what}").fetchone()[0]
            for what in ("application_id", "user_version", "journal_mode", "auto_vacuum")
        ]
        assert found == [0x73706C6D, len(schema.MIGRATIONS), "wal", 2]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """A new file, which holds names and messages, has mode 0600, whatever the umask."""
    record(path := tmp_path / "runs.db", "a")
    assert path.stat().st_mode & 0o777 == 0o600


def test_where_a_link_leads_only_its_owner_may_read(tmp_path: Path) -> None:
    """A link that leads nowhere yet makes the file that it leads to no less private."""
    (link := tmp_path / "link.db").symlink_to(tmp_path / "data" / "runs.db")
    record(link, "a")
    assert (tmp_path / "data" / "runs.db").stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()


def test_the_views_show_names_and_hexadecimal_ids(tmp_path: Path) -> None:
    """People who read with other tools find names, dates and W3C ids, no numbers of rows."""
    run_id = record(path := tmp_path / "runs.db", "a")
    run, (found,) = read(path)
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(
            "SELECT run_id, type, name, event_id, parent_id, trace_id, status FROM events"
        ).fetchone()
        assert row == (run_id, "step", "a", f"{found.event_id:016x}", None, f"{found.trace_id:032x}", "ok")
        assert connection.execute("SELECT run_id, name, events FROM runs").fetchone() == (run_id, run.name, 1)


def test_the_views_find_what_belongs_together_by_keys(tmp_path: Path) -> None:
    """A view of a million events looks each name up: nothing but the events themselves is gone through."""
    record(path := tmp_path / "runs.db", "a")
    with closing(sqlite3.connect(path)) as connection:
        for view in ("events", "jobs"):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {view}")]
            ended, of_lists, of_open = " | ".join(plan).split("UNION ALL")
            assert ended.count("SCAN") == ended.count("SCAN event") == 1, plan
            assert of_lists.count("SCAN") == 2, plan  # the lists, and what is in each
            assert of_lists.count("SCAN list") == 1, plan
            assert not any(f"SCAN {table}" in of_open for table in ("event |", "ended", "list")), plan
            assert all(
                "PRIMARY KEY" in step or "INTEGER" in step for step in plan if step.startswith("SEARCH")
            ), plan


def test_an_older_file_is_brought_up_to_date_and_keeps_what_it_has(tmp_path: Path) -> None:
    """The steps that a file has not been through are done, in order, and no others."""
    record(path := tmp_path / "runs.db", "a")
    steps = (
        *schema.MIGRATIONS,
        ("ALTER TABLE run ADD COLUMN colour TEXT",),
        ("UPDATE run SET colour = 'red'",),
    )
    with closing(connect(path, 1.0)) as connection:
        schema.migrate(connection, steps)
        schema.migrate(connection, steps)
        assert schema.check(connection, steps) == len(steps)
        assert connection.execute("SELECT colour, events FROM run").fetchall() == [("red", 1)]


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    """All steps are done or none: a file is never between two versions."""
    record(path := tmp_path / "runs.db", "a")
    steps = (*schema.MIGRATIONS, ("ALTER TABLE run ADD COLUMN colour TEXT", "SELECT * FROM nowhere"))
    with closing(connect(path, 1.0)) as connection:
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(connection, steps)
        assert schema.check(connection) == len(schema.MIGRATIONS)
        assert "colour" not in {column[1] for column in connection.execute("PRAGMA table_info(run)")}


def test_many_processes_make_one_file_at_once(tmp_path: Path) -> None:
    """Whoever comes first makes the tables, and the others wait for that."""
    program = (
        "import sys; from pathlib import Path; from spanloom.store.connection import connect\n"
        "sys.stdin.readline(); connect(Path(sys.argv[1]), 20.0).close()"
    )
    path = tmp_path / "runs.db"
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE) for _ in range(6)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
    assert [process.returncode for process in started] == [0] * 6
    with closing(sqlite3.connect(path)) as connection:
        assert schema.check(connection) == len(schema.MIGRATIONS)


def test_a_file_of_a_newer_version_is_named_as_such(tmp_path: Path) -> None:
    """Neither a reader nor a writer touches what it does not know; the message says what to do."""
    record(path := tmp_path / "runs.db", "a")
    change(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match=r"runs\.db.*newer version.*99.*upgrade spanloom"):
        StoreReader(path)
    before = path.read_bytes()
    with pytest.raises(StoreVersionError):
        connect(path, 1.0)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 5", "PRAGMA user_version = 3"]
)
def test_the_database_of_another_program_is_left_alone(tmp_path: Path, statement: str) -> None:
    """What is not a record is neither read nor turned into one, not even into WAL mode."""
    path = tmp_path / "theirs.db"
    change(path, statement)
    before = path.read_bytes()
    with pytest.raises(StoreCorruptError, match="not a record"):
        StoreReader(path)
    with pytest.raises(StoreCorruptError, match="not a record"):
        connect(path, 1.0)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["theirs.db"]
