"""The folder of the sockets of watched processes: one for each user, whatever the environment says.

Not by ``TMPDIR`` or ``XDG_RUNTIME_DIR``: in another terminal, or under ``sudo``, these may differ from those of the
watched process.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Final

__all__ = ["LOOKED_THROUGH_S", "dump_path", "folder", "is_due", "made_folder", "pids", "socket_path"]

LOOKED_THROUGH_S: Final = 3_600.0
"""Seconds between two tidyings of the folder, by any process.

On a machine that runs tests all day it has thousands of files, and to list them would take a good part of a start.
"""


def folder() -> Path:
    """Return the folder of this user's sockets, which need not exist."""
    user = os.getuid()
    runtime = Path(f"/run/user/{user:d}")
    try:
        info = runtime.stat()
        if info.st_uid == user and not info.st_mode & 0o077:
            return runtime / "spanloom"
    except OSError:
        pass
    return Path(f"/tmp/spanloom-{user:d}")  # noqa: S108 -- its owner and mode are looked at before it is used


def made_folder() -> Path:
    """Make `folder` if it does not exist, and return it.

    Raises:
        OSError: it cannot be made, or belongs to another user.
    """
    path = folder()
    path.mkdir(mode=0o700, exist_ok=True)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise PermissionError(f"{path} is not a folder of user {os.getuid()}")
    if info.st_mode & 0o077:
        path.chmod(0o700)
    return path


def is_due(mark: str) -> bool:
    """Tell whether the folder, which must exist, was last tidied more than `LOOKED_THROUGH_S` ago, and note the time.

    Args:
        mark: The purpose: name of the file whose time of change is that of the last tidying.
    """
    path = folder() / mark
    with contextlib.suppress(OSError):
        if abs(time.time() - path.lstat().st_mtime) < LOOKED_THROUGH_S:
            return False
    with contextlib.suppress(OSError):
        path.touch(mode=0o600)
    return True


def socket_path(pid: int) -> Path:
    """Return the path of the socket of process `pid`."""
    return folder() / f"{pid:d}.sock"


def dump_path(pid: int) -> Path:
    """Return the path of the file to which process `pid` writes its stacks when it cannot answer."""
    return folder() / f"{pid:d}.stacks"


def pids() -> list[int]:
    """Return the ids of the processes that have a socket in the folder, alive or not."""
    try:
        names = os.listdir(folder())  # noqa: PTH208 -- names are wanted
    except OSError:
        return []
    return sorted(int(name[:-5]) for name in names if name.endswith(".sock") and name[:-5].isdecimal())
