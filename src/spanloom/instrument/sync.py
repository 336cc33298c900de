"""Who holds what: the locks and the like of asyncio, and the tasks that hold them or wait for them.

Nothing is written into the objects themselves: what is known of one lies in a table whose keys do not keep it alive.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from types import CodeType
from typing import Any, Final, NamedTuple

import msgspec

from spanloom.instrument.side_table import SideTable
from spanloom.instrument.unseen import LIBRARIES

__all__ = ["RESOURCES", "Place", "Resource", "ResourceTable", "calling_place", "resource_of", "resources"]


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
        holders: The tasks that hold it, by how often; they are not kept alive.
        waiters: The tasks that wait for it, by what they wait in: ``acquire``, ``get``, ``put``, ``wait``.
    """

    kind: str
    made_at: Place | None
    size: int | None
    holders: weakref.WeakKeyDictionary[asyncio.Task[Any], int]
    waiters: weakref.WeakKeyDictionary[asyncio.Task[Any], str]

    def take(self, task: asyncio.Task[Any]) -> None:
        """Take note that `task` holds it once more."""
        self.holders[task] = self.holders.get(task, 0) + 1

    def give(self, task: asyncio.Task[Any] | None) -> None:
        """Take note that `task` holds it once less; one that did not take it gives what the first one has."""
        holder = task if task is not None and task in self.holders else next(iter(self.holders), None)
        if holder is None:
            return
        left = self.holders[holder] - 1
        if left:
            self.holders[holder] = left
        else:
            del self.holders[holder]


class ResourceTable:
    """The resources that are tracked; safe from any thread."""

    def __init__(self) -> None:
        self._known: SideTable[Resource] = SideTable()
        self._lock = threading.Lock()

    def of(self, thing: object, made_at: Place | None = None, size: int | None = None) -> Resource:
        """Return what is known of `thing`, made if nothing is."""
        resource = self._known.get(thing)
        if resource is None:
            with self._lock:
                resource = self._known.get(thing)
                if resource is None:
                    resource = Resource(
                        type(thing).__name__,
                        made_at,
                        size,
                        weakref.WeakKeyDictionary(),
                        weakref.WeakKeyDictionary(),
                    )
                    self._known[thing] = resource
        return resource

    def find(self, thing: object) -> Resource | None:
        """Return what is known of `thing`, or ``None``."""
        return self._known.get(thing)

    def all(self) -> list[tuple[object, Resource]]:
        """Return everything that is tracked, and what is known of it."""
        with self._lock:
            return self._known.items()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._known.clear()


RESOURCES: Final = ResourceTable()
"""Those of this process."""


def resource_of(thing: object) -> Resource | None:
    """Return what is known of a lock, semaphore, condition, event or queue; ``None`` if it is not tracked."""
    return RESOURCES.find(thing)


def resources() -> list[tuple[object, Resource]]:
    """Return everything that is tracked and still there, and what is known of it."""
    return RESOURCES.all()


def calling_place() -> Place | None:
    """Return the innermost line that is the program's own."""
    frame = sys._getframe(1)  # noqa: SLF001 -- has been there since Python 2.1
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] not in LIBRARIES:
            code: CodeType = frame.f_code
            return Place(code.co_filename, frame.f_lineno, code.co_qualname)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
