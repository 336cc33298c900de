"""Disable the garbage collector while the ``spanloom`` command loads its modules.

Modules live until the process ends, yet the collector would scan them a hundred times while they load: a seventh of the
start-up of ``spanloom run``. `spanloom` therefore imports this module first. In any other program that imports
`spanloom`, the collector is left alone.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

__all__ = ["is_command", "keep_loaded"]


def is_command(argv: list[str], original: list[str], executable: str) -> bool:
    """Tell whether the process is ``python -m spanloom`` or the installed ``spanloom``.

    Args:
        argv: ``sys.argv``; its first item is ``-m`` while Python is still locating the module.
        original: ``sys.orig_argv``.
        executable: ``sys.executable``; a script ``spanloom`` in the same directory counts as the command.
    """
    if argv[:1] == ["-m"]:
        return original[-len(argv)] in ("spanloom", "-mspanloom")
    return argv[:1] == [os.path.join(os.path.dirname(executable), "spanloom")]  # noqa: PTH118, PTH120 -- no pathlib yet


_holds: Final = gc.isenabled() and is_command(sys.argv, sys.orig_argv, sys.executable)
if _holds:
    gc.disable()


def keep_loaded() -> None:
    """Enable the collector again if this module disabled it, and exempt all objects made so far (``gc.freeze``)."""
    if _holds:
        gc.freeze()
        gc.enable()
