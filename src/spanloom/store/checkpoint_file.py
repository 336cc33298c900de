"""The file as the checkpoint's own thread uses it: find results, and store a group of them at once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from spanloom.exceptions import CheckpointError, StoreError
from spanloom.store.connection import BUSY, code_of, connect, identity_of
from spanloom.store.schema import transaction

__all__ = ["CheckpointFile", "Row"]

BUSY_S: Final = 30.0
"""Seconds to wait for another process that writes to the file; a process of ours holds it for milliseconds."""
BUSY_SLICE_S: Final = 0.05
"""Seconds of that in one go. Between slices, a stop or a fork is noticed."""
BREAK_S: Final = 0.001
"""Seconds between two slices in which others may take the lock: Python's locks are not fair."""
FORK_WAIT_S: Final = 1.0
"""Seconds that a fork waits for a transaction."""
ASKED_AT_ONCE: Final = 500
"""Keys in one query; SQLite before 3.32 takes no more than 999 parameters."""

REPLACED: Final = "it was removed or replaced while the batch ran"

Row = tuple[tuple[str, str], bytes, str | None, str | bytes]
"""Identity of the function, digest and text of the key, and the result as the codec wrote it."""

T = TypeVar("T")


class CheckpointFile:
    """One open file, used by one thread.

    It is closed before a fork and reopened at the next use. SQLite's locks do not survive a fork: a child would take
    the parent's for its own, and closing any file would drop those that it takes.

    Args:
        path: The file; created, with its folder, if missing.
        codec: Name of the codec, noted in the file.
        fsync: Have each group of results reach the disk, not only the operating system.

    Raises:
        CheckpointError: it cannot be opened, is not a file of ours, or comes from a newer version.
    """

    def __init__(self, path: Path, codec: str, *, fsync: bool) -> None:
        self._path = path
        self._codec = codec
        self._fsync = fsync
        self._ids: dict[tuple[str, str], int] = {}
        self._identity: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._held = False
        self._until: float | None = None
        with _registering:
            _files[self] = None
        try:
            self._patiently(bool)
        except Exception as error:  # a path that no system can have is a ValueError, for one
            self.close()
            raise self._failure("opened", error) from error

    def hurry(self, seconds: float) -> None:
        """From now on, wait at most `seconds` more for other processes. Safe from any thread."""
        self._until = time.monotonic() + seconds

    def find(self, function: tuple[str, str], digests: Sequence[bytes]) -> dict[bytes, str | bytes]:
        """Return the stored results by digest; missing ones are left out. Does not wait for writers.

        Raises:
            CheckpointError: the file cannot be read.
        """
        try:
            return self._patiently(lambda connection: self._find(connection, function, digests))
        except (OSError, sqlite3.Error, StoreError) as error:
            raise self._failure("read", error) from error

    def has_only_others(self, function: tuple[str, str]) -> bool:
        """Return whether the file has results of a function, but only of other versions.

        Raises:
            CheckpointError: the file cannot be read.
        """
        try:
            return self._patiently(
                lambda connection: (
                    self._id_of(connection, function) is None
                    and connection.execute(
                        "SELECT 1 FROM checkpoints WHERE function = ? LIMIT 1", function[:1]
                    ).fetchone()
                    is not None
                )
            )
        except (OSError, sqlite3.Error, StoreError) as error:
            raise self._failure("read", error) from error

    def store(self, rows: Sequence[Row]) -> None:
        """Store results, all or none of them. A key that has a result keeps it.

        Raises:
            CheckpointError: they are not stored.
        """
        try:
            self._patiently(lambda connection: self._store(connection, rows))
        except (OSError, sqlite3.Error, StoreError) as error:
            raise self._failure("written", error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            _files.pop(self, None)
            self._let_go()

    # with the lock ------------------------------------------------------------------------------------

    def _patiently(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Call `act` with the open connection; retry for up to `BUSY_S` while another process writes."""
        began = time.monotonic()
        while True:
            try:
                with self._lock:
                    return act(self._connection or self._open())
            except sqlite3.OperationalError as error:
                now, until = time.monotonic(), self._until
                if code_of(error) not in BUSY:
                    raise
                if now - began >= BUSY_S or (until is not None and now >= until):
                    error.args = (f"{error}: another process has been writing to it for {now - began:.1f} s",)
                    raise
            time.sleep(BREAK_S)

    def _open(self) -> sqlite3.Connection:
        if self._identity is not None and identity_of(self._path) != self._identity:
            raise FileNotFoundError(REPLACED)
        connection = connect(self._path, BUSY_SLICE_S)
        try:
            if self._fsync:
                connection.execute("PRAGMA synchronous = FULL")
            self._identity = identity_of(self._path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        except sqlite3.Error:
            pass  # every group has been committed; whoever opens the file next finishes SQLite's clean-up

    def _find(
        self, connection: sqlite3.Connection, function: tuple[str, str], digests: Sequence[bytes]
    ) -> dict[bytes, str | bytes]:
        found: dict[bytes, str | bytes] = {}
        checkpoint = self._id_of(connection, function)
        if checkpoint is None:
            return found
        for start in range(0, len(digests), ASKED_AT_ONCE):
            some = digests[start : start + ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            found.update(
                connection.execute(
                    f"SELECT digest, value FROM results WHERE checkpoint = ? AND digest IN ({marks})",  # noqa: S608 -- question marks
                    (checkpoint, *some),
                )
            )
        return found

    def _store(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        now = time.time_ns()
        with transaction(connection):
            keyed = [(self._made_id_of(connection, function), *rest, now) for function, *rest in rows]
            connection.executemany(
                "INSERT INTO results (checkpoint, digest, key, value, stored_wall_ns) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                keyed,
            )
        if identity_of(self._path) != self._identity:
            raise FileNotFoundError(REPLACED)

    def _id_of(self, connection: sqlite3.Connection, function: tuple[str, str]) -> int | None:
        """Return the id of a function and its version in the file; ``None`` if the file does not have it."""
        known = self._ids.get(function)
        if known is not None:
            return known
        row = connection.execute(
            "SELECT id, codec FROM checkpoints WHERE function = ? AND version = ?", function
        ).fetchone()
        if row is None:
            return None
        if row[1] != self._codec:
            raise CheckpointError(
                f"the checkpoint {self._path} holds results of {function[0]} written by the codec {row[1]!r}, "
                f"and this one has {self._codec!r}; give the same codec, or another version="
            )
        self._ids[function] = found = int(row[0])
        return found

    def _made_id_of(self, connection: sqlite3.Connection, function: tuple[str, str]) -> int:
        found = self._id_of(connection, function)
        if found is not None:
            return found
        made = connection.execute(
            "INSERT INTO checkpoints (function, version, codec, created_wall_ns) VALUES (?, ?, ?, ?)",
            (*function, self._codec, time.time_ns()),
        )
        return int(made.lastrowid or 0)

    def _failure(self, what: str, error: Exception) -> CheckpointError:
        return CheckpointError(f"the checkpoint {self._path} cannot be {what}: {error}")

    # forks --------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Close the connection, and keep the lock until the fork is over."""
        self._held = self._lock.acquire(timeout=FORK_WAIT_S)
        if self._held:
            self._let_go()

    def after_fork_in_parent(self) -> None:
        """Release the lock."""
        if self._held:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Drop the connection, which is the parent's: the thread that used it does not exist here."""
        if not self._held:
            _inherited.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()


_files: dict[CheckpointFile, None] = {}
_registering = threading.Lock()
"""Held over a fork, so that nobody opens a file between the hooks and the fork."""
_inherited: list[sqlite3.Connection | None] = []
"""Connections of a parent process that was writing when it forked; never to be closed."""


def _before_fork() -> None:
    _registering.acquire()
    for file in list(_files):
        file.before_fork()


def _after_fork_in_parent() -> None:
    for file in list(_files):
        file.after_fork_in_parent()
    _registering.release()


def _after_fork_in_child() -> None:
    for file in list(_files):
        file.after_fork_in_child()
    _files.clear()
    _registering.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
