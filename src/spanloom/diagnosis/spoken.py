"""What code calls by logging or printing: log handlers and filters, and objects in place of `sys.stdout`.

They are not named where a line is logged or printed, and may be the program's own: a handler that puts records into a
queue, say, or a stream that sets an event when a certain line comes.
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
"""Names of their methods that are called."""
_PRINTING: Final = frozenset({"print", "stderr", "stdout"})


def handlers_of(value: object) -> Iterator[object]:
    """Yield the handlers and filters of a logger and of those it propagates to; for `logging`, of the root logger."""
    logger: object = logging.root if is_a(value, ModuleType) and value is logging else value
    while is_a(logger, logging.Logger):
        for handler in list(field(logger, "handlers", ())):
            yield handler
            yield from list(field(handler, "filters", ()))
        yield from list(field(logger, "filters", ()))
        logger = field(logger, "parent") if field(logger, "propagate") else None


def streams(names: Iterable[str]) -> Iterator[object]:
    """Yield the objects that code with these names may print to, without streams of the interpreter's own."""
    if not _PRINTING.isdisjoint(names):
        for stream in (sys.stdout, sys.stderr):
            if module_of(type(stream)) not in {"_io", "io", "builtins"}:
                yield stream
