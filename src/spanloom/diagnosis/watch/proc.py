"""What the operating system tells about any process."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_running", "stat_of"]


def is_running(pid: int) -> bool:
    """Tell whether there is a process `pid`, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return pid < 1 << 31
    return True


def stat_of(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` from the third on, see ``proc(5)``: its state, its parent, ...

    ``None`` if there is no such process, or no ``/proc``.
    """
    try:
        text = Path(f"/proc/{pid:d}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[
        2
    ].split()  # the second is the program's name in parentheses, which may have any characters
