"""Whom code calls that only speaks: the handlers of what it logs, and what stands for the terminal.

Neither is named where a line is logged or printed, and either may be the program's: a handler that passes lines on by a
queue, a stream that waits for one of them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Final

from spanloom.diagnosis.fields import field, is_a, module_of

__all__ = ["HEARING", "handlers_of", "streams"]

HEARING: Final = frozenset({"emit", "enqueue", "filter", "flush", "format", "handle", "write"})
"""What is called of these."""
_PRINTING: Final = frozenset({"print", "stderr", "stdout"})


def handlers_of(value: object) -> Iterator[object]:
    """Yield the handlers and filters that hear what is logged by a logger, or by the module `logging`."""
    logger: object = logging.root if is_a(value, ModuleType) and value is logging else value
    while is_a(logger, logging.Logger):
        for handler in list(field(logger, "handlers", ())):
            yield handler
            yield from list(field(handler, "filters", ()))
        yield from list(field(logger, "filters", ()))
        logger = field(logger, "parent") if field(logger, "propagate") else None


def streams(names: Iterable[str]) -> Iterator[object]:
    """Yield what code with these names may print to, if that is not the interpreter's own."""
    if not _PRINTING.isdisjoint(names):
        for stream in (sys.stdout, sys.stderr):
            if module_of(type(stream)) not in {"_io", "io", "builtins"}:
                yield stream
