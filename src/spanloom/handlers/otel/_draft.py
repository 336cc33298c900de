"""A span under construction on the lean way, within the provider's limits.

It has the methods of the SDK's span, and becomes the SDK's ``ReadableSpan``. Where something must be cleaned, cut or
dropped, the SDK's own containers do it. Our own attributes are plain scalars of a known number: within the limits, a
dict gives the same result at a tenth of the cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from spanloom.handlers.otel._encode import write_span

__all__ = ["Draft", "Origin", "is_within"]

_SCALARS: Final = frozenset({str, bool, int, float})
_UNSET: Final = Status(StatusCode.UNSET)


class Origin:
    """The common part of all spans of one tracer, read from it once for a list of events.

    Attributes:
        limits: How much one span may hold.
        resource: Their resource.
        scope: The instrumentation scope.
    """

    __slots__ = ("info", "limits", "resource", "scope")

    def __init__(self, tracer: SdkTracer) -> None:
        self.limits: SpanLimits = tracer._span_limits  # noqa: SLF001 -- the SDK has no public name for it
        self.resource = tracer.resource
        self.scope = tracer._instrumentation_scope  # noqa: SLF001 -- the same
        self.info = tracer.instrumentation_info

    def bounded(self, attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue] | BoundedAttributes:
        """Return `attributes` of a span as the SDK would keep them."""
        count, length = self.limits.max_span_attributes, self.limits.max_span_attribute_length
        if is_within(attributes, count, length):
            return attributes
        return BoundedAttributes(count, attributes, immutable=False, max_value_len=length)

    def is_of(self, tracer: SdkTracer) -> bool:
        """Return whether `tracer` still has the same parts: a fork changes the resource."""
        return tracer.resource is self.resource and tracer._span_limits is self.limits  # noqa: SLF001 -- as above


def is_within(attributes: Mapping[str, object], count: int | None, length: int | None) -> bool:
    """Return whether the SDK would keep `attributes` unchanged: no limit is exceeded, nothing to convert."""
    if count is not None and len(attributes) > count:
        return False
    for key, value in attributes.items():
        if type(value) not in _SCALARS or not key or type(key) is not str:
            return False
        if length is not None and type(value) is str and len(value) > length:
            return False
    return True


class Draft:
    """One span on its way; the methods are those of the SDK's span, with the same effect.

    Args:
        origin: The tracer's part.
        name: Of the span.
        context: Of the span.
        parent: Of its parent; ``None`` for a root.
        start_ns: Its start, in nanoseconds since the Unix epoch.
        attributes: What it starts with.
        kind: Of the span.
    """

    __slots__ = (
        "_attributes",
        "_context",
        "_events",
        "_kind",
        "_links",
        "_origin",
        "_parent",
        "_start",
        "_status",
        "name",
    )

    def __init__(
        self,
        origin: Origin,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        start_ns: int,
        attributes: dict[str, AttributeValue],
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        self._origin = origin
        self._kind = kind
        self.name = name
        self._context = context
        self._parent = parent
        self._start = start_ns
        self._attributes = origin.bounded(attributes)
        self._events: BoundedList[SpanEvent] | None = None
        self._links: BoundedList[Link] | None = None
        self._status = _UNSET

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set one attribute; if there are too many, the oldest is dropped."""
        if isinstance(self._attributes, dict):
            limits = self._origin.limits
            self._attributes = BoundedAttributes(
                limits.max_span_attributes,
                self._attributes,
                immutable=False,
                max_value_len=limits.max_span_attribute_length,
            )
        self._attributes[key] = value

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event; if there are too many, the oldest is dropped."""
        limits = self._origin.limits
        if self._events is None:
            self._events = BoundedList(limits.max_events)
        bounded = _frozen(attributes, limits.max_event_attributes, limits.max_attribute_length)
        self._events.append(SpanEvent(name, bounded, timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link, unless its context is invalid and it has no attributes or state."""
        if not context or not (context.is_valid or attributes or context.trace_state):
            return
        limits = self._origin.limits
        if self._links is None:
            self._links = BoundedList(limits.max_links)
        self._links.append(
            Link(context, _frozen(attributes, limits.max_link_attributes, limits.max_attribute_length))
        )

    def update_name(self, name: str) -> None:
        """Give it another name."""
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status. As specified, OK is final and UNSET is ignored."""
        if isinstance(status, StatusCode):
            status = Status(status, description)
        if self._status.status_code is not StatusCode.OK and status.status_code is not StatusCode.UNSET:
            self._status = status

    def end(self, end_ns: int | None) -> ReadableSpan:
        """Return the finished span; with ``None``, a snapshot of the unfinished one."""
        origin = self._origin
        return ReadableSpan(
            name=self.name,
            context=self._context,
            parent=self._parent,
            resource=origin.resource,
            attributes=self._attributes,
            events=self._events if self._events is not None else (),
            links=self._links if self._links is not None else (),
            kind=self._kind,
            status=self._status,
            start_time=self._start,
            end_time=end_ns,
            instrumentation_info=origin.info,
            instrumentation_scope=origin.scope,
        )

    def encode(self, end_ns: int) -> bytes:
        """Return the finished span as a frame, without making an object of it.

        Raises:
            ValueError, OverflowError: user code has given it something that OTLP cannot carry.
        """
        attributes, events, links = self._attributes, self._events, self._links
        return write_span(
            self._context,
            self._parent,
            self.name,
            self._kind,
            self._start,
            end_ns,
            attributes,
            0 if isinstance(attributes, dict) else attributes.dropped,
            () if events is None else events,
            0 if events is None else events.dropped,
            () if links is None else links,
            0 if links is None else links.dropped,
            self._status,
        )


def _frozen(attributes: Attributes, count: int | None, length: int | None) -> Attributes:
    """Return `attributes`, which nobody else references, as the SDK would keep those of an event or a link."""
    if type(attributes) is dict and is_within(attributes, count, length):
        return MappingProxyType(attributes)
    return BoundedAttributes(count, attributes, immutable=True, max_value_len=length)
