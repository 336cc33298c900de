"""How the fast lane keeps jobs, and the code of the input, apart without a task for each.

A context keeps its variables in an immutable map, which a set replaces. The map is all that a
copied `Context` refers to, so ``gc.get_referents`` returns the map itself, and while it is the same
one nothing was set (tests/concurrency/test_workers.py holds this to be so). Else the values are
compared one by one, by identity: equality of contexts would run code of the user's, and take a list
for an equal other list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import Context
from functools import partial
from inspect import CO_COROUTINE
from itertools import repeat
from types import FunctionType, MethodType
from typing import Any, Final, cast

from spanloom.concurrency.sink import MISSING

__all__ = ["differ", "in_context", "is_quiet"]

_CONTAINERS: Final[tuple[Iterable[object], ...]] = (
    [],
    (),
    set(),
    {},
    {}.values(),
    {}.items(),
    range(0),
    range(1 << 63),
)
_BUILT_IN: Final = frozenset(type(iter(container)) for container in _CONTAINERS)
"""Iterators that hand out what a built-in container holds."""


def differ(before: Context, after: Context) -> bool:
    """Tell whether a variable is bound to another object than before: a set that was undone is none."""
    return len(before) != len(after) or any(
        after.get(key, MISSING) is not value for key, value in before.items()
    )


def in_context(iterator: Iterator[object], context: Context) -> Iterator[object]:
    """Return an iterator over the same items whose code runs in `context`; what happens per item is all C.

    A generator, because that is final: it asks an input that has ended or raised for nothing more, however
    many workers still look for jobs. And not ``iter(function, sentinel)``: that asks every item whether it
    equals the sentinel.
    """
    yield from map(context.run, repeat(next), repeat(iterator))


def is_quiet(iterator: Iterator[object]) -> bool:
    """Tell whether pulling from `iterator` runs no code of the user's, as far as its type can tell.

    ``map(fetch, urls)`` is quiet where ``fetch`` is a coroutine function: to call one makes a
    coroutine, and runs nothing of it.
    """
    kind = type(iterator)
    if kind is map:
        function, *iterators = cast("tuple[Any, ...]", iterator.__reduce__()[1])  # what it was made of
        return _makes_coroutines(function) and _BUILT_IN.issuperset(map(type, iterators))
    return kind in _BUILT_IN


def _makes_coroutines(function: Any) -> bool:
    # Not inspect.iscoroutinefunction(): that takes a mark which any function may be given for the fact.
    while (kind := type(function)) is partial or kind is MethodType:
        function = function.func if kind is partial else function.__func__
    return kind is FunctionType and bool(function.__code__.co_flags & CO_COROUTINE)
