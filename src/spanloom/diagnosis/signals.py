"""The handlers of signals and of uncaught exceptions that the program has set."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the checker has no stub for it
import functools
import signal
import sys
import threading
from asyncio import runners
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, Final

from spanloom.diagnosis.fields import field, is_a, module_of

__all__ = ["OURS", "module_called", "set_handlers", "set_hooks"]

OURS: Final = (
    "spanloom.diagnosis",
    "spanloom.callbacks",
    "spanloom.handlers",
    "spanloom.store",
    "spanloom.cli",
)
"""Packages of our listening side: their functions never end a wait of the program's."""


def set_handlers() -> Iterator[tuple[int, Callable[..., Any]]]:
    """Yield ``(signal number, handler)`` for the handlers that the program has set."""
    for number in range(1, signal.NSIG):
        try:
            # Not `signal.getsignal`, which compares the handler with its enums, and so may run an ``__eq__`` of it.
            handler = _signal.getsignal(number)
        except ValueError:
            continue
        if not callable(handler) or handler is signal.default_int_handler or is_a(handler, int):
            continue
        inner: Any = handler
        while type(inner) is functools.partial:
            inner = inner.func
        function = inner.__func__ if type(inner) is MethodType else inner
        if function is runners.Runner._on_sigint:  # type: ignore[attr-defined] # noqa: SLF001 -- what asyncio.run() sets
            continue
        if not module_called(function).startswith((*OURS, "spanloom.concurrency")):
            yield number, handler


def set_hooks() -> Iterator[Callable[..., Any]]:
    """Yield the program's own `threading.excepthook` and `sys.unraisablehook`, if it has set them."""
    for hook, usual in (
        (threading.excepthook, threading.__excepthook__),
        (sys.unraisablehook, sys.__unraisablehook__),
    ):
        if hook is not usual and not module_called(hook).startswith(OURS):
            yield hook


def module_called(function: object) -> str:
    """Return the module of a callable: a function's own, else that of its class."""
    found = field(function, "__module__")
    return found if type(found) is str else module_of(type(function))
