"""Bridges between handlers: LlamaIndex's on spanloom's manager, spanloom's on LlamaIndex's."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from spanloom.callbacks.manager import CallbackManager as SpanloomManager
from spanloom.compat._llama_index.audience import REAL_BASE, CallbackHandler, Hooks
from spanloom.compat._llama_index.base_handler import BaseCallbackHandler
from spanloom.compat._llama_index.manager import CallbackManager
from spanloom.compat._llama_index.relay import error_of
from spanloom.compat._llama_index.schema import BASE_TRACE_EVENT, CBEventType, EventPayload, hex_id
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.events.types import EventType
from spanloom.instrument.llama_callbacks import UNSEEN

__all__ = ["LlamaIndexHandler", "SpanloomHandler"]

_THEIR_WORDS: Final[Mapping[str, str]] = {
    EventType.JOB: CBEventType.ASYNC_JOB.value,
    EventType.TOOL: CBEventType.FUNCTION_CALL.value,
}

# Any: payloads and further arguments are the components' and their users'.


class LlamaIndexHandler(Handler):
    """Use a LlamaIndex handler on spanloom's manager: ``manager.add_handler(LlamaIndexHandler(theirs))``.

    It gets events of every type as LlamaIndex events: jobs are ``ASYNC_JOB``, tools ``FUNCTION_CALL``; a type without a
    member in LlamaIndex comes as a str with ``value`` and ``name``. The root that ``as_trace`` opens is only a trace.
    An exception is the original object while it is being handled, later a stand-in with its type and text. A token
    budget stops nothing here: no handler on spanloom's own manager can stop the work.

    Args:
        handler: A handler of the real package, or of this module.
    """

    def __init__(self, handler: CallbackHandler) -> None:
        self._hooks = Hooks(handler)
        # By trace: its name, the id of its root, and whether that is the trace itself.
        self._traces: dict[int, str] = {}
        self._roots: dict[int, tuple[int, bool]] = {}

    def start_trace(self, trace_id: int, name: str) -> None:
        """Pass on the start of a trace, by its name."""
        self._traces[trace_id] = name
        self._hooks.start_trace({}, name)

    def on_event_start(self, event: Event) -> None:
        """Pass on the start of an event."""
        parent = BASE_TRACE_EVENT
        if event.parent_id is None:
            is_trace = event.type == EventType.TRACE
            self._roots[event.trace_id] = event.event_id, is_trace
            if is_trace:
                return
        elif self._roots.get(event.trace_id) != (event.parent_id, True):
            parent = hex_id(event.parent_id)
        self._hooks.on_event_start(
            None, _their_type(event), dict(event.payload) or None, hex_id(event.event_id), parent, {}
        )

    def on_event_end(self, event: Event) -> None:
        """Pass on the end of an event, with its payload and its exception."""
        if self._roots.get(event.trace_id) == (event.event_id, True):
            return
        payload: dict[str, Any] = dict(event.payload)
        error = error_of(event)
        if error is not None:
            payload[EventPayload.EXCEPTION] = error
        self._hooks.on_event_end(None, _their_type(event), payload or None, hex_id(event.event_id), {})

    def end_trace(self, trace_id: int, trace_map: Mapping[int, Sequence[int]]) -> None:
        """Pass on the end of a trace, with its map."""
        name = self._traces.pop(trace_id, "")
        root_id, is_trace = self._roots.pop(trace_id, (0, True))
        tree = {hex_id(parent): [hex_id(child) for child in ids] for parent, ids in trace_map.items()}
        if is_trace:
            tree[BASE_TRACE_EVENT] = tree.pop(hex_id(root_id), [])
        else:
            tree[BASE_TRACE_EVENT] = [hex_id(root_id)]
        self._hooks.end_trace({}, name, tree)


def _their_type(event: Event) -> str:
    return _THEIR_WORDS.get(event.type, str(event.type))


class SpanloomHandler(BaseCallbackHandler):
    """Use spanloom's handlers on the real package's manager: ``CallbackManager([SpanloomHandler()])``.

    The events of LlamaIndex's components become spanloom events. Each trace and event is current for the code inside,
    so batches that run there are under it. A cancelled event ends as cancelled, although the real manager does not
    report that.

    Args:
        handlers: spanloom's handlers, for a manager of their own; with none, the ambient manager gets the events.
        manager: The manager that gets the events instead.

    Raises:
        ValueError: both are given.
        TypeError: a handler defines no hook.
    """

    def __init__(self, *handlers: object, manager: SpanloomManager | None = None) -> None:
        if handlers and manager is not None:
            raise ValueError("give either handlers or a manager=, to which they can be added")
        super().__init__((), ())
        self.manager: SpanloomManager | None = SpanloomManager(handlers) if handlers else manager
        self._carried = CallbackManager(manager=self.manager)
        self._handling: dict[str, BaseException] = {}
        base: Any = getattr(sys.modules.get(REAL_BASE), "BaseCallbackHandler", None)
        if base is not None:  # some integrations check isinstance
            base.register(SpanloomHandler)

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Start a spanloom event."""
        event_id = self._carried.on_event_start(event_type, payload, event_id)
        if event_type == CBEventType.EXCEPTION:  # the real manager never ends it
            self._carried.on_event_end(event_type, payload, event_id)
        elif (handling := sys.exception()) is not None:
            self._handling[event_id] = handling
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """End it."""
        before = self._handling.pop(event_id, None)
        now = sys.exception()
        if now is not before and isinstance(now, UNSEEN) and EventPayload.EXCEPTION not in (payload or {}):
            payload = {**(payload or {}), EventPayload.EXCEPTION: now}
        self._carried.on_event_end(event_type, payload, event_id)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Start a spanloom trace."""
        self._carried.begin_trace(trace_id or "").handling = sys.exception()

    def end_trace(
        self, trace_id: str | None = None, trace_map: Mapping[str, list[str]] | None = None
    ) -> None:
        """End it, with the exception that passes through it, if one does."""
        frame = self._carried.innermost_trace()
        if frame is not None:
            now = sys.exception()
            self._carried.finish_trace(frame, trace_id or "", None if now is frame.handling else now)
            frame.handling = None
