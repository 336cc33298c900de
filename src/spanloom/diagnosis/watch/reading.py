"""Reading the stacks of a process that does not answer; see `stacks` for how they are written."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from spanloom.diagnosis.watch.folder import dump_path
from spanloom.diagnosis.watch.stacks import SIGNAL

__all__ = ["Line", "Stack", "stacks_of"]

WAIT_S: Final = 1.0
POLL_S: Final = 0.02
MAX_BYTES: Final = 1_000_000


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
    """Return for how many seconds process `pid` has not run Python, and the stacks of its threads.

    ``None`` if they cannot be got safely, as from a process that has run within the last `after_s` seconds.
    """
    path = dump_path(pid)
    try:
        info = path.stat()
        if info.st_uid != os.getuid() or not _listens(pid, path):
            return None
        # Not the time of the last change, which may be that of an earlier request. Only `_read` reads the file.
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
        if now > size and now == seen:  # it has stopped growing
            break
        seen = now
    return _read(path, size)


def _read(path: Path, start: int) -> str:
    """Return the text of a file from an offset on, without changing the file's times."""
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
    for head, end in zip(heads, ends, strict=False):  # there may be none: a stopped process writes nothing
        body = text[head.end() : end]
        calls = tuple(Line(file, int(line), function) for file, line, function in re.findall(_LINE, body))
        yield Stack(head[1], calls)
