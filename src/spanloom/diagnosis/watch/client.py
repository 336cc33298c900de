"""Asking a watched process, from another process of the same user."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from spanloom.diagnosis.watch.folder import pids, socket_path
from spanloom.diagnosis.watch.proc import is_running, stat_of
from spanloom.exceptions import NotWatchedError

__all__ = ["SilentError", "ancestors", "ask", "is_stopped", "watched_pid"]

START_S: Final = 1.0
"""Seconds that a process may take from its start until it can be asked."""
RETRY_S: Final = 0.05
_HOW: Final = "start it by `spanloom run`, or call spanloom.diagnosis.watch.watch() in it"


class SilentError(NotWatchedError):
    """The process listens, but did not answer in time: most likely something in it holds the GIL."""


def ask(
    pid: int,
    question: str,
    *,
    timeout_s: float = 10.0,
    meanwhile: Sequence[tuple[float, Callable[[], Any]]] = (),
    **details: object,
) -> Any:  # Any: whatever JSON holds
    """Ask a process, and return its answer.

    Args:
        pid: A watched process; see `watched_pid`.
        question: The word for what is asked.
        timeout_s: How long to wait for the answer.
        meanwhile: ``(seconds, function)`` pairs: functions to call once if there is no answer after so many seconds. A
            result other than ``None`` is returned in place of the answer.
        details: More fields of the question.

    Raises:
        NotWatchedError: the process is not watched, or does not know the question.
        SilentError: it has not answered in time.
    """
    import json  # late: most programs are never asked

    connection = _connected(pid)
    began = time.monotonic()
    calls = [*meanwhile, (timeout_s, None)]
    data = b""
    with connection:
        with suppress(ConnectionError):  # then there is no answer, which is reported below
            connection.sendall(json.dumps({"ask": question, **details}).encode() + b"\n")
        while not data.endswith(b"\n"):
            after_s, call = calls[0]
            left = began + after_s - time.monotonic()
            if left <= 0:
                if call is None:
                    raise SilentError(f"process {pid} has not answered for {timeout_s:g} s")
                calls.pop(0)
                answer = call()
                if answer is not None:
                    return answer
                continue
            connection.settimeout(left)
            try:
                part = connection.recv(1 << 16)
            except TimeoutError:
                continue
            except ConnectionError:
                part = b""
            if not part:
                raise NotWatchedError(f"process {pid} has ended, or was busy, while it was asked")
            data += part
    return _answer(pid, data)


def _answer(pid: int, data: bytes) -> Any:
    import json

    try:
        said = json.loads(data)
    except ValueError:
        raise NotWatchedError(f"process {pid} has answered something that is not JSON") from None
    if "error" in said:
        raise NotWatchedError(f"process {pid} cannot say that: {said['error']}")
    return said["answer"]


def _connected(pid: int) -> socket.socket:
    path = str(socket_path(pid))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(START_S)
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise NotWatchedError(f"process {pid} cannot be asked: {_why_not(pid, error)}") from None
    return connection


def _why_not(pid: int, error: OSError) -> str:
    if not is_running(pid):
        return "there is no such process any more"
    if isinstance(error, FileNotFoundError):
        return f"it is not watched; {_HOW}"
    return f"{error.strerror or error}"


def is_stopped(pid: int) -> bool:
    """Tell whether process `pid` is stopped, by a signal or a tracer; ``False`` if that is unknown."""
    fields = stat_of(pid)
    return fields is not None and fields[0] in {"T", "t"}


def watched_pid(pid: int, *, wait_s: float = START_S) -> int:
    """Return the id of the watched process that `pid` means: its own or, for a shell or launcher, its descendant's.

    Args:
        pid: A process.
        wait_s: How many seconds to wait for one that has only just been started.

    Raises:
        NotWatchedError: neither it nor exactly one of its descendants is watched.
    """
    deadline = time.monotonic() + wait_s
    while True:
        if socket_path(pid).exists() and is_running(pid):
            return pid
        found = [other for other in pids() if other != pid and pid in ancestors(other)]
        # A watched child of a watched child is the program's own affair: the one nearest to `pid` is meant.
        nearest = [other for other in found if not set(ancestors(other)) & set(found)]
        if len(nearest) == 1:
            return nearest[0]
        if len(nearest) > 1:
            names = ", ".join(map(str, nearest))
            raise NotWatchedError(
                f"process {pid} has started {len(nearest)} that are watched; ask one of: {names}"
            )
        if not is_running(pid):
            raise NotWatchedError(f"process {pid} cannot be asked: there is no such process")
        if time.monotonic() > deadline:
            raise NotWatchedError(f"process {pid} cannot be asked: it is not watched; {_HOW}")
        time.sleep(RETRY_S)


def ancestors(pid: int) -> list[int]:
    """Return the ids of the parent of `pid`, of its parent, and so on."""
    found: list[int] = []
    while pid > 1 and len(found) < 100:
        fields = stat_of(pid)
        if fields is None:
            break
        pid = int(fields[1])
        found.append(pid)
    return found
