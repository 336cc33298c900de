"""How the fast lane isolates jobs, and the code of the input, without a task for each.

A context keeps its variables in an immutable map, which setting a variable replaces. A copied
`Context` refers only to that map, so ``gc.get_referents`` returns it, and while it is the same
object nothing was set (checked by tests/concurrency/test_workers.py). Otherwise the values are
compared one by one, by identity: comparing contexts for equality would run user code, and would
take a list for another, equal one.
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
"""Types of the iterators over built-in containers."""


def differ(before: Context, after: Context) -> bool:
    """Tell whether any variable is bound to another object than before; setting and resetting one is no difference."""
    return len(before) != len(after) or any(
        after.get(key, MISSING) is not value for key, value in before.items()
    )


def in_context(iterator: Iterator[object], context: Context) -> Iterator[object]:
    """Return an iterator over the same items whose code runs in `context`; per item, only C code runs.

    A generator, because it does not resume: an input that has ended or raised is never asked again, however
    many workers still look for jobs. Not ``iter(function, sentinel)``, which compares every item with the
    sentinel.
    """
    yield from map(context.run, repeat(next), repeat(iterator))


def is_quiet(iterator: Iterator[object]) -> bool:
    """Tell whether pulling from `iterator` runs no user code, as far as its type tells.

    ``map(fetch, urls)`` is quiet if ``fetch`` is a coroutine function: calling it only makes a
    coroutine.
    """
    kind = type(iterator)
    if kind is map:
        function, *iterators = cast("tuple[Any, ...]", iterator.__reduce__()[1])  # what it was made of
        return _makes_coroutines(function) and _BUILT_IN.issuperset(map(type, iterators))
    return kind in _BUILT_IN


def _makes_coroutines(function: Any) -> bool:
    # Not inspect.iscoroutinefunction(): it also believes a mark that any function can be given.
    while (kind := type(function)) is partial or kind is MethodType:
        function = function.func if kind is partial else function.__func__
    return kind is FunctionType and bool(function.__code__.co_flags & CO_COROUTINE)
