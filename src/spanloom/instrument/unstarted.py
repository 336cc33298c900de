"""A coroutine that another one is to await, and that may never be."""

from __future__ import annotations

from collections.abc import Coroutine
from types import CoroutineType
from typing import Any

__all__ = ["Unstarted"]


class Unstarted:
    """Holds a coroutine for the one that stands in its place, and closes it if that goes before it has awaited it.

    A coroutine that is closed, or whose task is cancelled, before its first step runs nothing that could do so. Python
    would warn of the one inside, which nobody has ever seen; of the one in its place it warns where it is right to.

    Args:
        work: The coroutine, not started yet.

    Attributes:
        work: The same.
    """

    __slots__ = ("work",)

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self.work: Coroutine[Any, Any, Any] = work

    def __del__(self) -> None:
        work = self.work
        if type(work) is CoroutineType:  # what else may be awaited means something else by `close`
            work.close()
