"""Which child processes are blocked at which end of which pipe, as the kernel tells. Linux only.

``/proc/PID/task/TID/syscall`` has the system call that a thread is blocked in, with its arguments. It may be read of
descendants of the same user; where it may not, nothing is reported.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Final, NamedTuple

from spanloom.diagnosis.fields import field
from spanloom.diagnosis.watch.proc import stat_of

__all__ = [
    "Blocked",
    "blocked_in",
    "children_of",
    "ends_here",
    "has_thread_that_may_act",
    "own_call",
    "pid_of",
    "pipe_of",
    "program_of",
]

_X86: Final = {0: "read", 1: "write", 19: "read", 20: "write", 61: "wait", 247: "wait"}
_ARM: Final = {63: "read", 64: "write", 65: "read", 66: "write", 260: "wait", 95: "wait"}
_CALLS: Final = _ARM if platform.machine() == "aarch64" else _X86 if platform.machine() == "x86_64" else {}
_FUTEX: Final = 98 if platform.machine() == "aarch64" else 202
MAX_CHILDREN: Final = 200


class Blocked(NamedTuple):
    """A thread that is blocked in a system call.

    Attributes:
        call: ``"read"``, ``"write"`` or ``"wait"``.
        number: The file descriptor; for ``"wait"``, the id of the process waited for.
    """

    call: str
    number: int


def children_of(pid: int) -> list[int]:
    """Return the ids of all descendants of `pid` that have not ended."""
    parents: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")  # noqa: PTH208 -- a Path for each of thousands of names
    except OSError:
        return []
    for name in names:
        if name.isdecimal():
            fields = stat_of(int(name))
            if fields is not None and fields[0] not in "ZX":
                parents.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [pid]
    while todo and len(found) < MAX_CHILDREN:
        more = parents.get(todo.pop(), [])
        found += more
        todo += more
    return found


def blocked_in(pid: int) -> list[Blocked]:
    """Return the calls to read, write or wait that the threads of a process are blocked in."""
    try:
        threads = os.listdir(f"/proc/{pid:d}/task")  # noqa: PTH208 -- names are wanted
    except OSError:
        return []
    found = (_call(f"/proc/{pid:d}/task/{thread}/syscall") for thread in threads)
    return [one for one in found if one is not None]


def has_thread_that_may_act(pid: int) -> bool:
    """Tell whether some thread of a process is neither blocked at a pipe nor in a ``futex`` wait without a timeout."""
    for fields in _calls_of(pid):
        number = int(fields[0]) if fields[0].isdecimal() else -1
        if number == _FUTEX and len(fields) > 4 and int(fields[4], 16) == 0:
            continue  # it waits for another thread; the fourth argument is the timeout
        call = _CALLS.get(number)
        if call is None or (call != "wait" and pipe_of(pid, int(fields[1], 16)) is None):
            return True
    return False


def _calls_of(pid: int) -> Iterator[list[str]]:
    """Yield the fields of each thread's ``syscall`` file: number, arguments ..."""
    try:
        threads = os.listdir(f"/proc/{pid:d}/task")  # noqa: PTH208 -- names are wanted
    except OSError:
        return
    for thread in threads:
        try:
            fields = Path(f"/proc/{pid:d}/task/{thread}/syscall").read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError):
            continue
        if fields:
            yield fields


def own_call(native_id: int) -> Blocked | None:
    """Return what a thread of this process is blocked in."""
    return _call(f"/proc/self/task/{native_id:d}/syscall")


def _call(path: str) -> Blocked | None:
    try:
        fields = Path(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return None
    if len(fields) < 2 or not fields[0].isdecimal():
        return None
    call = _CALLS.get(int(fields[0]))
    if call is None:
        return None
    number = int(fields[1], 16)
    return Blocked(call, number if number < 1 << 31 else -1)


def pipe_of(pid: int | str, number: int) -> str | None:
    """Return a text that identifies the pipe or socket of a descriptor: the same in every process that has it."""
    try:
        target = str(Path(f"/proc/{pid}/fd/{number:d}").readlink())
    except OSError:
        return None
    return target if target.startswith(("pipe:", "socket:")) else None


def ends_here(pipe: str) -> dict[int, bool]:
    """Return the descriptors of this process for `pipe`, each with whether it can be written to."""
    found: dict[int, bool] = {}
    try:
        names = os.listdir("/proc/self/fd")  # noqa: PTH208 -- the same
    except OSError:
        return found
    for name in names:
        if name.isdecimal() and pipe_of("self", int(name)) == pipe:
            try:
                text = Path(f"/proc/self/fdinfo/{name}").read_text(encoding="ascii")
            except OSError:
                continue
            flags = next((line.split()[1] for line in text.splitlines() if line.startswith("flags:")), "0")
            found[int(name)] = int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
    return found


def pid_of(child: object) -> object:
    """Return the process id of a ``Popen``, or of a ``Process`` of multiprocessing, where `pid` is a property."""
    return field(child, "pid", field(field(child, "_popen"), "pid"))


def program_of(pid: int) -> str:
    """Return the name of a process; a child of ``multiprocessing`` has its own name and that of its function."""
    process: Any = sys.modules.get("multiprocessing.process")
    for child in list(getattr(process, "_children", ())):
        if pid_of(child) == pid:
            target, own = field(child, "_target"), field(child, "_name")
            name = target.__qualname__ if type(target) is FunctionType else ""
            return f"{own}: {name.rpartition('<locals>.')[2]}()" if name else str(own)
    try:
        parts = Path(f"/proc/{pid:d}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    words = [os.path.basename(part.decode(errors="replace")) for part in parts[:2] if part]  # noqa: PTH119 -- no path
    return " ".join(words) or "?"
