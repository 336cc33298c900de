"""Whose code is in a file: the program's own, the standard library's, an installed package's or ours."""

from __future__ import annotations

import os
import sys
from functools import cache, lru_cache
from typing import Final

__all__ = ["belongs_to_us", "is_own", "is_standard"]

_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_OURS: Final = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep  # noqa: PTH120 -- hot at import


@cache
def _standard() -> tuple[str, ...]:
    # The paths "stdlib" and "platstdlib" of `sysconfig`, whose import would block the first loop for 1 or 2 ms.
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    of_environment = os.path.join(sys.exec_prefix, sys.platlibdir, version)  # noqa: PTH118 -- as above
    return tuple({os.path.realpath(path) + os.sep for path in (os.path.dirname(os.__file__), of_environment)})  # noqa: PTH120 -- as above


_LIKE_ASYNCIO: Final = tuple(
    os.sep + os.path.join("anyio", *parts)  # noqa: PTH118 -- the end of a path
    for parts in (
        ("_backends", "_asyncio.py"),
        ("_core", "_synchronization.py"),
        ("_core", "_tasks.py"),
        ("streams", "memory.py"),
    )
)
"""Modules of anyio that are treated as asyncio's: locks, streams, task groups and their callbacks."""


@lru_cache(4096)
def is_standard(filename: str) -> bool:
    """Return whether `filename` (of a code object) is of the standard library, or of anyio's counterpart of asyncio."""
    if filename.endswith(_LIKE_ASYNCIO):
        return True
    if filename.startswith("<frozen "):
        return True
    if any(part in filename for part in _INSTALLED):
        return False
    return filename.startswith(_standard()) or os.path.realpath(filename).startswith(_standard())


@lru_cache(4096)
def belongs_to_us(filename: str) -> bool:
    """Return whether `filename` (of a code object) is a part of spanloom."""
    return filename.startswith(_OURS) or os.path.realpath(filename).startswith(_OURS)


@lru_cache(4096)
def is_own(filename: str) -> bool:
    """Return whether `filename` (of a code object) is the program's: no library's and not ours."""
    if any(part in filename for part in _INSTALLED):
        return False
    return not is_standard(filename) and not belongs_to_us(filename)
