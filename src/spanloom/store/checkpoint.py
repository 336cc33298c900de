"""`Checkpoint`: where the results of a batch are kept, so that a second run does only the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from spanloom._numbers import check_number
from spanloom.store.checkpoint_codec import Codec, JsonCodec
from spanloom.store.checkpoint_key import Keys
from spanloom.store.checkpoint_log import CheckpointLog
from spanloom.store.checkpoint_version import Versions

__all__ = ["Checkpoint"]


class Checkpoint:
    """Results of jobs in a file, each stored before it counts as done; to be given to `run_jobs` or `async_map`.

    ::

        results = await async_map(ask, prompts, limit=20, checkpoint=Checkpoint("ask.db"))

    A run that finds the result of an item does not run it: the job appears as ``skipped``, and the stored result takes
    its place. What failed, was cancelled or was running when the process died runs again. A result is filed under the
    key of its item and the version of its function, so a change of the function's code runs all items again.

    One file may serve many batches, at the same time and from several processes, and be a record of runs as well.

    Args:
        path: The SQLite file; made with its folder if it is not there.
        key: What tells an item from all others: a function of the item that returns a string (or another value that
            JSON knows, which NaN is not), or an iterable with a key for each item in order, such as ``key=urls`` where
            the items are coroutines. ``None`` takes the item itself, as JSON; for a ``functools.partial`` its
            arguments.
        version: Names the version of the function's code; ``None`` takes a digest of its bytecode, constants and
            names. That does not see what the function calls: give another version when that has changed. Either way
            the function's module and name count, and the plain values that are bound to it; of a lambda, the code.
        type: What results are read back as, for `msgspec`: a dataclass, a ``Struct``, ``tuple[int, str]``, ...
            ``None`` for plain JSON values.
        codec: Writes and reads results instead of JSON.
        fsync: Have each group of results reach the disk before it counts. By default they are handed to the operating
            system: they survive the death of the process, but the last second or so may be lost with the power.
        grace_s: Seconds that running jobs may take to end after Ctrl-C, 0 or more; no new job starts then, and the
            batch raises ``KeyboardInterrupt`` with the outcomes so far as its ``outcomes``. A second Ctrl-C cancels
            them at once. ``None`` leaves Ctrl-C alone. In other threads than the main one, and where the program
            handles SIGINT itself, it is left alone, too.

    Raises:
        ValueError: `path` or `version` is empty, `type` and `codec` are both given, or `grace_s` is negative.
        TypeError: `key` is neither a function nor an iterable of keys, `codec` has no ``encode`` and ``decode``, or
            `grace_s` is no number.
    """

    __slots__ = ("_codec", "_fsync", "_grace_s", "_key", "_path", "_version")

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        key: Callable[[Any], object] | Iterable[object] | None = None,
        version: str | None = None,
        type: Any = None,
        codec: Codec | None = None,
        fsync: bool = False,
        grace_s: float | None = 10.0,
    ) -> None:
        given: object = key
        if not fspath(path):
            raise ValueError(f"path must name a file, such as 'results.db' (got {path!r})")
        if isinstance(given, (str, bytes)) or not (
            given is None or callable(given) or hasattr(given, "__iter__")
        ):
            raise TypeError(
                f"key must be a function of an item or an iterable of keys, not {given.__class__.__name__}"
            )
        if iscoroutinefunction(key):
            raise TypeError(
                "key must be a plain function, not a coroutine function: it is called before the job starts"
            )
        if version is not None and (not isinstance(version, str) or not version):
            raise ValueError(f"version must be a string that is not empty, or None (got {version!r})")
        if version is not None and not _is_storable(version):
            raise ValueError(f"version must be text that UTF-8 knows: no surrogates (got {version!r})")
        if type is not None and codec is not None:
            raise ValueError("give either type= (for JSON) or codec=, not both")
        if codec is not None and not isinstance(codec, Codec):
            raise TypeError(f"codec must have the methods encode and decode, which {codec!r} has not")
        if grace_s is not None:
            grace_s = check_number(grace_s, "grace_s")
            if not 0 <= grace_s < math.inf:
                raise ValueError(f"grace_s must be at least 0 seconds and finite, or None (got {grace_s!r})")
        self._path = Path(fspath(path))
        self._key = key
        self._version = version
        self._codec: Codec = JsonCodec(type) if codec is None else codec
        self._fsync = fsync
        self._grace_s = (
            None if grace_s is None else float(grace_s)
        )  # a Decimal cannot be added to a loop's time

    def __repr__(self) -> str:
        return f"Checkpoint({str(self._path)!r})"

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    @property
    def grace_s(self) -> float | None:
        """Seconds that running jobs may take to end after Ctrl-C; ``None`` if that is left alone."""
        return self._grace_s

    async def open(self, function: object, total: int | None) -> CheckpointLog:
        """Open the file for one batch; called by the runner.

        Args:
            function: What all items are given to; ``None`` if the items are the jobs themselves.
            total: How many items there are; ``None`` if nobody knows.

        Raises:
            CheckpointError: the file cannot be used.
            ValueError, TypeError: keys or version do not fit the batch.
        """
        log = CheckpointLog(
            self._path,
            self._codec,
            fsync=self._fsync,
            keys=Keys(self._key, total),
            versions=Versions(self._version),
            function=function,
        )
        try:
            await log.opened()
        except BaseException:
            log.abandon()
            raise
        return log


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
