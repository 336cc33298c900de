"""Where jobs come from: any iterable, iterator or async iterator, pulled one by one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from itertools import islice
from types import CoroutineType
from typing import Any, Final, cast

from spanloom.events.event import JobFamily

__all__ = ["Source", "name_family", "name_of"]

_QUIET: Final = frozenset({list, tuple, range, set, frozenset, dict, str, bytes})
"""Iterating over these runs no code of the user's."""
_OWNED: Final = frozenset({list, tuple, set, frozenset})
"""What is in these was made for this call, whatever it takes of it."""
CLOSE_SLICE: Final = 2000
"""Unstarted jobs closed in one go: some 2 ms."""


class Source:
    """One pass over the input of a runner.

    Args:
        items: Iterable, iterator, async iterable or async iterator.
        what: What the caller's parameter is called, for the error message.
        jobs: True if the items are the jobs themselves, not what a function is called with.

    Attributes:
        total: How many items there are; ``None`` if the input cannot tell.
        first: The first item of a list or tuple of jobs, to take a name from; else ``None``.
        sync: The iterator, or ``None`` for an asynchronous input.
        asynchronous: The async iterator, or ``None``.
        quiet: True if pulling runs no code of the user's.
        fixed: True if the input cannot change while it is pulled.

    Raises:
        TypeError: `items` is none of these; nothing has been consumed.
    """

    __slots__ = ("_unstarted", "asynchronous", "first", "fixed", "quiet", "sync", "total")

    def __init__(self, items: object, what: str = "jobs", *, jobs: bool = True) -> None:
        kind = type(items)
        self.sync: Iterator[object] | None = None
        self.asynchronous: AsyncIterator[object] | None = None
        self.quiet: bool = kind in _QUIET
        self.fixed: bool = kind is tuple or kind is range
        sized = self.quiet or isinstance(items, Collection)
        self.total: int | None = len(cast("Collection[object]", items)) if sized else None
        self.first: object = items[0] if jobs and isinstance(items, (list, tuple)) and items else None
        self._unstarted: Iterator[object] | None = None
        if not self.quiet and hasattr(items, "__aiter__"):
            self.asynchronous = items.__aiter__()
            return
        try:
            self.sync = iter(items)  # type: ignore[call-overload]  # the error is what we are after
        except TypeError:
            raise TypeError(
                f"{what} must be an iterable or async iterable, not {kind.__name__}"
                + (f"; pass a list: [{what[:-1] or what}]" if inspect.isawaitable(items) else "")
            ) from None
        # What a generator has not made yet is its own affair, and what somebody's own container does
        # when it is iterated over, nobody knows.
        if jobs and kind in _OWNED:
            self._unstarted = self.sync

    def close_some(self, adopt: Callable[[asyncio.Future[Any]], None]) -> bool:
        """Close some of the coroutines that nobody will start, so that none warns.

        Args:
            adopt: Called with each task or future that nobody will await.

        Returns:
            True if there are no more.
        """
        if self._unstarted is None:
            return True
        count = 0
        for item in islice(self._unstarted, CLOSE_SLICE):
            count += 1
            discard(item, adopt)
        return count < CLOSE_SLICE


def discard(item: object, adopt: Callable[[asyncio.Future[Any]], None]) -> None:
    """Close a job that will not be started: a coroutine at once, a task or future by `adopt`."""
    if type(item) is CoroutineType:
        if inspect.getcoroutinestate(item) == inspect.CORO_CREATED:
            item.close()
    elif asyncio.isfuture(item) and not item.done():
        adopt(item)


def name_family(family: JobFamily, item: object) -> None:
    """Name a family after its first job, if there was nothing to take a name from before the batch began."""
    if not family.name:
        family.name = name_of(item) or "job"


def name_of(job: object) -> str | None:
    """Return what the author calls `job`: the qualified name of its function, without ``<locals>``."""
    while hasattr(job, "func"):  # functools.partial
        job = job.func
    name = getattr(job, "__qualname__", None)
    if not isinstance(name, str):
        if not callable(job):
            return None
        name = type(job).__qualname__
    return name.rpartition("<locals>.")[2]
