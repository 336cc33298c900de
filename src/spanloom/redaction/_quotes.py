"""Quotation marks in all forms that nested texts give them, and where a quoted text ends."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["QUOTE", "closing", "quote_before"]

QUOTE: Final = r"""(?:\\*["'`]|&(?:quot|apos|\#0?3[49]|\#x2[27]);|\\+u002[27])"""
"""A quotation mark, bare, escaped any number of times, or as HTML writes it."""

MAX_ESCAPES: Final = 32
"""Backslashes before one quotation mark: JSON in JSON, five times over."""
_LONGEST: Final = 40

# A closing mark is followed by what may follow a quoted text; a mark before a letter is inside.
_INSIDE: Final = r"(?![\s,;:)\]}>&\\'\"`+/|.=?!<%\-…]|\Z)"
_PLAIN: Final = {quote: re.compile(rf"(?:[^{quote}\\\n]|\\.|{quote}{_INSIDE})*") for quote in "\"'`"}
_BEFORE: Final = re.compile(rf"{QUOTE}\Z")


def quote_before(text: str, position: int) -> str | None:
    """Return the quotation mark right before `position`; ``None`` if there is none."""
    found = _BEFORE.search(text[max(0, position - _LONGEST) : position])
    return None if found is None else found[0]


def closing(text: str, start: int, quote: str) -> int:
    """Return the end of the quoted text that begins at `start`, behind `quote`.

    It ends before the same mark with as many escapes or fewer; one with more escapes is inside. Without such a mark, it
    ends with the line.
    """
    mark = quote[-1]
    if mark not in _PLAIN:
        found = text.find(quote, start)
        end = _line_end(text, start)
        return found if 0 <= found < end else end
    if quote == mark:
        if text.startswith(mark * 2, start):  # the second and the third of three
            end = text.find(mark * 3, start + 2)
            return len(text) if end < 0 else end
        inside = _PLAIN[mark].match(text, start)
        return start if inside is None else inside.end()
    depth = min(len(quote) - 1, MAX_ESCAPES)
    end = _line_end(text, start)
    found_mark = re.compile(rf"(?<!\\)\\{{0,{depth}}}{mark}(?!{_INSIDE})").search(text, start, end)
    return end if found_mark is None else found_mark.start()


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
