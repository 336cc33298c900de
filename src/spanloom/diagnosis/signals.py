"""The handlers of signals and of failures that the program has set, and whose code a call runs."""

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
"""Modules whose functions listen, and do nothing for the program."""


def set_handlers() -> Iterator[tuple[int, Callable[..., Any]]]:
    """Yield the handlers of signals that the program has set, each with the number of its signal."""
    for number in range(1, signal.NSIG):
        try:
            # That of the module `signal` compares what the program has set with its own constants.
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
    """Yield what the program has set to be told of failures that nobody has caught, of threads and of finalisers."""
    for hook, usual in (
        (threading.excepthook, threading.__excepthook__),
        (sys.unraisablehook, sys.__unraisablehook__),
    ):
        if hook is not usual and not module_called(hook).startswith(OURS):
            yield hook


def module_called(function: object) -> str:
    """Return the module of what is called: of a function its own, else that of its class."""
    found = field(function, "__module__")
    return found if type(found) is str else module_of(type(function))
