"""The context managers that `CallbackManager` returns: of one event, and of one trace."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from spanloom.compat._llama_index.frames import HERE, Frame
from spanloom.compat._llama_index.schema import EventPayload

if TYPE_CHECKING:
    from spanloom.compat._llama_index.manager import CallbackManager

__all__ = ["EventContext", "TraceContext"]

_logger = logging.getLogger("spanloom.compat")

# Any: payloads and further arguments are the components' and their users'.


class EventContext:
    """One event, started at most once and ended at most once; what `CallbackManager.event` returns.

    An exception or a cancel that leaves its block ends it with ``{EventPayload.EXCEPTION: error}``, and propagates as
    the same object.

    Args:
        callback_manager: Carries the event.
        event_type: A `CBEventType`, or any text.
        event_id: The id to take; by default a fresh one.
        payload: What handlers get with the start, where that is the entry of the block.

    Attributes:
        started: Whether it has started.
        finished: Whether it has ended.
    """

    def __init__(
        self,
        callback_manager: CallbackManager,
        event_type: object,
        event_id: str | None = None,
        *,
        payload: dict[str, Any] | None = None,
    ) -> None:
        self._callback_manager = callback_manager
        self._event_type = event_type
        self._event_id = event_id
        self._payload = payload
        self.started: bool = False
        self.finished: bool = False

    @property
    def event_id(self) -> str | None:
        """The id of the event; ``None`` before its start, unless one was given."""
        return self._event_id

    def on_start(self, payload: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Start the event; one that has started already logs a warning instead.

        Args:
            payload: What handlers get with it.
            kwargs: Passed on to the handlers.

        Raises:
            ValueError: a handler's token budget is used up; the event has ended.
        """
        if self.started:
            _logger.warning("event %s (%s) has started already", self._event_type, self._event_id)
            return
        self.started = True
        try:
            self._event_id = self._callback_manager.start(
                self._event_type, payload, self._event_id, None, kwargs, block=True
            )
        except ValueError:
            self.finished = True
            raise

    def on_end(self, payload: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """End the event; only the first call counts.

        Args:
            payload: What handlers get with it.
            kwargs: Passed on to the handlers.

        Raises:
            ValueError: a handler's token budget is used up; the event has ended.
        """
        self._end(payload, kwargs, may_stop=True)

    def _end(self, payload: dict[str, Any] | None, extra: dict[str, Any], *, may_stop: bool) -> None:
        if not self.finished:
            self.finished = True
            self._callback_manager.end(self._event_type, payload, self._event_id, extra, may_stop=may_stop)

    def __enter__(self) -> Self:
        self.on_start(self._payload)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        payload: dict[str, Any] | None = None if error is None else {EventPayload.EXCEPTION: error}
        # The caller must see what the block raised, not a handler's error.
        self._end(payload, {}, may_stop=error is None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class TraceContext:
    """One trace; what `CallbackManager.as_trace` returns.

    Args:
        callback_manager: Carries it.
        name: Its name.
    """

    def __init__(self, callback_manager: CallbackManager, name: str) -> None:
        self._callback_manager = callback_manager
        self._name = name
        self._frame: Frame | None = None
        self._inside: Frame | None = None

    def start(self) -> object:
        """Start the trace without a ``with`` block; `end` must follow."""
        self._frame = self._callback_manager.begin_trace(self._name)
        return self._frame

    def end(self, error: BaseException | None = None) -> None:
        """End the trace; `error` is what ended it."""
        if self._frame is not None:
            self._callback_manager.finish_trace(self._frame, self._name, error)

    def suspend(self) -> None:
        """Leave the context while a generator's body is suspended."""
        frame = self._frame
        if frame is not None and frame.context is not None and frame.within():
            self._inside = HERE.get()
            HERE.set(frame.outer)
            frame.context.suspend()

    def resume(self) -> None:
        """Restore, in the context that now runs the generator's body, what was current in the body."""
        frame = self._frame
        if frame is not None and frame.context is not None and self._inside is not None:
            frame.outer = HERE.get()
            HERE.set(self._inside)
            frame.context.resume()

    def __enter__(self) -> None:
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)
