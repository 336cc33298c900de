"""What Linux tells of any process."""

from __future__ import annotations

from pathlib import Path

__all__ = ["stat_of"]


def stat_of(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` from the third on, see ``proc(5)``: its state, its parent, ...

    ``None`` if there is no such process, or no such file system.
    """
    try:
        text = Path(f"/proc/{pid:d}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[
        2
    ].split()  # the second is the program's name, in brackets, which may be anything
