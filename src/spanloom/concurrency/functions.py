"""Checks of functions whose calls are awaited, made early: else each call would fail, and be retried."""

from __future__ import annotations

import inspect
from typing import Any, Final

from spanloom.concurrency.names import name_of

__all__ = ["check_awaitable", "check_function"]

_YIELDS: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def check_function(func: Any, runner: str) -> None:
    """Make sure that `func` can be called, and that its result can be awaited; see `check_awaitable`.

    Raises:
        TypeError: it is not callable, or is a generator function.
    """
    if not callable(func):
        raise TypeError(
            f"{runner} takes a function first and then the items, but {type(func).__name__} came first"
        )
    check_awaitable(func, runner)


def check_awaitable(function: object, caller: str) -> None:
    """Make sure that the result of `function` can be awaited, as far as can be told without calling it.

    Raises:
        TypeError: it is a generator function or an async generator function.
    """
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if (
        flags & _YIELDS and not flags & inspect.CO_ITERABLE_COROUTINE
    ):  # a generator function decorated with ``types.coroutine`` may be awaited
        raise TypeError(f"{caller} awaits what a function returns, but {name_of(function)} yields")
