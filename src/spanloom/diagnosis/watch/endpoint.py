"""The Unix socket by which a process is asked: by its own user only, and nothing can be changed through it.

A question is one line of JSON, so is the answer, and then the connection is closed. The folder has mode 0700, the
socket 0600, and the kernel tells the user at the other end (``SO_PEERCRED``). All this runs on the watching thread,
which waits for questions between its looks; a client that does not read is dropped.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from spanloom.diagnosis.settings import looking
from spanloom.diagnosis.watch.descriptors import Spares, moved
from spanloom.diagnosis.watch.folder import dump_path, is_due, made_folder, pids, socket_path

__all__ = ["PROTOCOL", "Endpoint"]

PROTOCOL: Final = 1
MAX_QUESTION: Final = 4_096
QUESTION_S: Final = 1.0
ANSWER_S: Final = 2.0
BACKLOG: Final = 8
DEAF_S: Final = 1.0
"""Seconds without accepting after no descriptor was left for a connection: else the waiting client wakes us at once."""
_TIDIED: Final = "tidied"
_CREDENTIALS: Final = struct.Struct("iII")

Answers = Mapping[str, Callable[[Mapping[str, Any]], object]]
"""Functions that answer, by the word that asks; they get the question. Any: whatever JSON holds."""


class Endpoint:
    """A listening socket for this process.

    Args:
        answers: The functions that answer.

    Raises:
        OSError: the folder or the socket cannot be made.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._pid = os.getpid()
        self.path: Path = socket_path(self._pid)
        made_folder()
        tidy()
        self.path.unlink(missing_ok=True)
        self._socket = _moved(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            self._socket.bind(str(self.path))
            self.path.chmod(0o600)
            self._socket.listen(BACKLOG)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise
        self._inode = os.fstat(self._socket.fileno()).st_ino
        self._spares = Spares(self._socket.fileno())
        self._deaf_until_s = 0.0

    @property
    def is_deaf(self) -> bool:
        """Whether no connection is accepted at present, see `DEAF_S`."""
        return time.monotonic() < self._deaf_until_s

    def fileno(self) -> int:
        """Return the descriptor to wait for, or -1 if it is not ours any more."""
        return self._socket.fileno() if self._is_ours() else -1

    def _is_ours(self) -> bool:
        """Tell whether the descriptor is still this socket: a program that becomes a daemon closes all descriptors."""
        try:
            info = os.fstat(self._socket.fileno())
        except OSError:
            return False
        return stat.S_ISSOCK(info.st_mode) and info.st_ino == self._inode

    def serve(self) -> None:
        """Answer all clients that wait."""
        with self._spares.lent():
            while self._is_ours():
                try:
                    connection, _ = self._socket.accept()
                except BlockingIOError:  # no client waits any more
                    return
                except OSError:
                    self._deaf_until_s = time.monotonic() + DEAF_S
                    return
                with connection, contextlib.suppress(OSError, ValueError):
                    self._serve_one(connection)

    def _serve_one(self, connection: socket.socket) -> None:
        if _peer(connection) != os.getuid():
            return
        question = _question(connection)
        answer = self._answer(question)
        import json  # late: most programs are never asked

        connection.settimeout(ANSWER_S)
        connection.sendall(json.dumps(answer, ensure_ascii=True).encode() + b"\n")

    def _answer(self, question: Mapping[str, Any]) -> dict[str, object]:
        began = time.monotonic()
        head: dict[str, object] = {"protocol": PROTOCOL, "pid": self._pid}
        function = self._answers.get(str(question.get("ask")))
        if function is None:
            return head | {"error": f"this process answers {', '.join(self._answers)}"}
        try:
            with looking():
                answer = function(question)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the process goes on and its thread, too
            return head | {"error": f"{type(error).__name__}: {error}"}
        return head | {"answer": answer, "took_s": time.monotonic() - began}

    def close(self, *, unlink: bool = True) -> None:
        """Stop listening.

        Args:
            unlink: Whether to remove the socket from the folder; never done in a forked child, as it is the parent's.
        """
        self._spares.close()
        if self._is_ours():
            self._socket.close()
        else:
            self._socket.detach()  # the number has another owner now
        if unlink and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


class Bell:
    """Wakes a thread that waits in `wait_for`."""

    def __init__(self) -> None:
        self._reader, self._writer = (_moved(end) for end in socket.socketpair())
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._inodes = [os.fstat(end.fileno()).st_ino for end in (self._reader, self._writer)]

    def fileno(self) -> int:
        """Return the descriptor to wait for, or -1 if it is not ours any more."""
        try:
            inodes = [os.fstat(end.fileno()).st_ino for end in (self._reader, self._writer)]
            return self._reader.fileno() if inodes == self._inodes else -1
        except OSError:
            return -1

    def ring(self) -> None:
        """Wake the thread."""
        if self.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._writer.send(b"!")

    def quiet(self) -> None:
        """Clear the bell after the thread has woken."""
        with contextlib.suppress(OSError):
            self._reader.recv(64)

    def close(self) -> None:
        """Close the descriptors, unless the program has closed them and they have another owner now."""
        if self.fileno() >= 0:
            self._reader.close()
            self._writer.close()
        else:
            self._reader.detach()
            self._writer.detach()


def wait_for(descriptors: list[int], seconds: float) -> list[int]:
    """Wait until one of `descriptors` can be read, for at most `seconds`; return those that can."""
    poll = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN)
    try:
        return [descriptor for descriptor, _ in poll.poll(max(0, round(seconds * 1000)))]
    except OSError:
        return []


def tidy() -> None:
    """Remove the sockets and stacks of killed processes; at most once in a while."""
    if not is_due(_TIDIED):
        return
    for pid in pids():
        if pid != os.getpid() and not Path(f"/proc/{pid:d}").exists() and Path("/proc/self").exists():
            for path in (socket_path(pid), dump_path(pid)):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def _moved(made: socket.socket) -> socket.socket:
    """Return the socket with a high descriptor number."""
    family, kind, protocol = made.family, made.type, made.proto
    return socket.socket(family, kind, protocol, moved(made.detach()))


def _peer(connection: socket.socket) -> int:
    if sys.platform != "linux":
        return os.getuid()  # the folder's mode is what keeps others out
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    return int(user)


def _question(connection: socket.socket) -> Mapping[str, Any]:
    deadline = time.monotonic() + QUESTION_S
    data = b""
    while b"\n" not in data and len(data) < MAX_QUESTION:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(MAX_QUESTION - len(data))
        if not part:
            break
        data += part
    question = msgspec.json.decode(data)
    if not isinstance(question, dict):
        raise ValueError("a question is an object")
    return question
