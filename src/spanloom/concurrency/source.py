"""Where jobs come from: any iterable, iterator or async iterator, pulled one by one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from itertools import chain, islice
from types import CoroutineType
from typing import Any, Final, cast

import msgspec

__all__ = ["Source", "discard"]

_QUIET: Final = frozenset({list, tuple, range, set, frozenset, dict, str, bytes})
"""Iterating over these runs no user code."""
_OWNED: Final = frozenset({list, tuple, set, frozenset})
"""Jobs in these exist already, made for this call, so those that are not started must be closed."""
CLOSE_SLICE: Final = 2000
"""Unstarted jobs closed between two turns of the loop: some 2 ms."""


class Source(msgspec.Struct, eq=False):
    """One pass over the input of a runner. Made by `of`, or by `together`.

    Attributes:
        sync: The iterator, or ``None`` for an asynchronous input.
        asynchronous: The async iterator, or ``None``.
        total: Number of items; ``None`` if the input cannot tell.
        first: The first item of a list or tuple of jobs, from which to take a name; else ``None``.
        quiet: True if pulling runs no user code.
        fixed: True if the input cannot change while it is pulled.
        jobs: True if the items are the jobs themselves.
    """

    sync: Iterator[object] | None
    asynchronous: AsyncIterator[object] | None
    total: int | None
    first: object
    quiet: bool
    fixed: bool
    jobs: bool
    _unstarted: Iterator[object] | None = None

    @classmethod
    def together(cls, aws: tuple[object, ...]) -> Source:
        """Return the source of awaitables given as arguments."""
        jobs = iter(aws)
        return cls(jobs, None, len(aws), aws[0] if aws else None, True, True, True, jobs)

    @classmethod
    def of(cls, items: object, what: str = "jobs", *, jobs: bool = True) -> Source:
        """Return the source of a runner's input.

        Args:
            items: Iterable, iterator, async iterable or async iterator.
            what: Name of the caller's parameter, for the error message.
            jobs: True if the items are the jobs themselves, not what a function is called with.

        Raises:
            TypeError: `items` is none of these; nothing has been consumed.
        """
        kind = type(items)
        quiet = kind in _QUIET
        fixed = kind is tuple or kind is range
        sized = quiet or isinstance(items, Collection)
        total = len(cast("Collection[object]", items)) if sized else None
        first = items[0] if jobs and isinstance(items, (list, tuple)) and items else None
        if not quiet and hasattr(items, "__aiter__"):
            return cls(None, items.__aiter__(), total, first, quiet, fixed, jobs)
        try:
            sync = iter(items)  # type: ignore[call-overload]  # the error is what we are after
        except TypeError:
            raise TypeError(
                f"{what} must be an iterable or async iterable, not {kind.__name__}"
                + (f"; pass a list: [{what[:-1] or what}]" if inspect.isawaitable(items) else "")
            ) from None
        # Only items of built-in containers are closed: a generator has not made its items yet, and iterating
        # over a foreign container may do anything.
        return cls(sync, None, total, first, quiet, fixed, jobs, sync if jobs and kind in _OWNED else None)

    def give_back(self, items: Iterable[object]) -> None:
        """Return items that were pulled but not started, for `close_some`, if it closes those of this input."""
        if self._unstarted is not None:
            self._unstarted = chain(items, self._unstarted)

    def close_some(self, adopt: Callable[[asyncio.Future[Any]], None]) -> bool:
        """Close some of the coroutines that will not be started, so that Python does not warn about them.

        Args:
            adopt: Called with each task or future that will not be awaited.

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
