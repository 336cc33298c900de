"""Connections that write, and the meaning of SQLite's errors for their owners."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from spanloom.store.schema import check, ended_transaction, migrate

__all__ = ["BUSY", "code_of", "connect", "first_transaction", "identity_of"]

CACHE_KIB: Final = 8_000
"""KiB of SQLite's page cache. Rows are ordered by start, so a job that ran long is inserted among older ones: the pages
of some fifty thousand should be in memory."""
BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""Error codes that mean that another process or connection is writing: they pass."""

_making = threading.Lock()


def _after_fork_in_child() -> None:
    global _making  # noqa: PLW0603 -- whoever held it is not there any more
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def connect(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a file for writing, with all its tables; create it if missing.

    Args:
        path: The file.
        wait_s: Seconds to wait for another process's write.

    Raises:
        StoreError: it is another program's file, or of a newer version.
        OSError, sqlite3.Error: it cannot be opened or written.
    """
    # Resolve a dangling link: SQLite would create its target, readable by all.
    _make(Path(os.path.realpath(path)))
    connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        version = check(connection)  # before any change: it may be another program's file
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB:d}")
        if not version:  # only has an effect in an empty file; in any other it would wait for writers
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def first_transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Do what `transaction` does, but do not sync to disk if it is the first transaction of an empty log.

    SQLite syncs there because a power failure could mix a new log with the remains of an older one
    (https://sqlite.org/src/info/ff5be73dee). An empty log file has no such remains. Either way, a power failure loses
    what was written since the last checkpoint of the log, before which all of it is synced.

    Args:
        connection: From `connect`.
        path: The file.
    """
    log = os.path.realpath(path) + "-wal"
    try:
        if _is_empty(log):
            connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        if not _is_empty(log):  # nobody else can write now, but somebody may have just before
            connection.execute("ROLLBACK")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
        with ended_transaction(connection):
            yield
    finally:
        connection.execute("PRAGMA synchronous = NORMAL")


def _is_empty(path: str) -> bool:
    """Return whether the file exists and is empty."""
    try:
        return os.stat(path).st_size == 0  # noqa: PTH116 -- as in identity_of
    except OSError:
        return False


def _make(path: Path) -> None:
    """Make an empty file if there is none."""
    # One thread at a time: closing the file after another thread has opened it would drop that one's POSIX locks.
    with _making:
        if not path.exists():
            _make_directory(path.parent)
            # Names, command lines and messages are private. SQLite gives its other files the same mode.
            with suppress(FileExistsError):  # another process was faster
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _make_directory(path: Path) -> None:
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        if path.name == ".spanloom":
            # So that users need not keep it out of version control themselves.
            (path / ".gitignore").write_text("*\n", encoding="ascii")


def code_of(error: Exception) -> int:
    """Return SQLite's primary result code; 0 for any other error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file, which differ for another put in its place; ``None`` if there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 -- with every group of results; Path.stat costs three times that
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
