"""A coroutine that another one is to await, but perhaps never will."""

from __future__ import annotations

from collections.abc import Coroutine
from types import CoroutineType
from typing import Any

__all__ = ["Unstarted"]


class Unstarted:
    """Holds a coroutine for another one that stands in its place, and closes it if that one never awaits it.

    A coroutine that is closed, or whose task is cancelled, before its first step runs no code that could close what it
    was to await. Python would warn of that inner coroutine, which the program has never seen. Of the outer one it
    still warns where it should.

    Make it before the coroutine. In a circle that is garbage the older one is finalized first, and what is to be
    closed here must not have warned already; a handler's error is such a circle with the frame that it stopped.

    Attributes:
        work: The coroutine, not started yet; not set if there is none to be awaited.
        data: The payload of its event, if that must be kept as well.
    """

    __slots__ = ("data", "work")

    work: Coroutine[Any, Any, Any]
    data: dict[str, object] | None

    def take(self) -> Coroutine[Any, Any, Any]:
        """Return the coroutine, which the caller awaits, and let go of it."""
        work = self.work
        del self.work
        return work

    def __del__(self) -> None:
        try:
            work = self.work
        except AttributeError:
            return
        if type(work) is CoroutineType:  # the `close` of any other awaitable may mean something else
            work.close()
