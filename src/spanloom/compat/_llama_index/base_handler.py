"""Base classes of LlamaIndex handlers."""

from __future__ import annotations

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from spanloom.compat._llama_index.schema import CBEventType

__all__ = ["BaseCallbackHandler", "PythonicallyPrintingBaseHandler"]

# Any: payloads and further arguments are the components' and their users'.


class BaseCallbackHandler(ABC):
    """Base of handlers; any object with these methods and attributes works as well.

    A handler that raises is logged once and not called again; the work goes on. See `CallbackManager`.

    Args:
        event_starts_to_ignore: Event types whose start it does not want.
        event_ends_to_ignore: Event types whose end it does not want.
    """

    def __init__(
        self, event_starts_to_ignore: Iterable[CBEventType], event_ends_to_ignore: Iterable[CBEventType]
    ) -> None:
        self.event_starts_to_ignore: tuple[CBEventType, ...] = tuple(event_starts_to_ignore)
        self.event_ends_to_ignore: tuple[CBEventType, ...] = tuple(event_ends_to_ignore)

    @abstractmethod
    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Take the start of an event, and return its id."""

    @abstractmethod
    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Take the end of an event."""

    @abstractmethod
    def start_trace(self, trace_id: str | None = None) -> None:
        """Take the start of an outermost trace."""

    @abstractmethod
    def end_trace(
        self, trace_id: str | None = None, trace_map: Mapping[str, list[str]] | None = None
    ) -> None:
        """Take the end of an outermost trace, with the ids of the children by that of their parent."""


class PythonicallyPrintingBaseHandler(BaseCallbackHandler):
    """Base of handlers that print, or log instead.

    Args:
        event_starts_to_ignore, event_ends_to_ignore: As for `BaseCallbackHandler`; ``None`` for none.
        logger: Gets what would be printed, at level DEBUG; ``None`` prints to ``sys.stdout``.
    """

    def __init__(
        self,
        event_starts_to_ignore: Iterable[CBEventType] | None = None,
        event_ends_to_ignore: Iterable[CBEventType] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        super().__init__(event_starts_to_ignore or (), event_ends_to_ignore or ())
        self.logger: logging.Logger | None = logger

    def _print(self, print_str: str) -> None:
        if self.logger is not None:
            self.logger.debug(print_str)
        else:
            sys.stdout.write(f"{print_str}\n")
            sys.stdout.flush()
