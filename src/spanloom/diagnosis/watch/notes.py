"""Notes in the folder of the sockets: which record a process writes, for whoever knows only the process id.

A process that failed at once is asked about after its end, and from another folder. Its note is kept for a day, and is
not used if another process has the same id by then.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Final

import msgspec

from spanloom.diagnosis.watch.folder import folder, is_due, made_folder
from spanloom.diagnosis.watch.proc import is_running, stat_of

__all__ = ["Note", "leave_note", "note_of"]

KEPT_S: Final = 86_400.0
"""Seconds for which the note of an ended process is kept."""
MAX_BYTES: Final = 20_000
_SUFFIX: Final = ".record"
_PRUNED: Final = "pruned"


class Note(msgspec.Struct, frozen=True):
    """Where the events of a process are.

    Attributes:
        path: The record.
        run_id: The id of its run there.
    """

    path: Path
    run_id: str


def leave_note(path: str | os.PathLike[str], run_id: str) -> None:
    """Write the note of this process, in place of an older one with the same process id; remove outdated ones.

    Args:
        path: The record; relative to the current folder.
        run_id: The id of the run.

    Raises:
        OSError: the folder cannot be made, or not be written to.
        UnicodeEncodeError: the path cannot be encoded as UTF-8.
    """
    pid = os.getpid()
    place = made_folder() / f"{pid:d}{_SUFFIX}"
    _prune(place.parent)
    said = {"path": str(Path(path).absolute()), "run": run_id, "started": _started(pid)}
    note = msgspec.json.encode(said)
    new = place.with_suffix(f".new{time.monotonic_ns():d}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(note)
        new.replace(place)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def note_of(pid: int) -> Note | None:
    """Return the note of process `pid`; ``None`` if there is none, or if it is another process's with the same id."""
    place = folder() / f"{pid:d}{_SUFFIX}"
    try:
        if _is_foreign(place.parent.lstat(), stat.S_IFDIR):
            return None
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(file.fileno())
            if _is_foreign(info, stat.S_IFREG) or _is_over(place, info.st_mtime):
                return None
            said = msgspec.json.decode(file.read(MAX_BYTES))
        note = Note(Path(said["path"]), str(said["run"]))
        started = said["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    now = _started(pid)
    return note if now is None or now == started else None


def _is_foreign(info: os.stat_result, kind: int) -> bool:
    """Tell whether a file may have been made by another user."""
    return info.st_uid != os.getuid() or stat.S_IFMT(info.st_mode) != kind or bool(info.st_mode & 0o077)


def _is_over(place: Path, written_s: float) -> bool:
    """Tell whether a note is older than `KEPT_S`, and its process has ended."""
    return time.time() - written_s > KEPT_S and _started(int(place.stem)) is None


def _prune(where: Path) -> None:
    """Remove the outdated notes; at most once in a while."""
    if not is_due(_PRUNED):
        return
    for place in where.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError, ValueError):
            if _is_over(place, place.lstat().st_mtime):
                place.unlink()


def _started(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; 0 if that is unknown.

    ``None`` if there is no such process. Field 22 of ``/proc/PID/stat``, see ``proc(5)``.
    """
    fields = stat_of(pid)
    if fields is not None:
        return int(fields[19])
    return 0 if is_running(pid) and stat_of(os.getpid()) is None else None
