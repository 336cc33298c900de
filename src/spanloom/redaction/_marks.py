"""What stands for a secret that was taken out, and what stands where a text was cut."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CUT", "MARK", "marked"]

MARK: Final = "***"
"""Stands for a secret. It means nothing to JSON, URLs, HTML or a terminal's markup, whatever it lands in."""

CUT: Final = r"(?:…|\.\.\.)"
"""Stands at the end of a text that was longer; ours and most people's. Before it there may be half a secret."""


def marked(found: re.Match[str], group: str) -> str:
    """Return what was found with `MARK` in the place of a group of it."""
    start, stop = (place - found.start() for place in found.span(group))
    return found[0][:start] + MARK + found[0][stop:]
