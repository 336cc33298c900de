"""The mark that replaces a secret, and the marks of a text that was cut."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CUT", "MARK", "marked"]

MARK: Final = "***"
"""Replaces a secret. It has no special meaning in JSON, URLs, HTML or a terminal."""

CUT: Final = r"(?:…|\.\.\.)"
"""Ends a text that was cut, by us or by most others. Half a secret may be before it."""


def marked(found: re.Match[str], group: str) -> str:
    """Return the match with `MARK` in place of one of its groups."""
    start, stop = (place - found.start() for place in found.span(group))
    return found[0][:start] + MARK + found[0][stop:]
