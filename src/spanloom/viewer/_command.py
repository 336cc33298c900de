"""The command line of a run, as a person would type it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from spanloom.handlers._text import printable

__all__ = ["typed"]

_OURS: Final = "spanloom"
_LIMIT: Final = 1_000
"""Characters of it that are shown."""


def typed(argv: Sequence[str]) -> str:
    """Return a command line, safe to print, without the paths of its interpreter and of ``spanloom``.

    These two would otherwise take up all the room: the script and its arguments come last.

    Args:
        argv: As the interpreter was started: ``sys.orig_argv``.
    """
    words = list(argv)
    if words[1:3] == ["-m", _OURS]:
        words[:3] = [_OURS]
    elif len(words) > 1 and PurePath(words[1]).stem == _OURS:
        words[:2] = [_OURS]
    elif words:
        words[0] = PurePath(words[0]).name
    return printable(shlex.join(words), _LIMIT)
