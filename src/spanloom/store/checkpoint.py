"""`Checkpoint`: a file that keeps the results of a batch, so that a second run does only the rest."""

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
    """Keep results of jobs in a file, each stored before it counts as done. Pass it to `run_jobs` or `async_map`.

    ::

        results = await async_map(ask, prompts, limit=20, checkpoint=Checkpoint("ask.db"))

    An item whose result is stored is not run again: its job has the status ``skipped``, and the stored result takes
    its place. What failed, was cancelled or was running when the process died runs again. A result is stored under
    the key of its item and the version of its function, so a change of the function's code runs all items again.

    One file may serve many batches, at the same time and from several processes, and be a record of runs as well.

    Args:
        path: The SQLite file; created, with its folder, if missing.
        key: Identifies an item: a function of the item that returns a string or another JSON value (not NaN), or an
            iterable with a key for each item in order, such as ``key=urls`` where the items are coroutines. ``None``
            takes the item itself, as JSON; for a ``functools.partial`` its arguments.
        version: Name of the version of the function's code; ``None`` takes a digest of its bytecode, constants and
            names. That does not cover the functions it calls: give another version when those have changed. Either
            way the function's module and name count, the plain values bound to it, and the code of a lambda.
        type: Type to read results back as, for `msgspec`: a dataclass, a ``Struct``, ``tuple[int, str]``, ...
            ``None`` for plain JSON values.
        codec: Writes and reads results instead of JSON.
        fsync: Have each group of results reach the disk before it counts. By default they are handed to the operating
            system: they survive the death of the process, but a power failure may lose the last second or so.
        grace_s: Seconds that running jobs have to end after Ctrl-C, 0 or more. No new job starts then, and the batch
            raises ``KeyboardInterrupt`` with the outcomes so far as its ``outcomes``; a second Ctrl-C cancels the
            jobs at once. ``None`` leaves Ctrl-C alone, as do threads other than the main one, and programs with a
            SIGINT handler of their own.

    Raises:
        ValueError: `path` or `version` is empty, `version` is not a str or has surrogates, `type` and `codec` are both
            given, or `grace_s` is negative or not finite.
        TypeError: `key` is neither a plain function nor an iterable of keys, `codec` has no ``encode`` and ``decode``,
            or `grace_s` is not a number.
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
        """Path of the file."""
        return self._path

    @property
    def grace_s(self) -> float | None:
        """Seconds that running jobs have to end after Ctrl-C; ``None`` if Ctrl-C is left alone."""
        return self._grace_s

    async def open(self, function: object, total: int | None) -> CheckpointLog:
        """Open the file for one batch; called by the runner.

        Args:
            function: Called with every item; ``None`` if the items are the jobs themselves.
            total: How many items there are; ``None`` if unknown.

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
