"""What the checkpoint's own thread does with the file: look for results, and store some of them at once."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from spanloom.exceptions import CheckpointError, StoreError
from spanloom.store.schema import transaction
from spanloom.store.writer import connect

__all__ = ["CheckpointFile", "Row"]

BUSY_S: Final = 30.0
"""How long to wait for another process that writes to the file; one of ours holds it for milliseconds."""
ASKED_AT_ONCE: Final = 500
"""Keys in one query; SQLite before 3.32 takes no more than 999 parameters."""

Row = tuple[tuple[str, str], bytes, str | None, str | bytes]
"""Identity of the function, digest and text of the key, and the result as the codec wrote it."""


class CheckpointFile:
    """One open file, used by one thread.

    Args:
        path: Where it is; made if it is not there, with its folder.
        codec: What results are written by, as the file is to say.
        fsync: Have each group of results reach the disk, and not only the operating system.

    Raises:
        CheckpointError: it cannot be opened, is no file of ours, or comes from a newer version.
    """

    def __init__(self, path: Path, codec: str, *, fsync: bool) -> None:
        self._path = path
        self._codec = codec
        self._ids: dict[tuple[str, str], int] = {}
        try:
            self._connection = connect(path, BUSY_S)
        except (OSError, sqlite3.Error, StoreError) as error:
            raise self._failure("opened", error) from error
        try:
            if fsync:
                self._connection.execute("PRAGMA synchronous = FULL")
            self._identity = self._stat()
        except (OSError, sqlite3.Error) as error:
            self._connection.close()
            raise self._failure("opened", error) from error

    def find(self, function: tuple[str, str], digests: Sequence[bytes]) -> dict[bytes, str | bytes]:
        """Return the results that are stored under some of the digests; waits for nobody who writes.

        Raises:
            CheckpointError: the file cannot be read.
        """
        found: dict[bytes, str | bytes] = {}
        try:
            checkpoint = self._id_of(function)
            if checkpoint is None:
                return found
            for start in range(0, len(digests), ASKED_AT_ONCE):
                some = digests[start : start + ASKED_AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(
                    self._connection.execute(
                        f"SELECT digest, value FROM results WHERE checkpoint = ? AND digest IN ({marks})",  # noqa: S608 -- question marks
                        (checkpoint, *some),
                    )
                )
        except sqlite3.Error as error:
            raise self._failure("read", error) from error
        return found

    def store(self, rows: Sequence[Row]) -> None:
        """Store results, all or none of them; the first result of a key stays.

        Raises:
            CheckpointError: they are not stored.
        """
        now = time.time_ns()
        connection = self._connection
        try:
            with transaction(connection):
                keyed = [(self._made_id_of(function), *rest, now) for function, *rest in rows]
                connection.executemany(
                    "INSERT INTO results (checkpoint, digest, key, value, stored_wall_ns) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT DO NOTHING",
                    keyed,
                )
            if self._stat() != self._identity:
                raise FileNotFoundError("it was removed or replaced while the batch ran")
        except (OSError, sqlite3.Error) as error:
            raise self._failure("written", error) from error

    def close(self) -> None:
        """Close the file; what has been stored is stored."""
        try:
            self._connection.close()
        except (
            sqlite3.Error
        ):  # pragma: no cover -- a checkpoint of the log that fails is made by the next to open it
            pass

    def _id_of(self, function: tuple[str, str]) -> int | None:
        """Return what stands for a function and its version in the file, if it has been there."""
        known = self._ids.get(function)
        if known is not None:
            return known
        row = self._connection.execute(
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

    def _made_id_of(self, function: tuple[str, str]) -> int:
        found = self._id_of(function)
        if found is not None:
            return found
        made = self._connection.execute(
            "INSERT INTO checkpoints (function, version, codec, created_wall_ns) VALUES (?, ?, ?, ?)",
            (*function, self._codec, time.time_ns()),
        )
        return int(made.lastrowid or 0)

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- with every group of results; Path.stat costs three times that
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _failure(self, what: str, error: Exception) -> CheckpointError:
        said = str(error)
        if isinstance(error, sqlite3.OperationalError) and "locked" in said:
            said += f": another process has been writing to it for {BUSY_S:g} s"
        return CheckpointError(f"the checkpoint {self._path} cannot be {what}: {said}")
