"""Replay of what happened to a span between its start and its end, whichever way it is built.

The span of an event is built after the event's end, so everything that happened to it is replayed here, in order: point
events, the calls of user code on the current span, the error. User code may have given values that are no attribute
values, or that raise when they are converted; calls that cannot be replayed are counted, and have no other effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from spanloom.events import Event
from spanloom.events.types import FAILED
from spanloom.handlers.otel._attributes import exception_attributes, payload_attributes, plain_text
from spanloom.handlers.otel._plain import INT64
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._traces import Note
from spanloom.redaction import redact_named

if TYPE_CHECKING:
    from spanloom.handlers.otel._live import Call

__all__ = ["OpenSpan", "finish", "repeat"]

_MAX_TIME_NS: Final = 1 << 64


class OpenSpan(Protocol):
    """A span that can still be written to: the SDK's, another implementation's, or a draft."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set one attribute."""

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event; `timestamp` in nanoseconds since the Unix epoch."""

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link to another span."""

    def update_name(self, name: str) -> None:
        """Give it another name."""

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status."""


def finish(
    span: OpenSpan,
    event: Event,
    note: Note | None,
    points: Sequence[Event],
    links: Sequence[Link],
    omitted: int,
    rules: Rules,
) -> None:
    """Replay on `span` what happened to `event`.

    Args:
        span: The span of `event`, with the attributes of its end.
        event: An ended event.
        note: The calls of user code on its span, and our own attributes and links.
        points: The point events under it.
        links: The links in its payload.
        omitted: How many more point events and links there were.
        rules: What is recorded of payloads.
    """
    for point in points:
        attributes = payload_attributes(point.payload, rules)
        span.add_event(plain_text(point.name), attributes, point.start_wall_ns)
    for link in links:
        span.add_link(link.context, link.attributes)
    if note is not None:
        for link in note.links:
            span.add_link(link.context, link.attributes)
        omitted += note.omitted
        if note.calls is not None:
            omitted += repeat(span, note.calls)
    if omitted:
        span.set_attribute("spanloom.omitted", omitted)
    error = event.error
    if event.status in FAILED:
        span.set_status(StatusCode.ERROR, None if error is None else plain_text(error.message))
        if error is not None:
            span.add_event("exception", exception_attributes(error), event.end_wall_ns)


def repeat(span: OpenSpan, calls: Iterable[Call]) -> int:
    """Make `calls` again; return how many could not be made."""
    failed = 0
    for method, arguments in calls:
        try:
            _CALLS[method](span, *arguments)
        except Exception:  # noqa: BLE001 -- a value of the user's may raise anything when it is turned into text
            failed += 1
    return failed


def _set_attribute(span: OpenSpan, key: str, value: object) -> None:
    span.set_attribute(_key(key), _named(key, value))


def _set_attributes(span: OpenSpan, attributes: Mapping[str, object]) -> None:
    for key, value in attributes.items():
        span.set_attribute(_key(key), _named(key, value))


def _add_event(span: OpenSpan, name: str, attributes: Mapping[str, object] | None, timestamp: int) -> None:
    if not 0 <= timestamp < _MAX_TIME_NS:
        raise ValueError(timestamp)
    span.add_event(plain_text(name), _plain_values(attributes), int(timestamp))


def _add_link(span: OpenSpan, context: SpanContext, attributes: Mapping[str, object] | None = None) -> None:
    span.add_link(context, _plain_values(attributes))


def _update_name(span: OpenSpan, name: str) -> None:
    span.update_name(plain_text(name))


def _set_status(span: OpenSpan, status: Status | StatusCode, description: str | None = None) -> None:
    code = status
    if isinstance(status, Status):
        code, description = status.status_code, status.description
    span.set_status(code, None if description is None else plain_text(description))


_CALLS: Final[dict[str, Callable[..., None]]] = {
    "set_attribute": _set_attribute,
    "set_attributes": _set_attributes,
    "add_event": _add_event,
    "add_link": _add_link,
    "update_name": _update_name,
    "set_status": _set_status,
}


def _plain_values(
    attributes: Mapping[str, object] | None,
) -> dict[str, Any] | None:  # Any: an attribute value
    return (
        None if attributes is None else {_key(key): _named(key, value) for key, value in attributes.items()}
    )


def _key(key: str) -> str:
    return plain_text(key) if isinstance(key, str) else key  # the SDK says what it thinks of other keys


def _named(key: str, value: object) -> Any:  # Any: an attribute value
    return _plain(redact_named(key, value) if isinstance(key, str) else value)


def _plain(value: object) -> Any:  # Any: an attribute value
    """Return `value` in a form that OTLP can carry, if it is only a text or a number that keeps it from that."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int) and not -INT64 <= value < INT64:
        return hex(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
