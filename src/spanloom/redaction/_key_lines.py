"""Private keys whose lines are the items of a list, as ``splitlines`` and ``readlines`` make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from spanloom.redaction._late import late
from spanloom.redaction._marks import MARK

__all__ = ["without_keys"]

_BEGIN: Final = late(r"----[- ]BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_END: Final = late(r"----[- ]END ")


def without_keys(lines: Sequence[Any]) -> list[Any]:  # Any: what a list may hold
    """Return `lines` without those inside a private key, up to its last one or to what is no text."""
    out: list[Any] = []
    is_inside = False
    for line in lines:
        if not isinstance(line, str):
            is_inside = False
        elif is_inside and _END.search(line) is None:
            line = MARK
        else:
            begun = _BEGIN.search(line)
            is_inside = begun is not None and _END.search(line, begun.end()) is None
        out.append(line)
    return out
