"""What stands for a secret that was taken out, and what stands where a text was cut."""

from __future__ import annotations

from typing import Final

__all__ = ["CUT", "MARK"]

MARK: Final = "***"
"""Stands for a secret. It means nothing to JSON, URLs, HTML or a terminal's markup, whatever it lands in."""

CUT: Final = r"(?:…|\.\.\.)"
"""Stands at the end of a text that was longer; ours and most people's. Before it there may be half a secret."""
