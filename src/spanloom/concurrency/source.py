"""Where jobs come from: any iterable, iterator or async iterator, pulled one by one."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Collection, Iterator
from types import CoroutineType
from typing import Final, cast

from spanloom.events.event import JobFamily

__all__ = ["Source", "name_family", "name_of"]

_QUIET: Final = frozenset({list, tuple, range, set, frozenset, dict, str, bytes})
"""Iterating over these runs no code of the user's."""


class Source:
    """One pass over the input of a runner.

    Args:
        items: Iterable, iterator, async iterable or async iterator.
        what: What the caller's parameter is called, for the error message.

    Attributes:
        total: How many items there are; ``None`` if the input cannot tell.
        first: The first item of a list or tuple, to take a name from; else ``None``.
        sync: The iterator, or ``None`` for an asynchronous input.
        asynchronous: The async iterator, or ``None``.
        quiet: True if pulling runs no code of the user's.

    Raises:
        TypeError: `items` is none of these; nothing has been consumed.
    """

    __slots__ = ("_owned", "asynchronous", "first", "quiet", "sync", "total")

    def __init__(self, items: object, what: str = "jobs") -> None:
        self.sync: Iterator[object] | None = None
        self.asynchronous: AsyncIterator[object] | None = None
        self.quiet: bool = type(items) in _QUIET
        # A container's coroutines were made for this call, whatever it takes of them. What a
        # generator has not made yet is its own affair.
        self._owned = self.quiet or isinstance(items, Collection)
        self.total: int | None = len(cast("Collection[object]", items)) if self._owned else None
        self.first: object = items[0] if isinstance(items, (list, tuple)) and items else None
        if not self.quiet and hasattr(items, "__aiter__"):
            self.asynchronous = items.__aiter__()
            return
        try:
            self.sync = iter(items)  # type: ignore[call-overload]  # the error is what we are after
        except TypeError:
            raise TypeError(
                f"{what} must be an iterable or async iterable, not {type(items).__name__}"
                + (f"; pass a list: [{what[:-1] or what}]" if inspect.isawaitable(items) else "")
            ) from None

    def close_unstarted(self) -> None:
        """Close the coroutines of a container that nobody will start, so that none warns."""
        if not self._owned or self.sync is None:
            return
        for item in self.sync:
            if type(item) is CoroutineType and inspect.getcoroutinestate(item) == inspect.CORO_CREATED:
                item.close()


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
