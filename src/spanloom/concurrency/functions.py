"""Functions whose calls are awaited, checked where they are given: else each call would fail, and be tried again."""

from __future__ import annotations

import inspect
from typing import Any, Final

from spanloom.concurrency.names import name_of

__all__ = ["check_awaitable", "check_function"]

_YIELDS: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def check_function(func: Any, runner: str) -> None:
    """Make sure that `func` can be called with an item, and that there is something to await then.

    Raises:
        TypeError: it cannot, or it yields.
    """
    if not callable(func):
        raise TypeError(
            f"{runner} takes a function first and then the items, but {type(func).__name__} came first"
        )
    check_awaitable(func, runner)


def check_awaitable(function: object, caller: str) -> None:
    """Make sure that what `function` returns can be awaited, as far as can be told without calling it.

    Raises:
        TypeError: it is a generator function, or an async one.
    """
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if (
        flags & _YIELDS and not flags & inspect.CO_ITERABLE_COROUTINE
    ):  # which ``types.coroutine`` has made of it
        raise TypeError(f"{caller} awaits what a function returns, but {name_of(function)} yields")
