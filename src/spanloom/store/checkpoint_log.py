"""The results of one batch on their way to the file: the runner's requests, and the thread that answers them.

A job asks for its result to be stored, and waits. The thread takes all waiting requests, writes them in one
transaction, and notifies the loop once. While one group is being committed the next one gathers, so a busier batch has
larger groups. The result of a job that is cancelled while it waits is stored all the same, before the batch raises,
and the next run finds it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Iterable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal, cast

import msgspec

from spanloom.events.clock import monotonic_ns
from spanloom.exceptions import CheckpointError
from spanloom.store.checkpoint_codec import Codec, stored_form
from spanloom.store.checkpoint_file import CheckpointFile, Row
from spanloom.store.checkpoint_key import Keys
from spanloom.store.checkpoint_version import Versions

__all__ = ["CheckpointLog"]

GROUP: Final = 250
"""Requests answered at once. Waking that many jobs takes some 2 ms of the loop, garbage collection not included."""
HOLD_NS: Final = 1_000_000
"""Nanoseconds of encoding or decoding after which the loop's thread may have the GIL. The interpreter's own interval,
5 ms, would make too long a pause together with the loop's work on the answers."""
STOP_S: Final = 2.0
"""Seconds that the end of a batch waits for another process that writes to the file."""

WAYS_OUT: Final = (KeyboardInterrupt, SystemExit)
"""Exceptions of a codec that end the program; raised unchanged where the result was awaited."""

MAX_TOLD: Final = 1_000
"""Warnings of one kind in a process."""

_logger = logging.getLogger("spanloom.store")
_told: set[tuple[Path, str]] = set()
"""Files and functions for which the warning of `_tell_unseen` was logged."""


class _Key(msgspec.Struct, frozen=True, gc=False):
    """The key under which a result is stored."""

    function: tuple[str, str]
    digest: bytes
    text: str | None


class _Breath:
    """Yields the GIL to the loop's thread every `HOLD_NS`; call it after each piece of work."""

    def __init__(self) -> None:
        self._due_ns = monotonic_ns() + HOLD_NS

    def __call__(self) -> None:
        if monotonic_ns() > self._due_ns:
            time.sleep(0)
            self._due_ns = monotonic_ns() + HOLD_NS


class _Request(msgspec.Struct, eq=False, gc=False):  # it is in no reference cycle
    kind: Literal["find", "store"]
    future: asyncio.Future[Any]
    keys: Sequence[_Key]
    value: object = None


_Answer = tuple["asyncio.Future[Any]", object, "BaseException | None"]


class CheckpointLog:
    """The checkpoint as one batch uses it. Made by `Checkpoint.open`; used on the loop's thread.

    Args:
        path: The file.
        codec: Writes and reads results.
        fsync: See `CheckpointFile`.
        keys: The keys of the batch's items.
        versions: The identities of functions.
        function: Called with every item; ``None`` if each item is a job with a function of its own.
    """

    def __init__(
        self, path: Path, codec: Codec, *, fsync: bool, keys: Keys, versions: Versions, function: object
    ) -> None:
        self._path, self._codec, self._fsync = path, codec, fsync
        self._keys, self._versions = keys, versions
        self._function = None if function is None else versions.of_function(function)
        self._unseen = None if function is None else versions.unseen(function)
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._looked_for: set[tuple[str, str]] = set()
        self._file: CheckpointFile | None = None
        self._failure: CheckpointError | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a loop that is never run again must not keep the process alive. No job has been told yet that
        # the results lost then were stored.
        threading.Thread(target=self._serve, name="spanloom-checkpoint", daemon=True).start()

    async def opened(self) -> None:
        """Wait until the file is open.

        Raises:
            CheckpointError: it cannot be opened.
        """
        await self._opened

    def key_of(self, item: object) -> object:
        """Return the key of the next item.

        Raises:
            TypeError, ValueError: it has no key, or that of an earlier item; see `Keys`.
        """
        digest, text = self._keys.next(item)
        return _Key(self._function or self._versions.of_job(item), digest, text)

    def find(self, keys: Sequence[Any]) -> Awaitable[list[tuple[object] | None]]:
        """Return for each key, in order, a 1-tuple of the stored result, or ``None``.

        Raises:
            CheckpointError: the file cannot be read, or a result not by this codec.
        """
        return self._ask("find", keys)

    def store(self, key: Any, value: object) -> Awaitable[None]:
        """Wait until the result is committed. A cancel does not undo the request.

        Raises:
            CheckpointCodecError: the codec cannot store it.
            CheckpointError: the file cannot be written. All later requests fail, too.
        """
        return self._ask("store", (key,), value)

    async def close(self) -> None:
        """Wait until all requests are answered and the file is closed; a cancel is raised after that.

        Another process that writes to the file is waited for at most `STOP_S` more. All jobs have ended by now, so
        nobody is waiting for the results: those that are lost are counted in the log.
        """
        if self._file is not None:
            self._file.hurry(STOP_S)
        self._requests.put(None)
        cancelled: asyncio.CancelledError | None = None
        while not self._closed.done():
            try:
                await asyncio.shield(self._closed)
            except asyncio.CancelledError as error:
                cancelled = error
        try:
            if cancelled is not None:
                raise cancelled
        finally:
            cancelled = None

    def abandon(self) -> None:
        """Request that the file be closed, without waiting: for where nothing can be awaited."""
        self._requests.put(None)

    def _ask(
        self, kind: Literal["find", "store"], keys: Sequence[_Key], value: object = None
    ) -> asyncio.Future[Any]:
        # Not a coroutine: the garbage collector traverses every waiting one, and holds the loop meanwhile.
        future = self._loop.create_future()
        self._requests.put(_Request(kind, future, keys, value))
        return future

    # on the thread ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            file = CheckpointFile(self._path, _name_of(self._codec), fsync=self._fsync)
        except CheckpointError as error:
            self._tell([(self._opened, None, error), (self._closed, None, None)])
            return
        self._file = file
        self._tell([(self._opened, None, None)])
        try:
            going_on = True
            while going_on:
                requests = self._take()
                going_on = requests[-1] is not None
                self._tell(self._answers(file, [request for request in requests if request is not None]))
        finally:
            file.close()
            self._tell([(self._closed, None, None)])

    def _take(self) -> list[_Request | None]:
        """Wait for a request; return it and the next ones that are there. ``None`` as the last: no more will come."""
        requests = [self._requests.get()]
        try:
            while requests[-1] is not None and len(requests) < GROUP:
                requests.append(self._requests.get_nowait())
        except Empty:
            pass
        return requests

    def _answers(self, file: CheckpointFile, requests: Sequence[_Request]) -> list[_Answer]:
        try:
            return self._answer(file, requests)
        except BaseException as error:  # noqa: BLE001 -- out of memory, say: the waiting jobs must get it
            self._failure = CheckpointError(f"the checkpoint {self._path} cannot be used: {error!r:.200}")
            self._failure.__cause__ = error
            return [
                (request.future, None, _with_value(_again(self._failure), request)) for request in requests
            ]

    def _answer(self, file: CheckpointFile, requests: Iterable[_Request]) -> list[_Answer]:
        answers: list[_Answer] = []
        rows: list[Row] = []
        writing: list[_Request] = []
        breathe = _Breath()
        for request in requests:
            breathe()
            try:
                if self._failure is not None:
                    raise _again(self._failure)
                if request.kind == "find":
                    answers.append((request.future, self._found(file, request.keys), None))
                else:
                    key = request.keys[0]
                    rows.append((key.function, key.digest, key.text, stored_form(self._codec, request.value)))
                    writing.append(request)
            except CheckpointError as error:
                answers.append((request.future, None, _with_value(error, request)))
            except WAYS_OUT as error:
                answers.append((request.future, None, error))
        if rows:
            try:
                file.store(rows)
            except CheckpointError as error:
                self._failure = error
                answers.extend(
                    (request.future, None, _with_value(_again(error), request)) for request in writing
                )
            else:
                answers.extend((request.future, None, None) for request in writing)
        return answers

    def _found(self, file: CheckpointFile, keys: Sequence[_Key]) -> list[tuple[object] | None]:
        groups: dict[tuple[str, str], list[bytes]] = {}
        for key in keys:
            groups.setdefault(key.function, []).append(key.digest)
        for function in groups.keys() - self._looked_for:
            self._looked_for.add(function)
            if self._versions.by_code and file.has_only_others(function):
                _logger.warning(
                    "the checkpoint %s has results of %s, but none of this version of it: its code, or a value that is "
                    "bound to it, is another one, so that everything runs again; give Checkpoint(..., version=) to say "
                    "yourself what is a version",
                    self._path,
                    function[0],
                )
        stored = {function: file.find(function, digests) for function, digests in groups.items()}
        for function in (function for function in groups if self._unseen is not None and stored[function]):
            _tell_unseen(self._path, function[0], cast("str", self._unseen))
        breathe = _Breath()
        found: list[tuple[object] | None] = []
        for key in keys:
            found.append(self._decoded(key, stored[key.function].get(key.digest)))
            breathe()
        return found

    def _decoded(self, key: _Key, data: str | bytes | None) -> tuple[object] | None:
        if data is None:
            return None
        try:
            return (self._codec.decode(data),)
        except Exception as error:
            which = key.digest.hex() if key.text is None else repr(key.text)
            raise CheckpointError(
                f"the result of {key.function[0]} for {which} in the checkpoint {self._path} cannot be read: "
                f"{type(error).__name__}: {error!s:.200}; give the type= or codec= that it was stored with, or another "
                f"version="
            ) from error

    def _tell(self, answers: list[_Answer]) -> None:
        if not answers:
            return
        try:
            self._loop.call_soon_threadsafe(_settle, answers)
        except RuntimeError:  # the loop is closed: nobody is waiting
            pass


def _settle(answers: list[_Answer]) -> None:
    lost, reason = 0, None
    for future, result, error in answers:
        if future.done():  # cancelled meanwhile
            if error is not None and "value" in vars(error):
                lost += 1
                reason = error
        elif error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    if lost:
        _logger.warning("%d results of jobs that were cancelled are not stored: %s", lost, reason)


def _tell_unseen(path: Path, name: str, kind: str) -> None:
    """Warn, once for each file and function, that results are used whichever object of a class made them."""
    if (path, name) in _told or len(_told) >= MAX_TOLD:
        return
    _told.add((path, name))
    _logger.warning(
        "results of %s are taken from the checkpoint %s whichever %s has made them: what such an object holds is not "
        "seen; give Checkpoint(..., version=) to tell one from another, or to say that there is only one",
        name,
        path,
        kind,
    )


def _again(error: CheckpointError) -> CheckpointError:
    """Return a copy of an error, so that each job has its own traceback."""
    copy = CheckpointError(*error.args)
    copy.__cause__ = error.__cause__
    return copy


def _with_value(error: CheckpointError, request: _Request) -> CheckpointError:
    if request.kind == "store":
        error.value = request.value
    return error


def _name_of(codec: Any) -> str:
    name = getattr(codec, "name", None)
    return name if isinstance(name, str) else type(codec).__qualname__
