"""`CallbackManager`: LlamaIndex's events, carried by spanloom's manager and passed to LlamaIndex's handlers."""

from __future__ import annotations

import sys
import threading
from abc import ABCMeta
from collections.abc import Iterable, Mapping
from typing import Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.emitter import Emitter
from spanloom.compat._llama_index.audience import Audience, CallbackHandler
from spanloom.compat._llama_index.defaults import with_defaults
from spanloom.compat._llama_index.event_context import EventContext, TraceContext
from spanloom.compat._llama_index.frames import HERE, MAX_UNTRACED, Frame, TraceState, settle
from spanloom.compat._llama_index.payload import span_payload, span_type
from spanloom.compat._llama_index.relay import relay_jobs, stop_idle_relay
from spanloom.compat._llama_index.schema import (
    BASE_TRACE_EVENT,
    LEAF_EVENTS,
    CBEventType,
    EventPayload,
    hex_id,
)
from spanloom.events.ids import new_event_id

__all__ = ["CallbackManager"]

REAL_MANAGER: Final = "llama_index.core.callbacks.base"

# Any: payloads and further arguments are the components' and their users'.


class CallbackManager:
    """Pass events to LlamaIndex handlers; each is an event of spanloom's manager, too.

    The events go to `spanloom.get_callback_manager`, so spans, records and diagnosis have them, and batches that run
    inside are under them. The handlers get the jobs of those batches as ``CBEventType.ASYNC_JOB``.

    Traces and events belong to the task or thread that opens them and to the tasks that it starts: any number may run
    at once on one manager, each with a map of its own. The real package's components accept it as their manager if it
    is made after that package is imported. A handler that raises is logged once and not called until it is added
    again; only a handler with a ``token_budget`` can stop the work, by its ``ValueError``.

    Args:
        handlers: LlamaIndex handlers, of this module or of the real package; the list is copied. If the real package
            is imported, that of its ``set_global_handler`` comes last; without any, those of its
            ``Settings.callback_manager`` are taken.
        manager: spanloom's manager that gets the events; by default the ambient one, asked at each start.
    """

    def __init__(
        self, handlers: Iterable[CallbackHandler] | None = None, *, manager: Emitter | None = None
    ) -> None:
        self._audience = Audience(with_defaults(handlers or ()))
        self._manager = manager
        self._lock = threading.Lock()
        self._open: dict[str, list[Frame]] = {}
        self._untraced = TraceState(MAX_UNTRACED)
        self._latest: TraceState | None = None
        # The real package's components replace what is no instance of their own manager, which is an ABC.
        real: Any = getattr(sys.modules.get(REAL_MANAGER), "CallbackManager", None)
        if isinstance(real, ABCMeta):
            real.register(CallbackManager)

    # handlers ---------------------------------------------------------------------------------------------

    @property
    def handlers(self) -> list[CallbackHandler]:
        """The handlers, in order; the list itself. May be assigned to, as `set_handlers` does."""
        return self._audience.handlers

    @handlers.setter
    def handlers(self, handlers: Iterable[CallbackHandler]) -> None:
        self.set_handlers(handlers)

    def add_handler(self, handler: CallbackHandler) -> None:
        """Add a handler at the end; one that has failed is called again.

        Raises:
            TypeError: it is a handler for spanloom's own manager.
        """
        self._audience.add(handler)

    def remove_handler(self, handler: CallbackHandler) -> None:
        """Remove a handler.

        Raises:
            ValueError: it is not there.
        """
        self._audience.handlers.remove(handler)
        stop_idle_relay()

    def set_handlers(self, handlers: Iterable[CallbackHandler]) -> None:
        """Replace all handlers by these.

        Raises:
            TypeError: one of them is a handler for spanloom's own manager.
        """
        self._audience = Audience(handlers)
        stop_idle_relay()

    # events -----------------------------------------------------------------------------------------------

    def event(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str | None = None,
    ) -> EventContext:
        """Return a context that starts an event on entry and ends it on exit, with ``with`` or ``async with``.

        Args:
            event_type: A `CBEventType`, or any text.
            payload: What handlers get with the start.
            event_id: The id to use; by default that of spanloom's event, as 16 hexadecimal digits.
        """
        return EventContext(self, event_type, event_id, payload=payload)

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str | None = None,
        parent_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Start an event, make it the parent of what follows in this context, and return its id.

        Prefer `event`, which cannot be left open.

        Args:
            event_type, payload, event_id: As for `event`.
            parent_id: Id of the parent event, for the handlers; by default the innermost open one.
            kwargs: Passed on to the handlers.

        Raises:
            ValueError: a handler's token budget is used up; the event has ended.
        """
        return self.start(event_type, payload, event_id, parent_id, kwargs)

    def start(
        self,
        event_type: object,
        payload: Mapping[str, Any] | None,
        event_id: str | None,
        parent_id: str | None,
        extra: Mapping[str, Any],
        *,
        block: bool = False,
    ) -> str:
        """Do what `on_event_start` does; with `block`, even a leaf's span is the parent of what is inside."""
        settle()
        around = self.frame()
        trace = None if around is None else around.trace
        manager = self._carrier()
        frame = Frame(self, trace)
        type, name = span_type(event_type)
        event = frame.open(manager, manager.event(type, span_payload(payload), name=name))
        frame.event_id = event_id = event_id or hex_id(event.event_id)
        parent_id = parent_id or (BASE_TRACE_EVENT if around is None else around.event_id)
        with self._lock:
            (self._untraced if trace is None else trace).note(parent_id, event_id)
            self._open.setdefault(event_id, []).append(frame)
        if event_type not in LEAF_EVENTS:
            frame.push()
        elif not block:
            manager.current.set(frame.outer_event)
        stops = self._audience.tell("on_event_start", event_type, payload, event_id, parent_id, extra)
        for error in stops.values():
            self._close(event_id, error, None)
            told = {EventPayload.EXCEPTION: error}
            self._audience.tell("on_event_end", event_type, told, event_id, extra, without=stops)
            raise error
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        """End the event with this id, at any depth. If it is not open, only the handlers get its end.

        Args:
            event_type: As at the start.
            payload: What handlers get with the end. An exception under ``EventPayload.EXCEPTION`` makes it an error.
            event_id: What `on_event_start` returned.
            kwargs: Passed on to the handlers.

        Raises:
            ValueError: a handler's token budget is used up; the event has ended.
        """
        self.end(event_type, payload, event_id, kwargs)

    def end(
        self,
        event_type: object,
        payload: Mapping[str, Any] | None,
        event_id: str | None,
        extra: Mapping[str, Any],
        *,
        may_stop: bool = True,
    ) -> None:
        """Do what `on_event_end` does; raise nothing unless `may_stop`."""
        told = None if payload is None else payload.get(EventPayload.EXCEPTION)
        error = told if isinstance(told, BaseException) else None
        event_id = event_id or hex_id(new_event_id())
        self._close(event_id, error, payload)
        stops = self._audience.tell("on_event_end", event_type, payload, event_id, extra)
        if may_stop:
            for stop in stops.values():
                raise stop

    def _close(self, event_id: str, error: BaseException | None, payload: Mapping[str, Any] | None) -> None:
        with self._lock:
            frames = self._open.get(event_id)
            if not frames:
                return
            frame = frames.pop()
            if not frames:
                del self._open[event_id]
        if frame.trace is not None and error is not None:
            frame.trace.told = error
        if frame.context is not None and (more := span_payload(payload)):
            frame.context.set(**more)
        frame.close(error)

    # traces -----------------------------------------------------------------------------------------------

    def as_trace(self, trace_id: str) -> TraceContext:
        """Return a context that starts a trace on entry and ends it on exit; handlers get only outermost traces.

        Args:
            trace_id: The name of the trace, ``"query"`` for one.
        """
        return TraceContext(self, trace_id)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Start a trace in this context; `end_trace` must follow. Prefer `as_trace`.

        Args:
            trace_id: The name of the trace; ``None`` does nothing.
        """
        if trace_id is not None:
            self.begin_trace(trace_id)

    def begin_trace(self, name: str) -> Frame:
        """Start a trace in this context, and return its frame."""
        settle()
        around = self.frame()
        trace = None if around is None else around.trace
        outermost = trace is None
        inside = BASE_TRACE_EVENT if around is None or outermost else around.event_id
        frame = Frame(self, trace or TraceState(), event_id=inside, is_trace=True, outermost=outermost)
        manager = self._carrier()
        frame.open(manager, manager.as_trace(name))
        frame.push()
        if outermost:
            self._audience.tell("start_trace", name)
        return frame

    def end_trace(
        self, trace_id: str | None = None, trace_map: Mapping[str, list[str]] | None = None
    ) -> None:
        """End the innermost trace that is open in this context; if there is none, do nothing.

        Args:
            trace_id: The name that handlers get if the trace is outermost; ``None`` does nothing.
            trace_map: Ignored: each trace has a map of its own.
        """
        frame = None if trace_id is None else self.innermost_trace()
        if frame is not None and trace_id is not None:
            self.finish_trace(frame, trace_id, None)

    def innermost_trace(self) -> Frame | None:
        """Return the frame of the innermost trace that is open in this context."""
        frame = HERE.get()
        while frame is not None and not (frame.owner is self and frame.is_trace and not frame.ended):
            frame = frame.outer
        return frame

    def finish_trace(self, frame: Frame, name: str, error: BaseException | None) -> None:
        """End the trace of `frame`, which `begin_trace` returned."""
        trace = frame.trace
        if trace is None or frame.ended:
            return
        if error is not None and trace.told is not error:
            trace.told = error
            event_id = hex_id(new_event_id())
            payload = {EventPayload.EXCEPTION: error}
            with self._lock:
                trace.note(frame.event_id, event_id)
            self._audience.tell(
                "on_event_start", CBEventType.EXCEPTION, payload, event_id, frame.event_id, {}
            )
            self._audience.tell("on_event_end", CBEventType.EXCEPTION, payload, event_id, {})
        if frame.outermost:
            trace.ended = True
            trace.told = None
            self._latest = trace
        frame.close(error)
        if frame.outermost:
            self._audience.tell("end_trace", name, trace.tree.copy())

    @property
    def trace_map(self) -> dict[str, list[str]]:
        """Ids of the children by that of their parent (``"root"`` without one), of the trace of this context.

        Outside of a trace, that of the trace that ended last.
        """
        around = self.frame()
        trace = self._latest if around is None or around.trace is None else around.trace
        return (trace or self._untraced).tree

    # where we are -----------------------------------------------------------------------------------------

    def frame(self) -> Frame | None:
        """Return the innermost frame of this manager that encloses the running code."""
        frame = HERE.get()
        while frame is not None and not (frame.owner is self and frame.holds):
            frame = frame.outer
        return frame

    def tell(self, hook: str, *args: object) -> None:
        """Call one hook of all handlers, none of which can stop the work: for events without a caller of ours."""
        self._audience.tell(hook, *args)

    def _carrier(self) -> Emitter:
        if self._audience.handlers:
            relay_jobs(self)
        return get_callback_manager() if self._manager is None else self._manager

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, str]:
        """Allow a manager as a field of pydantic models, as in LlamaIndex's components; any value is accepted."""
        return {"type": "any"}
