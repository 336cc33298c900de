"""Calls that are not the program's own."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["LIBRARIES", "by_library", "by_us"]

OBSERVERS: Final = frozenset({"opentelemetry", "spanloom"})
"""Who looks at programs: what they do for that is no part of one."""
LIBRARIES: Final = OBSERVERS | {
    *("anyio", "asyncio", "concurrent", "uvloop"),
    # The requests that they make have events, and are made of tasks and deadlines of their own.
    *("aiohappyeyeballs", "aiohttp", "anthropic", "httpcore", "httpcore2", "httpx", "httpx2", "openai"),
    "langchain_core",  # its runs have events, and it tells of their starts and ends by tasks
}
"""Whose own calls are not the program's: what they run is known from the call that the program made of them."""
_FOR_PROGRAM: Final = frozenset({"langchain_core.runnables.utils"})
"""Their parts that run what the program has given them to be run at the same time."""


def by_library(depth: int = 1) -> bool:
    """Tell whether the function that calls this was called by one of `LIBRARIES`.

    Args:
        depth: Frames between that function and the one that calls this, and one.
    """
    name = sys._getframe(depth + 1).f_globals.get("__name__")  # noqa: SLF001 -- has been there since Python 2.1
    return isinstance(name, str) and name.partition(".")[0] in LIBRARIES and name not in _FOR_PROGRAM


def by_us(depth: int = 1) -> bool:
    """Tell whether the function that calls this was called by one of `OBSERVERS`.

    Args:
        depth: As for `by_library`.
    """
    name = sys._getframe(depth + 1).f_globals.get("__name__")  # noqa: SLF001 -- as above
    return isinstance(name, str) and name.partition(".")[0] in OBSERVERS
