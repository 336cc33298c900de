"""Lines of a traceback as text: the program's own before those of the libraries that it calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanloom.events.error import Frame

__all__ = ["is_library", "place", "raised_at"]

_LIBRARY: Final = re.compile(
    r"^<frozen |.*[/\\](?:(?:site|dist)-packages|[Ll]ib[/\\]python3\.\d+t?|Python3\d+[/\\]Lib)[/\\]",
    re.DOTALL,
)
"""How the path of an installed package or the standard library begins, on whatever machine it was recorded."""


def is_library(filename: str) -> bool:
    """Return whether a file is of an installed package or the standard library, by its path."""
    return _LIBRARY.match(filename) is not None


def place(frame: Frame) -> str:
    """Return where a line of a traceback is: ``fetch.py:12 in fetch``."""
    return f"{frame.filename}:{frame.lineno} in {frame.function}"


def raised_at(frame: Frame | None, own_frame: Frame | None) -> str:
    """Return where an error was raised: the program's own line first, then the library's, if it was a library.

    Args:
        frame: The innermost frame; ``None`` if no traceback was recorded.
        own_frame: The innermost one that is no library's, if that is another.
    """
    if frame is None:
        return ""
    if own_frame is None:
        return place(frame)
    return f"{place(own_frame)}, in {_LIBRARY.sub('', frame.filename)}:{frame.lineno} ({frame.function})"
