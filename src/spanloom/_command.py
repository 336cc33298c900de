"""Keeps the garbage collector off what the command loads, from the first module on.

All of it is there to the end, but the collector would look through it a hundred times while it grows, for a seventh of
the start of ``spanloom run``. `spanloom` loads this before everything else. Whoever imports it in a program of their
own has the collector as they had it.
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
        argv: ``sys.argv``; while Python looks for the module behind ``-m``, that stands for its file.
        original: ``sys.orig_argv``.
        executable: ``sys.executable``; the script is taken for the command if it lies beside that.
    """
    if argv[:1] == ["-m"]:
        return original[-len(argv)] in ("spanloom", "-mspanloom")
    return argv[:1] == [os.path.join(os.path.dirname(executable), "spanloom")]  # noqa: PTH118, PTH120 -- no pathlib yet


_holds: Final = gc.isenabled() and is_command(sys.argv, sys.orig_argv, sys.executable)
if _holds:
    gc.disable()


def keep_loaded() -> None:
    """Have the collector work again, if this has stopped it, and never look through what there is by now."""
    if _holds:
        gc.freeze()
        gc.enable()
