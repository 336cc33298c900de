"""The LlamaIndex handlers of one manager, each called through a guard."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from spanloom.callbacks.guard import Guard
from spanloom.compat._llama_index.schema import CBEventType, event_type_text
from spanloom.events.handler import Handler

__all__ = ["REAL_BASE", "Audience", "CallbackHandler", "Hooks"]

REAL_BASE = "llama_index.core.callbacks.base_handler"
REAL_SCHEMA = "llama_index.core.callbacks.schema"

# Any: payloads and further arguments are the components' and their users'.


class CallbackHandler(Protocol):
    """The hooks of a LlamaIndex handler, ours or the real package's. It may also list event types to ignore."""

    def on_event_start(
        self,
        event_type: Any,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str: ...

    def on_event_end(
        self, event_type: Any, payload: dict[str, Any] | None = None, event_id: str = "", **kwargs: Any
    ) -> None: ...

    def start_trace(self, trace_id: str | None = None) -> None: ...

    def end_trace(
        self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None
    ) -> None: ...


class _TypeText(str):
    """An event type without an enum member; similar enough to a member for handlers."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The text itself."""
        return str(self)

    @property
    def name(self) -> str:
        """The text in capitals."""
        return self.upper()


def _type_for(handler: object, text: str) -> Any:
    """Return the member for `text` of the enum that `handler` uses: the real package's for its own handlers."""
    enum: Any = CBEventType
    base = getattr(sys.modules.get(REAL_BASE), "BaseCallbackHandler", None)
    if base is not None and isinstance(handler, base):
        enum = getattr(sys.modules.get(REAL_SCHEMA), "CBEventType", enum)
    try:
        return enum(text)
    except ValueError:
        return _TypeText(text)


class Hooks:
    """One LlamaIndex handler with the hooks that a `Guard` calls.

    The handler gets copies of what it could change. One kind of error is meant for the caller: a handler with a
    ``token_budget`` raises ``ValueError`` to stop the work. That is put into `stops`, and does not count as a failure
    of the handler. Where nothing can be stopped, `stops` is ``None``, and it does.
    """

    def __init__(self, inner: CallbackHandler) -> None:
        self.inner: CallbackHandler = inner

    def _ignores(self, when: str, event_type: object) -> bool:
        return event_type in getattr(self.inner, when, ())

    def _stop(self, error: ValueError, stops: dict[int, ValueError] | None) -> None:
        if stops is None or getattr(self.inner, "token_budget", None) is None:
            raise error
        stops[id(self.inner)] = error

    def _type(self, event_type: object) -> Any:
        return _type_for(self.inner, event_type_text(event_type))

    def on_event_start(
        self,
        stops: dict[int, ValueError] | None,
        event_type: object,
        payload: Mapping[str, Any] | None,
        event_id: str,
        parent_id: str,
        extra: Mapping[str, Any],
    ) -> None:
        if self._ignores("event_starts_to_ignore", event_type):
            return
        own = None if payload is None else dict(payload)
        try:
            self.inner.on_event_start(
                self._type(event_type), own, event_id=event_id, parent_id=parent_id, **extra
            )
        except ValueError as error:
            self._stop(error, stops)

    def on_event_end(
        self,
        stops: dict[int, ValueError] | None,
        event_type: object,
        payload: Mapping[str, Any] | None,
        event_id: str,
        extra: Mapping[str, Any],
    ) -> None:
        if self._ignores("event_ends_to_ignore", event_type):
            return
        own = None if payload is None else dict(payload)
        try:
            self.inner.on_event_end(self._type(event_type), own, event_id=event_id, **extra)
        except ValueError as error:
            self._stop(error, stops)

    def start_trace(self, stops: dict[int, ValueError], name: str) -> None:
        self.inner.start_trace(trace_id=name)

    def end_trace(self, stops: dict[int, ValueError], name: str, tree: Mapping[str, list[str]]) -> None:
        # A defaultdict: handlers look for the children of leaves in it, too.
        own = defaultdict(list, {parent: list(ids) for parent, ids in tree.items()})
        self.inner.end_trace(trace_id=name, trace_map=own)


class Audience:
    """Calls the handlers of one manager; none can affect the work or another handler.

    Args:
        handlers: LlamaIndex handlers.

    Attributes:
        handlers: The handlers, in order; the list may be changed at any time.
    """

    def __init__(self, handlers: Iterable[CallbackHandler]) -> None:
        self.handlers: list[CallbackHandler] = []
        self._guards: dict[int, Guard] = {}
        for handler in handlers:
            self.add(handler)

    def add(self, handler: CallbackHandler) -> None:
        """Add `handler`; one that has failed gets another chance.

        Raises:
            TypeError: it is a handler for spanloom's own manager.
        """
        given: object = handler
        if isinstance(given, Handler):
            raise TypeError(
                f"{type(given).__name__} is a handler for spanloom's own manager, which gets these events, too: "
                f"spanloom.get_callback_manager().add_handler({type(given).__name__}(...))"
            )
        self._guards.pop(id(handler), None)
        self.handlers.append(handler)

    def tell(
        self, hook: str, *args: object, without: Mapping[int, object] | None = None
    ) -> dict[int, ValueError]:
        """Call one hook of every handler.

        Args:
            hook: Its name.
            args: What to call it with.
            without: Handlers not to call, by their ``id``.

        Returns:
            The errors that are meant for the caller, by the ``id`` of the handler.
        """
        stops: dict[int, ValueError] = {}
        for handler in tuple(self.handlers):
            if without is None or id(handler) not in without:
                self._guard(handler).call(hook, stops, *args)
        return stops

    def _guard(self, handler: CallbackHandler) -> Guard:
        guard = self._guards.get(id(handler))
        if guard is None:
            if len(self._guards) > 2 * len(self.handlers):
                kept = {id(other) for other in self.handlers}
                self._guards = {key: value for key, value in self._guards.items() if key in kept}
            guard = self._guards[id(handler)] = Guard(Hooks(handler), raise_errors=False)
            guard.name = type(handler).__name__
        return guard
