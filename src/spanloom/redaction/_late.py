"""Regular expressions that are compiled when they are first asked.

All of them take 8 ms, and a program that is over soon writes down little that most of them are asked about.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

__all__ = ["late"]

_METHODS: Final = ("finditer", "fullmatch", "match", "search", "sub")


class _Late:
    """Has the methods of a pattern once it is asked for one of them; until then, what they are made of."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._made_of = pattern, flags

    # Any: the methods of re.Pattern, which differ. Called for what is not there yet only.
    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(f"a late pattern has no {name!r}; there are: {', '.join(_METHODS)}")
        compiled = re.compile(*self._made_of)
        vars(self).update({method: getattr(compiled, method) for method in _METHODS})
        return getattr(compiled, name)


def late(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return what is used as ``re.compile(pattern, flags)`` is, by its methods; safe from any thread."""
    return cast("re.Pattern[str]", _Late(pattern, flags))
