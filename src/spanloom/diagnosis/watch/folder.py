"""Where the sockets of watched processes are: a folder of their user, whatever the environment says.

Neither ``TMPDIR`` nor ``XDG_RUNTIME_DIR`` is asked: who asks a process from another terminal, or by ``sudo``, has
others than the process had.
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
"""From one look at all that is in the folder to the next, whoever takes it: of a machine that tests all day that are
thousands of files, and to list them is a good part of a start."""


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
    """Return `folder`, which exists now and is nobody else's.

    Raises:
        OSError: it cannot be made, or somebody else has made it.
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
    """Tell whether the folder, which exists, is to be looked through, unless it was within `LOOKED_THROUGH_S`.

    Args:
        mark: What for: the name of the file by which is known when it was last done, and that is renewed by this.
    """
    path = folder() / mark
    with contextlib.suppress(OSError):
        if abs(time.time() - path.lstat().st_mtime) < LOOKED_THROUGH_S:
            return False
    with contextlib.suppress(OSError):
        path.touch(mode=0o600)
    return True


def socket_path(pid: int) -> Path:
    """Return where process `pid` is to be asked."""
    return folder() / f"{pid:d}.sock"


def dump_path(pid: int) -> Path:
    """Return where process `pid` leaves its stacks when it cannot answer."""
    return folder() / f"{pid:d}.stacks"


def pids() -> list[int]:
    """Return the processes that have left a socket, alive or not."""
    try:
        names = os.listdir(folder())  # noqa: PTH208 -- names are wanted
    except OSError:
        return []
    return sorted(int(name[:-5]) for name in names if name.endswith(".sock") and name[:-5].isdecimal())
