"""The scope of one event: a ``with`` block from its start to its one end."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from spanloom.events.event import Event, ScopeEvent, data_of
from spanloom.events.link import add_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spanloom.callbacks.emitter import Emitter
    from spanloom.callbacks.route import Route
    from spanloom.events.link import Linkable

__all__ = ["EventContext"]


class EventContext:
    """Open an event on entry, make it the parent of what happens inside, end it on exit.

    Use it with ``with`` or ``async with``; both do the same and never wait. An exception that
    leaves the block ends the event (``CancelledError`` as ``cancelled``) and propagates unchanged.
    Ending twice is harmless: the first end counts.

    Only the current context is changed: tasks started inside the block see its event as current,
    tasks and threads that were already running do not.
    """

    __slots__ = ("_attempt", "_data", "_inside", "_manager", "_name", "_outer", "_route", "_type", "event")

    def __init__(
        self,
        manager: Emitter,
        type: str,
        name: str,
        data: dict[str, object] | None,
        attempt: int | None = None,
    ) -> None:
        self._manager = manager
        self._type = type
        self._name = name
        self._data = data
        self._attempt = attempt
        self._route: Route | None = None
        self._outer: Event | None = None
        self._inside: Event | None = None
        self.event: ScopeEvent | None = None

    def __enter__(self) -> Self:
        if self.event is not None:
            raise RuntimeError(
                f"this context has already opened event {self.event.name!r}; call manager.event(...) again"
            )
        manager = self._manager
        current = manager.current
        self._outer = outer = current.get()
        event, self._route = manager.begin(self._type, self._name, self._data, outer, None, self._attempt)
        self.event = event
        current.set(event)
        return self

    def start(self) -> ScopeEvent:
        """Open the event without a ``with`` block; `end` must follow.

        Raises:
            RuntimeError: the event was opened before; make a new context for each event.
        """
        self.__enter__()
        return self._opened()

    def end(self, error: BaseException | None = None) -> None:
        """End the event with the status that `error` stands for; only the first call counts."""
        event, route = self.event, self._route
        if event is None or route is None:
            return
        self._route = None
        current = self._manager.current
        # Not Token.reset: a generator may be closed in another context than the one it was started in,
        # where reset would raise. There another event is current, and stays so.
        if current.get() is event:
            current.set(self._outer)
        self._outer = None
        self._manager.finish(event, route, error)

    def suspend(self) -> None:
        """Restore the caller's current event while a generator's body does not run; the body's events stay open."""
        current, event = self._manager.current, self.event
        inside = current.get()
        # Another trace: the generator was torn down in a context that is not the one it ran in.
        if event is not None and inside is not None and inside.trace is event.trace:
            self._inside = inside
            current.set(self._outer)
            if self._route is not None:
                self._route.pause(event)

    def resume(self) -> None:
        """Make the body's event current again, in the context that now runs the generator's body."""
        current = self._manager.current
        self._outer = current.get()
        current.set(self._inside)
        if self.event is not None and self._route is not None:
            self._route.resume(self.event)

    def set(self, /, **payload: object) -> Self:
        """Attach values to the event, before, during or after the block; return this context."""
        if self.event is not None:
            data_of(self.event).update(payload)
        elif self._data is None:
            self._data = payload
        else:
            self._data.update(payload)
        return self

    def link(self, target: Linkable | Mapping[str, object], /, **attributes: object) -> Self:
        """Link the event to another one that is not its parent, of this trace or any other; return this context.

        For fan-in: the message that is being processed, the earlier runs whose results are combined.

        Args:
            target: An `Event`, an opened `EventContext`, or a W3C carrier: a mapping with ``traceparent``, such as
                the headers of a message. A carrier that names no span adds no link.
            attributes: Attributes of the link: numbers, booleans, texts.

        Raises:
            TypeError: `target` is none of these.
        """
        if self.event is not None:
            add_link(data_of(self.event), target, attributes)
        else:
            if self._data is None:
                self._data = {}
            add_link(self._data, target, attributes)
        return self

    @property
    def event_id(self) -> int:
        """64-bit id of the event.

        Raises:
            RuntimeError: the event has not been opened yet.
        """
        return self._opened().event_id

    @property
    def trace_id(self) -> int:
        """128-bit id of the trace that the event belongs to.

        Raises:
            RuntimeError: the event has not been opened yet.
        """
        return self._opened().trace_id

    def _opened(self) -> ScopeEvent:
        if self.event is None:
            raise RuntimeError("the event has no id before its start; enter the context with 'with' first")
        return self.event

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)
