"""The locks, queues and the like of asyncio, and the tasks that hold them or wait for them.

Nothing is written into the objects themselves: what is known of each is in a table that does not keep it alive.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from types import FrameType
from typing import Any, Final, NamedTuple

import msgspec

from spanloom.instrument.side_table import SideTable
from spanloom.instrument.unseen import LIBRARIES

__all__ = ["RESOURCES", "Place", "Resource", "calling_place", "resource_of", "resources", "track"]


class Place(NamedTuple):
    """A line of the program."""

    filename: str
    lineno: int
    function: str


class Resource(msgspec.Struct, eq=False, weakref=True):
    """What is known of one lock, semaphore, condition, event or queue.

    Attributes:
        kind: The name of its class.
        made_at: Where the program made it; ``None`` if that was before it was tracked.
        size: How many may hold it at once, or how many items fit into it; ``None`` if there is no such number.
        holders: How often each task holds it; tasks are not kept alive.
        waiters: The tasks that wait for it, by method: ``acquire``, ``get``, ``put``, ``wait``.
    """

    kind: str
    made_at: Place | None
    size: int | None
    holders: weakref.WeakKeyDictionary[asyncio.Task[Any], int]
    waiters: weakref.WeakKeyDictionary[asyncio.Task[Any], str]

    def take(self, task: asyncio.Task[Any]) -> None:
        """Note that `task` holds it once more."""
        self.holders[task] = self.holders.get(task, 0) + 1

    def give(self, task: asyncio.Task[Any] | None) -> None:
        """Note that `task` holds it once less; if it does not hold it, it releases for the first holder."""
        holder = task if task is not None and task in self.holders else next(iter(self.holders), None)
        if holder is None:
            return
        left = self.holders[holder] - 1
        if left:
            self.holders[holder] = left
        else:
            del self.holders[holder]


RESOURCES: Final[SideTable[Resource]] = SideTable()
"""The tracked objects of this process; safe from any thread."""


def track(thing: object, made_at: Place | None = None, size: int | None = None) -> Resource:
    """Return what is known of `thing`; track it from now on if it was not tracked."""
    return RESOURCES.of(
        thing,
        lambda: Resource(
            type(thing).__name__, made_at, size, weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()
        ),
    )


def resource_of(thing: object) -> Resource | None:
    """Return what is known of a lock, semaphore, condition, event or queue; ``None`` if it is not tracked."""
    return RESOURCES.get(thing)


def resources() -> list[tuple[object, Resource]]:
    """Return ``(object, what is known of it)`` for the tracked objects that still exist."""
    return RESOURCES.items()


def calling_place() -> Place | None:
    """Return the innermost line that is the program's own."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 -- has been there since Python 2.1
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] not in LIBRARIES:
            return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
        frame = frame.f_back
    return None
