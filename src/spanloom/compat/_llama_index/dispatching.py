"""spanloom's events for listeners of the real package's dispatcher."""

from __future__ import annotations

import inspect
from typing import Any, Final

from spanloom.compat._llama_index.relay import error_of
from spanloom.compat._llama_index.schema import hex_id
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.instrument.llama_spans import BRIDGING, bridging, span_id_of

__all__ = ["DispatcherHandler"]

_NO_ARGUMENTS: Final = inspect.signature(lambda: None).bind()

# Any: the real package is not imported before it is needed.


class DispatcherHandler(Handler):
    """Pass spanloom's events to LlamaIndex's span handlers: ``manager.add_handler(DispatcherHandler())``.

    Every batch, job, attempt or scope is a span of the real package's dispatcher, and the parent of the spans that
    LlamaIndex enters inside. It has an id made of the event's name and id, and tags for the type and the position of a
    job. One that fails or is cancelled is dropped, with its exception or something that has that type and text. What
    ``spanloom.instrument`` has been told by LlamaIndex is not told back.

    Args:
        dispatcher: A dispatcher of the real package; by default the root of all.

    Raises:
        ImportError: llama-index-instrumentation is not installed.
    """

    def __init__(self, dispatcher: Any = None) -> None:
        from llama_index_instrumentation import get_dispatcher
        from llama_index_instrumentation.span import active_span_id

        self._dispatcher: Any = dispatcher or get_dispatcher()
        self._active: Any = active_span_id
        # By event id: the span's id, and that of the span it is in.
        self._told: dict[int, tuple[str, str | None]] = {}

    def on_event_start(self, event: Event) -> None:
        """Enter a span, and make it the parent of those that LlamaIndex enters in this context."""
        if BRIDGING.get():
            return
        id_ = f"{event.name}-{hex_id(event.event_id)}"
        parent_id = None if event.parent_id is None else self._id_of(event.parent_id)
        tags: dict[str, object] = {"spanloom.type": str(event.type)}
        if event.job_index is not None:
            tags["spanloom.job.index"] = event.job_index
        self._told[event.event_id] = id_, parent_id
        with bridging():
            self._dispatcher.span_enter(id_=id_, bound_args=_NO_ARGUMENTS, parent_id=parent_id, tags=tags)
        self._active.set(id_)

    def _id_of(self, event_id: int) -> str | None:
        told = self._told.get(event_id)
        return span_id_of(event_id) if told is None else told[0]

    def on_event_end(self, event: Event) -> None:
        """Exit it, or drop it."""
        told = self._told.pop(event.event_id, None)
        if told is None:
            return
        id_, parent_id = told
        if self._active.get() == id_:
            self._active.set(parent_id)
        error = error_of(event)
        with bridging():
            if error is None:
                self._dispatcher.span_exit(id_=id_, bound_args=_NO_ARGUMENTS)
            else:
                self._dispatcher.span_drop(id_=id_, bound_args=_NO_ARGUMENTS, err=error)
