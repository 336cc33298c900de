"""The OpenTelemetry span that is current while an event is open, so that user code's spans nest under it.

Theory of operation. The span of an event is built after its end, so what is current before that is
a stand-in with the event's ids: `LiveSpan`. It is set in the context in which the event started. A
job's context is its own and dies with it: nothing to undo. The context of another event is its
caller's: at the end the former OpenTelemetry context is set back, if the stand-in is current in the
context that ends the event. It is not if a generator is closed, or a held event is ended, somewhere
else. So an ended stand-in is transparent: it answers for what was current before it, as if it had
been taken away. ``detach`` is never called: a token cannot cross contexts, a transparent span can.
"""

from __future__ import annotations

import time
import traceback
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from spanloom.events import Event
from spanloom.events.event import JobEvent

__all__ = [
    "EVENT_KEY",
    "SPAN_KEY",
    "Call",
    "LiveSpan",
    "Maker",
    "StandIn",
    "attach",
    "detach",
    "innermost",
    "open_context",
]

EVENT_KEY: Final = context_api.create_key("spanloom-event")
"""Where a context holds the stand-in that was set last, also while a span of user code is current inside it."""

(SPAN_KEY,) = trace_api.set_span_in_context(trace_api.INVALID_SPAN, Context())
"""Where a context holds its current span. The API does not name it, but it shows it: a context with nothing else."""

_OURS: Final = frozenset((SPAN_KEY, EVENT_KEY))

Call = tuple[str, tuple[object, ...]]
"""A method of a span and its arguments, to be repeated on the real span."""


class Maker(Protocol):
    """The part of a handler that makes the real spans."""

    def identify(self, event: Event) -> SpanContext:
        """Return the span context of the span of `event`, made or not."""
        ...

    def records(self, event: Event) -> bool:
        """Return whether the span of `event` is recorded, so that calls of user code on it matter."""
        ...

    def keep(self, event: Event, call: Call) -> None:
        """Keep a call of user code on the span of `event`, to be replayed on the real one."""

    def read(self, event: Event, name: str) -> object:
        """Return what the SDK's span of the open `event` would show by `name`.

        Raises:
            AttributeError: it would show nothing by that name.
        """
        ...


class StandIn(trace_api.Span):
    """A span that is current for a while, and answers for `outer` after that.

    Attributes:
        outer: The OpenTelemetry context that was current before.
    """

    __slots__ = ("outer",)

    outer: Context

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether another span answers."""

    def _behind(self) -> Span:
        return trace_api.get_current_span(open_context(self.outer))


class LiveSpan(StandIn):
    """Stands for the span of an event from its start to its end, and for `outer` after that.

    Args:
        event: The event.
        maker: Makes its real span.
        outer: The OpenTelemetry context that was current before.

    Attributes:
        beside: What else is current with it, as `attach` was given it.
    """

    __slots__ = ("beside", "event", "known", "maker")

    def __init__(self, event: Event, maker: Maker, outer: Context) -> None:
        self.event: Event = event
        self.maker: Maker = maker
        self.outer = outer
        self.beside: Context = outer
        self.known: SpanContext | None = None  # asked for when it is needed: by most jobs never

    @property
    def is_over(self) -> bool:
        """Whether another span answers: a job's context is its own, so there nobody is deceived."""
        event = self.event
        return event.end_ns is not None and event.job is not event

    def get_span_context(self) -> SpanContext:
        if self.is_over:
            return self._behind().get_span_context()
        if self.known is None:
            self.known = self.maker.identify(self.event)
        return self.known

    def is_recording(self) -> bool:
        if self.is_over:
            return self._behind().is_recording()
        return self.event.end_ns is None and self.maker.records(self.event)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._do("set_attribute", key, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._do("set_attributes", dict(attributes))

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._do("add_event", name, attributes, timestamp or time.time_ns())

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._do("add_link", context, attributes)

    def update_name(self, name: str) -> None:
        self._do("update_name", name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._do("set_status", status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        if self.is_over:
            self._behind().record_exception(exception, attributes, timestamp, escaped)
        elif self.is_recording():
            # Described now: keeping the exception would keep every frame of its traceback.
            self.add_event("exception", {**_describe(exception), **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the event ends the span."""

    def __getattr__(self, name: str) -> Any:
        if name in LiveSpan.__slots__ or name.startswith("_"):  # not set: it is being copied
            raise AttributeError(name)
        return getattr(self._behind(), name) if self.is_over else self.maker.read(self.event, name)

    def _do(self, method: str, *arguments: object) -> None:
        if self.is_over:
            getattr(self._behind(), method)(*arguments)
        elif self.is_recording():
            self.maker.keep(self.event, (method, tuple(map(_snapshot, arguments))))


def _snapshot(value: object) -> object:
    """Return `value` as it is now: the call is repeated later, and its caller may go on changing what it gave."""
    try:
        if isinstance(value, Mapping):
            return {key: _snapshot(item) for key, item in value.items()}
        if isinstance(value, list) or type(value) is tuple:
            return tuple(map(_snapshot, value))
    except Exception:  # noqa: BLE001 -- a mapping of the user's may raise anything; later it does harm to nobody
        return value
    return value


def _describe(exception: BaseException) -> dict[str, Any]:  # Any: what OpenTelemetry calls an attribute value
    module, name = type(exception).__module__, type(exception).__qualname__
    return {
        "exception.type": name if module == "builtins" else f"{module}.{name}",
        "exception.message": str(exception),
        "exception.stacktrace": "".join(traceback.format_exception(exception)),
    }


def innermost(context: Context) -> LiveSpan | None:
    """Return the stand-in of an event that was set last in `context`, user code's spans inside it aside."""
    live = context.get(EVENT_KEY)
    return live if isinstance(live, LiveSpan) else None


def open_context(context: Context, starting: Event | None = None, maker: Maker | None = None) -> Context:
    """Return `context`, or the context before the stand-ins in it that are over.

    Args:
        context: An OpenTelemetry context.
        starting: An event whose stand-in another handler may have set a moment ago.
        maker: Whose stand-ins do not count even while their events are open: an event that is a root although one
            of those is current lies beside it, not under it. It was started by id, and such an event is nobody's
            surroundings.
    """
    # Only while the stand-in itself is current: a span of user code on top of it is still the user's.
    while isinstance(current := context.get(SPAN_KEY), StandIn):
        if not (current.is_over or (isinstance(current, LiveSpan) and _is_past(current, starting, maker))):
            break
        context = current.outer
    return context


def _is_past(live: LiveSpan, starting: Event | None, maker: Maker | None) -> bool:
    if live.event is starting or live.maker is maker:
        return True
    # Jobs of the fast lane run one after the other in one context. The last one's stand-in is left there.
    return (
        isinstance(starting, JobEvent)
        and isinstance(live.event, JobEvent)
        and live.event.batch_id == starting.batch_id
    )


def attach(live: LiveSpan, context: Context) -> None:
    """Make `live` the current span of the running task or thread, in what else `context` holds."""
    live.beside = context
    context_api.attach(Context({**context, SPAN_KEY: live, EVENT_KEY: live}))


def detach(event: Event) -> None:
    """Restore what was current before `event`, if the stand-in of `event` is current here.

    Whatever else user code has attached meanwhile, such as baggage, stays, as it would without us.
    """
    context = context_api.get_current()
    live = context.get(SPAN_KEY)
    if not isinstance(live, LiveSpan) or live.event is not event:
        return
    outer = live.outer
    beside = live.beside
    if len(context) > len(_OURS) or len(beside) > len(_OURS):
        changed = {key: value for key, value in context.items() if beside.get(key) is not value}
        gone = beside.keys() - context.keys() - _OURS
        if gone or not changed.keys() <= _OURS:
            kept = {key: value for key, value in changed.items() if key not in _OURS}
            outer = Context({**{key: value for key, value in outer.items() if key not in gone}, **kept})
    context_api.attach(outer)
