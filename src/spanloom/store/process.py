"""Identity of a process, and whether it is still alive.

A process id alone is not enough: it is reused, means another process in a container, and nothing after a reboot. So a
run also notes the boot and namespace in which its id is valid, and when its process started. A program started by
``exec`` keeps the id and the start time, but its stack is elsewhere: that is noted, too.
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
    """Return an identifier of this boot of this machine and of the namespace of our process ids."""
    if sys.platform == "linux":
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
            return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
        except OSError:
            pass
    return platform.node()


def process_start(pid: int) -> str:
    """Return when process `pid` started, in clock ticks since boot; empty if that is unknown or it has ended.

    Followed by a colon and the start of its stack, unless we may not know that, as for another user's process.
    """
    try:
        text = Path(f"/proc/{pid:d}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The program's name is in brackets and may contain anything. Fields: state is 3, starttime 22, and startstack 28,
    # which is 0 for readers without permission (proc(5)).
    fields = text.rpartition(")")[2].split()
    if len(fields) < 26 or fields[0] in "ZX":
        return ""
    return fields[19] if fields[25] == "0" else f"{fields[19]}:{fields[25]}"


def is_alive(pid: int, where: str, start: str) -> bool | None:
    """Return whether the process with this id, `machine` and `process_start` is alive; ``None`` if that is unknown."""
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
