"""The one place for an `OpenTelemetryHandler` on the process's default manager.

Three parties may add one: the environment (``SPANLOOM_HANDLERS=otel``), ``opentelemetry-instrument``, and a program
that calls `configure`. With several, every span would be exported several times. So the last one takes the place, and
leaving it gives it back to the one before.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from spanloom.callbacks.ambient import with_default_manager
from spanloom.callbacks.manager import CallbackManager
from spanloom.handlers.otel._handler import OpenTelemetryHandler

__all__ = ["PLACE", "Place"]

_logger = logging.getLogger("spanloom.handlers.otel")


class Place:
    """The handler in the place, and those displaced.

    The default manager is not made for it: a program may still set the variables that describe it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._manager: CallbackManager | None = None
        self._is_waiting = False
        self._takers: list[OpenTelemetryHandler] = []
        self._displaced: list[tuple[int, object]] = []
        """Handlers that others had put there, with their positions: they come back when the last taker is gone."""

    def take(self, handler: OpenTelemetryHandler) -> None:
        """Put `handler` into the place, also again; the one that is there is removed, flushed and closed."""
        with self._lock:
            if handler in self._takers:
                self._takers.remove(handler)
            self._takers.append(handler)
            is_first, self._is_waiting = not self._is_waiting, True
            if self._manager is not None:
                self._settle(self._manager)
        if is_first:
            with_default_manager(
                self._arrive
            )  # not under our lock: it has one of its own, and calls back under that

    def leave(self, handler: OpenTelemetryHandler, timeout: float) -> bool:
        """Remove `handler` for good, and restore the handlers that it displaced.

        Returns:
            True if `handler` got everything within `timeout` s.
        """
        with self._lock:
            if handler not in self._takers:
                return True
            self._takers.remove(handler)
            manager = self._manager
            if manager is None:
                return True
            done = True
            if handler in manager.handlers:
                done = manager.remove_handler(handler, timeout)
            self._settle(manager)
            return done

    def flush(self, timeout: float) -> bool:
        """Flush the default manager, if there is one; see `CallbackManager.flush`."""
        manager = self._manager
        return manager is None or manager.flush(timeout)

    def _arrive(self, manager: CallbackManager) -> None:
        with self._lock:
            self._manager = manager
            self._settle(manager)

    def _settle(self, manager: CallbackManager) -> None:
        if not self._takers:
            self._give_back(manager)
            return
        last = self._takers[-1]
        others = [
            (index, handler)
            for index, handler in enumerate(manager.handlers)
            if isinstance(handler, OpenTelemetryHandler) and handler is not last
        ]
        for index, handler in others:
            if handler not in self._takers:
                self._displaced.append((index, handler))
                _logger.info("an OpenTelemetryHandler of the default manager gives its place to another")
            manager.remove_handler(handler)
        manager.add_handler(last)

    def _give_back(self, manager: CallbackManager) -> None:
        handlers = manager.handlers
        for index, handler in self._displaced:
            if handler not in handlers:
                handlers.insert(index, handler)
        if self._displaced:
            self._displaced = []
            manager.set_handlers(handlers)


PLACE: Final = Place()
"""There is one default manager."""
