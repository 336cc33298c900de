"""Calls that are not the program's own."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["LIBRARIES", "by_library", "by_us"]

OBSERVERS: Final = frozenset({"opentelemetry", "spanloom"})
"""Packages that observe programs: what they do is no part of the program."""
LIBRARIES: Final = OBSERVERS | {
    *("anyio", "asyncio", "concurrent", "uvloop"),
    # The requests that they make have events, and are made of tasks and deadlines of their own.
    *("aiohappyeyeballs", "aiohttp", "anthropic", "httpcore", "httpcore2", "httpx", "httpx2", "openai"),
    "langchain_core",  # its runs have events, and it tells of their starts and ends by tasks
}
"""Packages whose own calls are not the program's: the program's call of them is what is shown."""
_FOR_PROGRAM: Final = frozenset({"langchain_core.runnables.utils"})
"""Modules in them that run at the same time what the program gave them for that."""


def by_library(depth: int = 1) -> bool:
    """Tell whether the function that calls this was called by one of `LIBRARIES`.

    Args:
        depth: 1 for the function that calls this itself; one more for each frame of ours that is around it.
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
