"""Regular expressions that are compiled at their first use.

Compiling all of them takes 8 ms, and a short program needs few of them.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

__all__ = ["late"]

_METHODS: Final = ("finditer", "fullmatch", "match", "search", "sub")


class _Late:
    """Stands in for a pattern, and compiles it when one of its methods is first looked up."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._made_of = pattern, flags

    # Any: the methods of re.Pattern have different types. Called only for missing attributes.
    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(f"a late pattern has no {name!r}; there are: {', '.join(_METHODS)}")
        compiled = re.compile(*self._made_of)
        vars(self).update({method: getattr(compiled, method) for method in _METHODS})
        return getattr(compiled, name)


def late(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return a stand-in for ``re.compile(pattern, flags)`` with the methods `_METHODS`; safe from any thread."""
    return cast("re.Pattern[str]", _Late(pattern, flags))
