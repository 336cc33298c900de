"""Which process this is, and whether the process that wrote something is still there.

A process id alone says little: it is used again, it means another process in a container, and nothing after a
restart. So a run also notes where its id has a meaning, and when its process started there. What ``exec`` starts in the
place of a program has the same id and the same start; the kernel puts its stack elsewhere, and that is noted, too.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path

__all__ = ["is_alive", "machine", "process_start"]


@cache
def machine() -> str:
    """Return what stands for this boot of this machine, and for the namespace that our process ids belong to."""
    if sys.platform == "linux":
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
            return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
        except OSError:
            pass
    return platform.node()


def process_start(pid: int) -> str:
    """Return when process `pid` started, in words of the system's own; empty if that cannot be told or it has ended.

    After a colon, where its stack begins; without that if it may not be known, as of a process of somebody else's.
    """
    try:
        text = Path(f"/proc/{pid:d}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name of the program stands in brackets and may contain anything. Fields: state is 3, starttime 22,
    # startstack 28, which is 0 for who may not know it (proc(5)).
    fields = text.rpartition(")")[2].split()
    if len(fields) < 26 or fields[0] in "ZX":
        return ""
    return fields[19] if fields[25] == "0" else f"{fields[19]}:{fields[25]}"


def is_alive(pid: int, where: str, start: str) -> bool | None:
    """Tell whether a process that was described so is still there; ``None`` if that cannot be told from here."""
    if where != machine() or pid <= 0:
        return None
    if start:
        now = process_start(pid)
        if ":" in start and ":" in now:
            return now == start
        return now.partition(":")[0] == start.partition(":")[0]
    if sys.platform == "win32":
        return None  # os.kill(pid, 0) would send it a Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
