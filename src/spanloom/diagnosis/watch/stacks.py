"""The last resort: the stacks of a process in which not even the watching thread gets to run.

A call in C that holds the GIL, as a regular expression that backtracks for hours does, stops every thread of Python.
What still works is a signal handler in C: that of `faulthandler`, which writes the stacks to a file. The watched
process has one for a real-time signal that nobody uses, and the one who asks sends it, after some silence and after a
look whether the handler and the file are still there.

Only after silence: the handler goes through the frames of all threads without the GIL, and where one of them runs
Python meanwhile, it may read what is no frame any more, and that is the end of the process. So the process leaves in
the file's times when it ran, and does so as well, from a thread of its own, while an answer is in the making: that may
take seconds on a slow machine.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Final, NamedTuple, TextIO

from spanloom.diagnosis.watch.descriptors import moved
from spanloom.diagnosis.watch.folder import dump_path

__all__ = ["Line", "Stack", "Stacks", "is_beating", "stacks_of"]

SIGNAL: Final = getattr(signal, "SIGRTMAX", 0) - 3
WAIT_S: Final = 1.0
POLL_S: Final = 0.02
BEAT_S: Final = 0.05
"""Between two beats while an answer is in the making."""
MAX_BYTES: Final = 1_000_000


class Stacks:
    """The file of this process, and the handler that writes to it.

    Raises:
        OSError: no such file can be made, or there are no such signals.
    """

    def __init__(self) -> None:
        if SIGNAL <= 0:
            raise OSError("there are no real-time signals")
        self._pid = os.getpid()
        self.path: Path = dump_path(self._pid)
        self.path.unlink(missing_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        self._number = moved(os.open(self.path, flags, 0o600))
        # The number may be somebody else's by the time that the object goes: it must not be closed by that.
        self._file: TextIO = os.fdopen(self._number, "w", encoding="utf-8", closefd=False)
        self._inode = os.fstat(self._number).st_ino
        os.write(self._number, f"{self._number}\n".encode())
        faulthandler.register(SIGNAL, file=self._file, all_threads=True, chain=False)

    def beat(self) -> None:
        """Leave in the file's times when this process was able to run."""
        if self._is_ours():
            with contextlib.suppress(OSError):
                os.utime(self._number)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat as long as the block lasts, from a thread of its own."""
        over = _thread.allocate_lock()
        self.beat()
        with over:
            with contextlib.suppress(RuntimeError):  # no more threads are to be had
                _thread.start_new_thread(self._beat_until, (over,))
            yield

    def _beat_until(self, over: _thread.LockType) -> None:
        while not over.acquire(timeout=BEAT_S):
            self.beat()

    def _is_ours(self) -> bool:
        try:
            return os.fstat(self._number).st_ino == self._inode
        except OSError:
            return False

    def close(self, *, unlink: bool = True) -> None:
        """Take the handler back, and the file."""
        faulthandler.unregister(SIGNAL)
        if self._is_ours():
            with contextlib.suppress(OSError):
                os.close(self._number)
        if unlink and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


_BEATS: Final[CodeType] = Stacks._beat_until.__code__  # noqa: SLF001 -- it is what is looked for


def is_beating(frame: FrameType) -> bool:
    """Tell whether `frame` is of the thread that beats."""
    outer: FrameType | None = frame
    while outer is not None:
        if outer.f_code is _BEATS:
            return True
        outer = outer.f_back
    return False


# who asks -------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One call of a stack."""

    file: str
    line: int
    function: str


class Stack(NamedTuple):
    """The calls of one thread, innermost first."""

    thread: str
    calls: tuple[Line, ...]


def stacks_of(pid: int, after_s: float) -> tuple[float, list[Stack]] | None:
    """Return for how many seconds process `pid` has not been able to run Python, and the stacks of its threads.

    ``None`` if they cannot be had without harm, as of a process that has run within the last `after_s` seconds.
    """
    path = dump_path(pid)
    try:
        info = path.stat()
        if info.st_uid != os.getuid() or not _listens(pid, path):
            return None
        # Not of its last change, which may be that by an earlier question; nobody has read it but by `_read`.
        silent_s = max(0.0, time.time() - info.st_atime)
        if silent_s < after_s:
            return None
        os.kill(pid, SIGNAL)
        text = _appended(path, info.st_size)
    except OSError:
        return None
    return silent_s, list(_parsed(text))


def _listens(pid: int, path: Path) -> bool:
    """Tell whether the process still handles the signal, and whether the file is still the one it writes to."""
    number = _read(path, 0).partition("\n")[0]
    if not number.isdecimal() or Path(f"/proc/{pid:d}/fd/{number}").readlink() != path:
        return False
    status = Path(f"/proc/{pid:d}/status").read_text(encoding="utf-8", errors="replace")
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (SIGNAL - 1) & 1)


def _appended(path: Path, size: int) -> str:
    deadline = time.monotonic() + WAIT_S
    seen = size
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        now = path.stat().st_size
        if now > size and now == seen:  # it does not grow any more
            break
        seen = now
    return _read(path, size)


def _read(path: Path, start: int) -> str:
    """Return what is in a file from a place on, without a trace of that in its times."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOATIME", 0))
    try:
        return os.pread(number, MAX_BYTES, start).decode(errors="replace")
    finally:
        os.close(number)


_THREAD: Final = r"(?m)^(?:Current thread|Thread) (0x[0-9a-f]+)"
_LINE: Final = r'(?m)^  File "(.*)", line (\d+) in (.*)$'


def _parsed(text: str) -> Iterator[Stack]:
    heads = list(re.finditer(_THREAD, text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(
        heads, ends, strict=False
    ):  # there may be none: a process that is stopped writes nothing
        body = text[head.end() : end]
        calls = tuple(Line(file, int(line), function) for file, line, function in re.findall(_LINE, body))
        yield Stack(head[1], calls)
