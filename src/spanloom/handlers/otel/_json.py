"""Spans to OTLP/JSON: one request as one line.

The JSON mapping of Protocol Buffers with the exceptions that OTLP makes of it: ids are hexadecimal, enumerations are
numbers, field names are lowerCamelCase; 64-bit integers are strings, as they are in all of proto3's JSON, and so are
the numbers that JSON has no word for. What is left out is what has its default value.

Source: OpenTelemetry Protocol specification 1.x, "JSON Protobuf Encoding"; Protocol Buffers, "ProtoJSON Format".
"""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link

from spanloom.handlers.otel._encode import flags_of
from spanloom.handlers.otel._plain import INT64

__all__ = ["encode_json_span", "json_envelope"]

_logger = logging.getLogger("spanloom.handlers.otel")
_encode: Final = msgspec.json.Encoder().encode


_Object = dict[str, Any]  # Any: whatever JSON can hold


def encode_json_span(span: ReadableSpan) -> bytes:
    """Return `span`, which must have a context, as a JSON object, without line breaks.

    Raises:
        ValueError: its name, the name of an event or the status message holds lone surrogates.
    """
    context, parent, status = span.context, span.parent, span.status
    out: _Object = {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}
    if context.trace_state:
        out["traceState"] = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
    if parent is not None:
        out["parentSpanId"] = f"{parent.span_id:016x}"
    out["flags"] = flags_of(parent)
    out["name"] = span.name
    out["kind"] = span.kind.value + 1
    out["startTimeUnixNano"] = str(span.start_time or 0)
    out["endTimeUnixNano"] = str(span.end_time or 0)
    _put_list(out, "attributes", _attributes(span.attributes))
    _put_count(out, "droppedAttributesCount", span.dropped_attributes)
    _put_list(out, "events", [_event(event) for event in span.events])
    _put_count(out, "droppedEventsCount", span.dropped_events)
    _put_list(out, "links", [_link(link) for link in span.links])
    _put_count(out, "droppedLinksCount", span.dropped_links)
    out["status"] = {}
    if status.description:
        out["status"]["message"] = status.description
    if status.status_code.value:
        out["status"]["code"] = status.status_code.value
    return _encode(out)


def json_envelope(resource: Resource, scope: InstrumentationScope | None) -> tuple[bytes, bytes]:
    """Return what stands before and after the spans, separated by commas, of one request."""
    resource_spans: _Object = {"resource": {"attributes": _attributes(resource.attributes)}}
    scope_spans: _Object = {"scope": {}}
    if scope is not None:
        scope_spans["scope"]["name"] = scope.name
        if scope.version:
            scope_spans["scope"]["version"] = scope.version
        _put_list(scope_spans["scope"], "attributes", _attributes(scope.attributes))
        if scope.schema_url:
            scope_spans["schemaUrl"] = scope.schema_url
    if resource.schema_url:
        resource_spans["schemaUrl"] = resource.schema_url
    around, inside = _encode(resource_spans)[:-1], _encode(scope_spans)[:-1]
    before = b'{"resourceSpans":[' + around + b',"scopeSpans":[' + inside + b',"spans":['
    return before, b"]}]}]}"


def _put_list(out: _Object, key: str, items: Sequence[_Object]) -> None:
    if items:
        out[key] = items


def _put_count(out: _Object, key: str, count: int) -> None:
    if count:
        out[key] = count


def _event(event: SpanEvent) -> _Object:
    out: _Object = {"timeUnixNano": str(event.timestamp or 0), "name": event.name}
    _put_list(out, "attributes", _attributes(event.attributes))
    _put_count(out, "droppedAttributesCount", event.dropped_attributes)
    return out


def _link(link: Link) -> _Object:
    context = link.context
    out: _Object = {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}
    # The protobuf encoder leaves the state of a link out, and both ways have to tell the same.
    _put_list(out, "attributes", _attributes(link.attributes))
    _put_count(out, "droppedAttributesCount", link.dropped_attributes)
    out["flags"] = flags_of(context)
    return out


def _attributes(attributes: Mapping[str, object] | None) -> list[_Object]:
    out: list[_Object] = []
    for key, value in (attributes or {}).items():
        try:
            out.append({"key": _text(key), "value": _any_value(value)})
        except (ValueError, TypeError) as error:
            _logger.warning("attribute %r cannot be sent by OTLP and is left out: %s", key, error)
    return out


def _any_value(value: object) -> _Object:
    """Return the message ``AnyValue``; the order of the questions is that of the protobuf encoder."""
    if isinstance(value, str):
        return {"stringValue": _text(value)}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        if not -INT64 <= value < INT64:
            raise ValueError(f"an integer beyond 64 bits: {value:#x}")
        return {"intValue": int.__str__(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _word(value)}
    if value is None:
        return {}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Sequence):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, Mapping):
        pairs = [{"key": _text(str(key)), "value": _any_value(item)} for key, item in value.items()]
        return {"kvlistValue": {"values": pairs}}
    raise TypeError(f"{type(value).__name__} is not a type of attribute values")


def _text(value: str) -> str:
    """Return `value`, of whatever class, as a text; raises ValueError for lone surrogates."""
    if not value.isascii():
        value.encode()
    return str.__str__(value)


def _word(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
