"""logging, on request: what a program logs inside of an event lies under it, a bounded number of lines for each job.

Not by a handler of the root logger: `logging.basicConfig` would find that there is one, and do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import LogRecord
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.handlers.logging import LogEventHandler
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.patches import Patches

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch what gives the records of every logger to its handlers."""
    puts = _Puts().emit

    def call_handlers(wrapped: Callable[..., Any], _: Any, args: Args, kwargs: KwArgs) -> Any:
        record = args[0] if args else kwargs.get("record")
        if isinstance(record, LogRecord):
            puts(record)
        try:
            return wrapped(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            raise

    patches.wrap(module.Logger, "callHandlers", call_handlers)


class _Puts(LogEventHandler):
    """Puts records under the current event, and never reports an error: that is left to the program's own handlers."""

    def handleError(self, record: LogRecord) -> None: ...  # noqa: N802 -- the name of logging's
