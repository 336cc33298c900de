"""The first transaction of a log does not wait for the disk; every other one is as careful as ever."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from spanloom import CallbackManager
from spanloom.handlers.record import RecordHandler
from spanloom.store import connection as module
from spanloom.store.connection import connect, first_transaction
from tests.store.files import read

OFF, NORMAL = 0, 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with its tables, which nobody has open: its log is gone."""
    made = tmp_path / "runs.db"
    connect(made, 1.0).close()
    return made


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    made = connect(path, 1.0)
    yield made
    made.close()


def care(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA synchronous").fetchone()
    return int(found)


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'own%'")]


def test_the_first_transaction_of_a_log_does_not_wait(path: Path, connection: sqlite3.Connection) -> None:
    """Nothing lies under its log that could be taken for it; from the second one on there may be something."""
    with first_transaction(connection, path):
        assert care(connection) == OFF
        connection.execute("CREATE TABLE own_1 (a)")
    assert care(connection) == NORMAL
    with first_transaction(connection, path):
        assert care(connection) == NORMAL
        connection.execute("CREATE TABLE own_2 (a)")
    assert names(connection) == ["own_1", "own_2"]


def test_a_link_is_followed_to_its_log(path: Path, connection: sqlite3.Connection) -> None:
    """The log lies beside the file itself."""
    link = path.parent / "elsewhere" / "linked.db"
    link.parent.mkdir()
    link.symlink_to(path)
    with first_transaction(connection, link):
        assert care(connection) == OFF


def test_who_was_faster_is_seen(
    path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may write between the look at the log and the lock: then this is not the first transaction."""
    looks = iter([True, False])
    monkeypatch.setattr(module, "_is_empty", lambda _: next(looks))
    with first_transaction(connection, path):
        assert care(connection) == NORMAL
        connection.execute("CREATE TABLE own_1 (a)")
    assert names(connection) == ["own_1"]


def test_without_a_log_each_transaction_waits(path: Path, connection: sqlite3.Connection) -> None:
    """Where SQLite cannot have a log it writes into the file itself, which has to be there after a power failure."""
    connection.execute("PRAGMA journal_mode = DELETE")
    with first_transaction(connection, path):
        assert care(connection) == NORMAL


def test_a_run_begins_with_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the start of a program that waits there; what comes later is written on a thread of its own."""
    paths: list[Path] = []

    def noted(connection: sqlite3.Connection, path: Path) -> AbstractContextManager[None]:
        paths.append(path)
        return first_transaction(connection, path)

    monkeypatch.setattr("spanloom.store.writer.first_transaction", noted)
    with CallbackManager([RecordHandler(path)]) as manager:
        for _ in range(2):
            manager.emit()
            assert manager.flush()
    assert paths == [path]
    assert len(read(path)[1]) == 2


def test_what_fails_is_undone(path: Path, connection: sqlite3.Connection) -> None:
    """All or nothing, and the next transaction waits again."""
    with pytest.raises(ZeroDivisionError), first_transaction(connection, path):
        connection.execute("CREATE TABLE own_1 (a)")
        raise ZeroDivisionError
    assert (names(connection), care(connection), connection.in_transaction) == ([], NORMAL, False)
