"""Connections that write, and what the errors of SQLite mean for who has one."""

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
"""Of pages, in SQLite's own memory: jobs that ran for a while belong among those that started with them, and fifty
thousand of these should be at hand."""
BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""Codes of errors that say that another process, or another connection, is writing: it will be over."""

_making = threading.Lock()


def _after_fork_in_child() -> None:
    global _making  # noqa: PLW0603 -- whoever held it is not there any more
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def connect(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a file for writing, made if it is not there, with all its tables.

    Args:
        path: The file.
        wait_s: How long another process's write is waited for.

    Raises:
        StoreError: it cannot be a record: another program's, or of a newer version.
        OSError, sqlite3.Error: it cannot be opened or written.
    """
    # Of a link that leads nowhere, what it leads to: SQLite would make that, readable by all.
    _make(Path(os.path.realpath(path)))
    connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        version = check(connection)  # before anything is changed: it may be another program's
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB:d}")
        if not version:  # works in an empty file only, and waits in any other for whoever writes
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
    """Write in the block as in a `transaction`, and do not wait for the disk if it is the first one of a log.

    SQLite waits there, for an older log may lie under the new one, of which a power failure could leave parts of both
    (https://sqlite.org/src/info/ff5be73dee). In an empty file there is no older one. A power failure takes what has
    been written since the log was last copied into the file either way, and before that all of it is on the disk.

    Args:
        connection: What `connect` has returned.
        path: The file.
    """
    log = os.path.realpath(path) + "-wal"
    try:
        if _is_empty(log):
            connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        if not _is_empty(log):  # from here on nobody else writes; somebody may have done so just before
            connection.execute("ROLLBACK")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
        with ended_transaction(connection):
            yield
    finally:
        connection.execute("PRAGMA synchronous = NORMAL")


def _is_empty(path: str) -> bool:
    """Tell whether there is a file, and nothing in it."""
    try:
        return os.stat(path).st_size == 0  # noqa: PTH116 -- as in identity_of
    except OSError:
        return False


def _make(path: Path) -> None:
    """Make an empty file if there is none."""
    # Two threads at once: to close the file after the other one has opened it would drop the locks of that one.
    with _making:
        if not path.exists():
            _make_directory(path.parent)
            # Names, command lines and messages are the user's own business. SQLite gives its other files the same mode.
            with suppress(FileExistsError):  # another process was faster
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _make_directory(path: Path) -> None:
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        if path.name == ".spanloom":
            # Nobody wants it under version control, and so nobody has to say so.
            (path / ".gitignore").write_text("*\n", encoding="ascii")


def code_of(error: Exception) -> int:
    """Return SQLite's code, without what it adds to tell special cases apart; 0 for an error of another kind."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another that is put in its place; ``None`` if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 -- with every group of results; Path.stat costs three times that
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
