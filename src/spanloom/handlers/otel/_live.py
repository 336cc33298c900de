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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from spanloom.events import Event

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Call", "LiveSpan", "attach", "detach", "innermost", "open_context"]

_KEY: Final = context_api.create_key("spanloom-event")

Call = tuple[str, tuple[object, ...]]
"""A method of a span and its arguments, to be repeated on the real span."""


class Maker(Protocol):
    """Who makes the real spans: one handler's part."""

    def identify(self, event: Event) -> SpanContext:
        """Return the span context of the span of `event`, made or not."""
        ...

    def keep(self, event: Event, call: Call) -> None:
        """Take what user code does to the span of `event`, to be repeated on the real one."""


class LiveSpan(trace_api.Span):
    """Stands for the span of an event from its start to its end, and for `outer` after that.

    Args:
        event: The event.
        maker: Makes its real span.
        outer: The OpenTelemetry context that was current before.
    """

    def __init__(self, event: Event, maker: Maker, outer: Context) -> None:
        self.event = event
        self.maker = maker
        self.outer = outer
        self._context: SpanContext | None = None

    @property
    def is_over(self) -> bool:
        """Whether another span answers: a job's context is its own, so there nobody is deceived."""
        event = self.event
        return event.end_ns is not None and event.job_index is None

    def get_span_context(self) -> SpanContext:
        if self.is_over:
            return self._behind().get_span_context()
        if self._context is None:
            self._context = self.maker.identify(self.event)
        return self._context

    def is_recording(self) -> bool:
        if self.is_over:
            return self._behind().is_recording()
        return self.event.end_ns is None and self.get_span_context().trace_flags.sampled

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

    def _do(self, method: str, *arguments: object) -> None:
        if self.is_over:
            getattr(self._behind(), method)(*arguments)
        elif self.is_recording():
            self.maker.keep(self.event, (method, arguments))

    def _behind(self) -> Span:
        return trace_api.get_current_span(open_context(self.outer))


def _describe(exception: BaseException) -> dict[str, Any]:  # Any: what OpenTelemetry calls an attribute value
    module, name = type(exception).__module__, type(exception).__qualname__
    return {
        "exception.type": name if module == "builtins" else f"{module}.{name}",
        "exception.message": str(exception),
        "exception.stacktrace": "".join(traceback.format_exception(exception)),
    }


def innermost(context: Context) -> LiveSpan | None:
    """Return the stand-in that was set last in `context`, user code's spans inside it aside."""
    live = context.get(_KEY)
    return live if isinstance(live, LiveSpan) else None


def open_context(context: Context, starting: Event | None = None, maker: Maker | None = None) -> Context:
    """Return `context`, or what it was before the stand-ins in it that do not count any more.

    Args:
        context: An OpenTelemetry context.
        starting: An event whose stand-in another handler may have set a moment ago.
        maker: Whose stand-ins do not count even while their events are open: an event that is a root although one
            of those is current lies beside it, not under it. It was started by id, and such an event is nobody's
            surroundings.
    """
    live = innermost(context)
    # Only while the stand-in itself is current: a span of user code on top of it is still the user's.
    while live is not None and trace_api.get_current_span(context) is live:
        if not (live.is_over or live.event is starting or live.maker is maker):
            break
        context = live.outer
        live = innermost(context)
    return context


def attach(live: LiveSpan) -> None:
    """Make `live` the current span of the running task or thread."""
    context_api.attach(context_api.set_value(_KEY, live, trace_api.set_span_in_context(live, live.outer)))


def detach(event: Event) -> None:
    """Set back what was current before `event`, if the stand-in of `event` is current here."""
    context = context_api.get_current()
    live = innermost(context)
    if live is not None and live.event is event and trace_api.get_current_span(context) is live:
        context_api.attach(live.outer)
