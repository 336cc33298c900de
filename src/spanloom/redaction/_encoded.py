"""Percent-encoded text: decoded, redacted, and encoded again if it held a secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, unquote

__all__ = ["redact_encoded"]

_RUN: Final = re.compile(r"""[^\s"'<>&=?#`\\…]+""")
_ESCAPED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_SAFE: Final = "!$'()*+,/:;@~[]{}|^"


def redact_encoded(text: str, redact: Callable[[str], str]) -> str:
    """Return `text` with `redact` applied to its percent-encoded parts, decoded."""
    return _RUN.sub(lambda found: _run(found[0], redact), text) if _ESCAPED.search(text) is not None else text


def _run(run: str, redact: Callable[[str], str]) -> str:
    if "%" not in run or _ESCAPED.search(run) is None:
        return run
    decoded = unquote(run)
    redacted = redact(decoded)
    if redacted == decoded:
        return run
    return quote(redacted, safe="".join(char for char in _SAFE if char in run) + "*")
