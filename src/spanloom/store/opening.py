"""Open a record for reading without changing it, also while others have it open, or after its writer died.

A file in WAL mode is read together with its ``-wal``, which needs an index, ``-shm``, that all connections share.

* The ``-wal`` is missing or empty: nobody is writing, and the file is read as it is (``immutable``). An ordinary
  connection would create both files and leave them. A writer that comes meanwhile is noticed, before or after each
  statement, and the file is opened anew.
* There is a ``-wal``: it is read with the index that is there, or that SQLite makes beside it.
* The index can neither be used nor made (a copy on a read-only disk, somebody else's directory): the file and its
  ``-wal`` are copied to a temporary directory, and again when they have changed, but not too often.

Only SQLite ever opens the file itself. Closing any other descriptor of it would drop all locks that this process has on
it, also those of a writer in this process; the next process to close the file would then delete that writer's ``-wal``
("How To Corrupt An SQLite Database File", 2.2).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from spanloom.exceptions import StoreCorruptError, StoreError, StoreNotFoundError
from spanloom.store.schema import MIGRATIONS, check

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

__all__ = ["Opened"]

WAIT_S: Final = 2.0
"""Seconds to wait for a checkpoint or a recovery by another process."""
COPY_S: Final = 0.5
"""Least seconds for which a copy is used: short enough to watch a running run."""
COPY_SHARE: Final = 10
"""The same as a multiple of the time that making the copy took; the longer of the two counts."""
MAX_VALUE: Final = 8_000_000
"""Bytes of one value: far above anything that is written, far below what would hurt."""
_NOT_READ: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY})
"""Codes of faults of the place, not of the file."""

Stamp = tuple[int, int, int]
"""Inode, time of the last change, size."""
State = tuple[Stamp | None, Stamp | None]
"""Stamps of the file and of its ``-wal``; ``None`` for a missing one."""


class Opened:
    """A read-only connection, with what has to be cleaned up after it.

    Args:
        path: The file.

    Attributes:
        version: Schema version of the file; 0 if there is nothing in it. Who writes to it may bring it up to date while
            it is read: as of the last `fetch`, or `look_again`.

    Raises:
        StoreError: it cannot be read; see its subclasses.
    """

    def __init__(self, path: Path) -> None:
        self.version: int = 0
        self._path = path
        # SQLite keeps it beside the file, not beside a link to the file.
        try:
            self._wal = Path(f"{os.path.realpath(path)}-wal")
        except ValueError as error:
            raise StoreNotFoundError(f"there can be no file {str(path)!r}: {error}") from None
        self._copy: TemporaryDirectory[str] | None = None
        self._connection: sqlite3.Connection | None = None
        self._state: State | None = None
        self._copied: State | None = None
        self._copy_until = 0.0
        self._renew()

    def fetch(
        self, statement: str, parameters: Sequence[object] = (), *, max_bytes: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows that `statement` finds.

        Args:
            statement: An SQL query.
            parameters: Values for its question marks.
            max_bytes: Stop after the row at which the last columns have reached so many bytes together; ``None`` for
                all rows.

        Raises:
            StoreError: they cannot be read.
        """
        while True:
            if (self._state is not None and self._state != self._look_around()) or self._is_outdated():
                self._renew()
            try:
                self._look_for_version()
                found = self._connected().execute(statement, parameters)
                rows = found.fetchall() if max_bytes is None else _some(found, max_bytes)
            except (sqlite3.Error, UnicodeError) as error:
                if self._state is None or self._state == self._look_around():
                    raise StoreCorruptError(f"{self._path} is damaged: {error}") from error
            else:
                if self._state is None or self._state == self._look_around():
                    return rows

    def look_again(self) -> None:
        """See which version the file has now.

        Raises:
            StoreError: it cannot be read.
        """
        self.fetch("SELECT 1")

    def close(self) -> None:
        """Close the connection; remove the copy, if one was needed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._copy is not None:
            self._copy.cleanup()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"the reader of {self._path} was closed")
        return self._connection

    def _look_around(self) -> State:
        """Return the state of the files, which changes when somebody opens the record to write, or has written."""
        return _stamp(self._path), _stamp(self._wal)

    def _look_for_version(self) -> None:
        """Take note that who writes to a file of an older version has brought it up to date."""
        if self.version < len(MIGRATIONS):
            connection = self._connected()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != self.version:
                self.version = self._look(connection)

    def _is_outdated(self) -> bool:
        """Return whether a copy is read, the original has changed, and the copy has been used long enough."""
        return (
            self._copied is not None
            and time.monotonic() >= self._copy_until
            and self._copied != self._look_around()
        )

    def _renew(self) -> None:
        path = self._path
        self.close()
        try:
            _require_file(path)
            self._connection = self._connect()
            self.version = self._look(self._connection)
        except StoreError:
            self.close()
            raise
        except FileNotFoundError:
            raise StoreNotFoundError(
                f"there is no record at {path}; `spanloom run SCRIPT` makes one, `--file PATH` names another"
            ) from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
        except (sqlite3.Error, UnicodeError) as error:
            self.close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _NOT_READ:
                why = error if os.access(path, os.R_OK) else os.strerror(errno.EACCES)
                raise StoreError(f"{path} cannot be read: {why}") from None
            what = (
                "not a record: not an SQLite file"
                if code == sqlite3.SQLITE_NOTADB
                else f"damaged or no record: {error}"
            )
            raise StoreCorruptError(f"{path} is {what}") from None

    def _connect(self) -> sqlite3.Connection:
        state, self._copied = self._look_around(), None
        if not (state[1] and state[1][2]):
            self._state = state
            return _open(self._path, "mode=ro&immutable=1")
        self._state = None
        connection = _open(self._path, "mode=ro")
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF not in _NOT_READ:
                raise
            return self._connect_to_copy()
        return connection

    def _connect_to_copy(self) -> sqlite3.Connection:
        from shutil import copyfile  # both load much, and few readers need them
        from tempfile import TemporaryDirectory

        if self._copy is not None:
            self._copy.cleanup()
        self._copy = copy = TemporaryDirectory(prefix="spanloom-")
        there = Path(copy.name) / "runs.db"
        began = time.monotonic()
        before, log_before = self._look_around()
        with (
            closing(_open(self._path, "mode=ro&immutable=1")) as pages,
            closing(sqlite3.connect(there)) as copied,
        ):
            pages.backup(copied)
        try:
            copyfile(self._wal, there.with_name(there.name + "-wal"))  # SQLite takes no locks on it
        except FileNotFoundError:
            return self._connect()  # the writer has moved it into the file and closed it
        if _stamp(self._path) != before:
            return self._connect()  # part of the log, which may have restarted, was moved meanwhile
        self._copied = before, log_before
        self._copy_until = (now := time.monotonic()) + max(COPY_S, COPY_SHARE * (now - began))
        return _open(there, "mode=rw")

    def _look(self, connection: sqlite3.Connection) -> int:
        path = self._path
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        try:
            version = check(connection)
        except StoreError as error:
            raise type(error)(f"{path}: {error}") from None
        if version:
            found = dict(
                connection.execute("SELECT name, sql FROM sqlite_schema WHERE type IN ('table', 'view')")
            )
            for name, sql in _schema(version).items():
                # Neither a view in place of a table nor computed columns: what we read must be data.
                if found.get(name) != sql:
                    raise StoreCorruptError(
                        f"{path} is damaged or was changed: its {name} is not what it should be"
                    )
        return version


@cache
def _schema(version: int) -> dict[str, str]:
    """Return the SQL of the tables of a file of that version, by name, as SQLite keeps it."""
    connection = sqlite3.connect(":memory:")
    try:
        for step in MIGRATIONS[:version]:
            for statement in step:
                connection.execute(statement)
        return dict(
            connection.execute(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        )
    finally:
        connection.close()


def _open(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None, check_same_thread=False)


def _some(found: sqlite3.Cursor, max_bytes: int) -> list[tuple[Any, ...]]:
    rows, size = [], 0
    for row in found:
        rows.append(row)
        if row[-1] is not None:
            size += len(row[-1]) if isinstance(row[-1], str | bytes) else 0
            if size >= max_bytes:
                found.close()
                break
    return rows


def _require_file(path: Path) -> None:
    """Raise unless `path` is a regular file: opening a pipe would block until somebody writes to it."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise StoreNotFoundError(f"{path} is a directory; give the file in it, such as {path / 'runs.db'}")
    if not stat.S_ISREG(mode):
        raise StoreCorruptError(f"{path} is not a record: not a file")


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
