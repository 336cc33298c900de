"""Spans to OTLP protobuf, without the message classes.

Theory of operation. A Protocol Buffers message is its fields one after another, each a tag, and for
texts, bytes and messages a length. Nothing is needed to write that but ``bytes``; the official
classes build a tree of objects first, which is nine tenths of what the SDK's encoder costs. What is
written here is what that encoder writes, byte for byte, fields in the order of their numbers: an
attribute that it would leave out (a text with lone surrogates, an integer beyond 64 bits) is left
out here, too, with a warning. Tests compare the two for everything that an attribute can be.

Source: opentelemetry-proto 1.x, ``trace/v1/trace.proto`` and ``common/v1/common.proto``.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceState

from spanloom.handlers.otel._frame import Envelope, frame, length_delimited
from spanloom.handlers.otel._plain import INT64

if TYPE_CHECKING:
    from opentelemetry.trace import Status

__all__ = [
    "NO_STATUS",
    "SPAN_ATTRIBUTE",
    "attribute",
    "encode_envelope",
    "encode_flags",
    "encode_span",
    "flags_of",
    "head",
    "varint",
    "write_span",
]

_logger = logging.getLogger("spanloom.handlers.otel")

SPAN_ATTRIBUTE: Final = 0x4A
"""Tag of ``Span.attributes``: field 9, length-delimited."""
_EVENT_ATTRIBUTE: Final = 0x1A
_LINK_ATTRIBUTE: Final = 0x22
_RESOURCE_ATTRIBUTE: Final = 0x0A
_SCOPE_ATTRIBUTE: Final = 0x1A

_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_MAX_KEYS: Final = 1024
"""Encoded attribute keys that are remembered: ours are a few dozen, a user's payload may have any number."""

_SPAN_FLAGS: Final = struct.Struct("<HI")
_SPAN_FLAGS_TAG: Final = 0x0185  # field 16, four bytes: the varint 85 01, read as little-endian
_TIMES: Final = struct.Struct("<BQBQ")
_FIXED64: Final = struct.Struct("<BQ")
_FIXED32: Final = struct.Struct("<BI")
_DOUBLE: Final = struct.Struct("<Bd")

_HEADS: Final = {
    tag: [bytes((tag, size)) for size in range(128)]
    for tag in {SPAN_ATTRIBUTE, _EVENT_ATTRIBUTE, _LINK_ATTRIBUTE, _RESOURCE_ATTRIBUTE, _SCOPE_ATTRIBUTE}
}
"""The tag of an attribute and its length, where that is one byte."""
_BYTES: Final = [bytes((number,)) for number in range(128)]
_MORE: Final = [bytes((number | 128,)) for number in range(128)]
"""Seven bits of a varint that goes on."""
_TEXTS: Final = [bytes((0x12, size + 2, 0x0A, size)) for size in range(126)]
"""Prefix of a text as the value of an attribute, by the text's length in bytes."""
_SMALL_INT: Final = b"\x12\x02\x18"
_FLOAT: Final = b"\x12\x09\x21"
_BOOL: Final = {True: b"\x12\x02\x10\x01", False: b"\x12\x02\x10\x00"}
NO_STATUS: Final = b"\x7a\x00"
"""``Span.status`` of a span whose status was not set."""
_UNSET: Final = StatusCode.UNSET
_pack_double: Final = struct.Struct("<d").pack

_keys: dict[str, bytes] = {}


def varint(value: int) -> bytes:
    """Return `value`, not negative, as a base-128 varint."""
    if value < 1 << 7:
        return _BYTES[value]
    if value < 1 << 14:
        return _MORE[value & 127] + _BYTES[value >> 7]
    if value < 1 << 21:
        return _MORE[value & 127] + _MORE[value >> 7 & 127] + _BYTES[value >> 14]
    out = bytearray()
    while value >= 1 << 7:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def flags_of(context: SpanContext | None) -> int:
    """Return the flags of a span under `context`, or of a link to it: whether it is known to be remote."""
    return _HAS_IS_REMOTE | _IS_REMOTE if context is not None and context.is_remote else _HAS_IS_REMOTE


_LOCAL: Final = _SPAN_FLAGS.pack(_SPAN_FLAGS_TAG, _HAS_IS_REMOTE)
_REMOTE: Final = _SPAN_FLAGS.pack(_SPAN_FLAGS_TAG, _HAS_IS_REMOTE | _IS_REMOTE)


def encode_flags(parent: SpanContext | None) -> bytes:
    """Return the last field of a span under `parent`."""
    return _REMOTE if parent is not None and parent.is_remote else _LOCAL


# values ---------------------------------------------------------------------------------------------------------


def attribute(tag: int, key: str, value: object) -> bytes:
    """Return one attribute as a field: ``KeyValue`` with `tag` in front.

    Raises:
        ValueError: `value` cannot be carried: an integer beyond 64 bits, a text with lone surrogates.
        TypeError: `value` is of another type.
    """
    name = _keys.get(key) or _encode_key(key)
    body = _any_value(value)
    size = len(body)
    whole = len(name) + size + 2
    if whole < 128:  # and so is size
        return bytes((tag, whole)) + name + bytes((0x12, size)) + body
    return length_delimited(tag, name + length_delimited(0x12, body))


def _encode_key(key: str) -> bytes:
    name = length_delimited(0x0A, key.encode()) if key else b""
    if name and len(_keys) < _MAX_KEYS:
        _keys[str.__str__(key)] = name
    return name


def _any_value(value: object) -> bytes:
    """Return the message ``AnyValue``; the order of the questions is the SDK's."""
    if isinstance(value, str):
        return length_delimited(0x0A, value.encode())
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if not -INT64 <= value < INT64:
            raise ValueError(f"an integer beyond 64 bits: {value:#x}")
        return b"\x18" + varint(value if value >= 0 else value + (1 << 64))
    if isinstance(value, float):
        return _DOUBLE.pack(0x21, value)
    if value is None:
        return b""
    if isinstance(value, bytes):
        return length_delimited(0x3A, value)
    if isinstance(value, Sequence):
        return length_delimited(0x2A, b"".join([length_delimited(0x0A, _any_value(item)) for item in value]))
    if isinstance(value, Mapping):
        return length_delimited(0x32, b"".join([attribute(0x0A, str(key), value[key]) for key in value]))
    raise TypeError(f"{type(value).__name__} is not a type of attribute values")


def _attributes(tag: int, attributes: Mapping[str, object] | None) -> list[bytes]:
    """Return attributes as fields, in pieces to be joined; plain scalars of ordinary size by the short way."""
    fields: list[bytes] = []
    if not attributes:
        return fields
    heads = _HEADS[tag]
    for key, value in attributes.items():
        try:
            name = _keys.get(key) or _encode_key(key)
            before = len(name)
            if type(value) is str:
                text = value.encode()
                size = len(text)
                if before + size < 124:
                    fields += (heads[before + size + 4], name, _TEXTS[size], text)
                    continue
            elif before < 117:
                if type(value) is float:
                    fields += (heads[before + 11], name, _FLOAT, _pack_double(value))
                    continue
                if type(value) is int and 0 <= value < 128:
                    fields += (heads[before + 4], name, _SMALL_INT, _BYTES[value])
                    continue
                if type(value) is bool:
                    fields += (heads[before + 4], name, _BOOL[value])
                    continue
            fields.append(attribute(tag, key, value))
        except (ValueError, TypeError) as error:
            _logger.warning("attribute %r cannot be sent by OTLP and is left out: %s", key, error)
    return fields


def _text(tag: int, text: str | None) -> bytes:
    return length_delimited(tag, text.encode()) if text else b""


def _count(tag: int, count: int) -> bytes:
    return bytes((tag,)) + varint(count) if count else b""


# spans ----------------------------------------------------------------------------------------------------------


def head(
    trace_id: int,
    span_id: bytes,
    state: TraceState | None,
    parent: SpanContext | None,
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
) -> bytes:
    """Return the fields of a span before its times; `span_id` is 8 bytes, big-endian."""
    fields = [b"\x0a\x10", trace_id.to_bytes(16, "big"), b"\x12\x08", span_id]
    if state:
        fields.append(_text(0x1A, ",".join([f"{key}={value}" for key, value in state.items()])))
    if parent is not None:
        fields += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    fields += (_text(0x2A, name), bytes((0x30, kind.value + 1)))
    return b"".join(fields)


def encode_span(span: ReadableSpan) -> bytes:
    """Return `span`, which must have a context, as a frame.

    Raises:
        ValueError: its name, the name of an event or the status message holds lone surrogates: the SDK's encoder
            would give up the whole request.
    """
    return write_span(
        span.context,
        span.parent,
        span.name,
        span.kind,
        span.start_time or 0,
        span.end_time or 0,
        span.attributes,
        span.dropped_attributes,
        span.events,
        span.dropped_events,
        span.links,
        span.dropped_links,
        span.status,
    )


def write_span(
    context: SpanContext,
    parent: SpanContext | None,
    name: str,
    kind: SpanKind,
    start_ns: int,
    end_ns: int,
    attributes: Mapping[str, object] | None,
    dropped_attributes: int,
    events: Collection[SpanEvent],
    dropped_events: int,
    links: Collection[Link],
    dropped_links: int,
    status: Status,
) -> bytes:
    """Return a span of these parts as a frame; what `encode_span` does, without a span object."""
    fields = [
        head(context.trace_id, context.span_id.to_bytes(8, "big"), context.trace_state, parent, name, kind),
        _times(start_ns, end_ns),
        *_attributes(SPAN_ATTRIBUTE, attributes),
    ]
    if dropped_attributes:
        fields.append(_count(0x50, dropped_attributes))
    if events:
        fields += [length_delimited(0x5A, _event(event)) for event in events]
    if dropped_events:
        fields.append(_count(0x60, dropped_events))
    if links:
        fields += [length_delimited(0x6A, _link(link)) for link in links]
    if dropped_links:
        fields.append(_count(0x70, dropped_links))
    fields.append(
        NO_STATUS
        if status.status_code is _UNSET and not status.description
        else length_delimited(0x7A, _status(status))
    )
    fields.append(encode_flags(parent))
    return frame(b"".join(fields))


def _times(start_ns: int, end_ns: int) -> bytes:
    if start_ns and end_ns:
        return _TIMES.pack(0x39, start_ns, 0x41, end_ns)
    start = _FIXED64.pack(0x39, start_ns) if start_ns else b""
    return start + (_FIXED64.pack(0x41, end_ns) if end_ns else b"")


def _event(event: SpanEvent) -> bytes:
    return b"".join(
        (
            _FIXED64.pack(0x09, event.timestamp) if event.timestamp else b"",
            _text(0x12, event.name),
            *_attributes(_EVENT_ATTRIBUTE, event.attributes),
            _count(0x20, event.dropped_attributes),
        )
    )


def _link(link: Link) -> bytes:
    context = link.context
    return b"".join(
        (
            b"\x0a\x10" + context.trace_id.to_bytes(16, "big"),
            b"\x12\x08" + context.span_id.to_bytes(8, "big"),
            *_attributes(_LINK_ATTRIBUTE, link.attributes),
            _count(0x28, link.dropped_attributes),
            _FIXED32.pack(0x35, flags_of(context)),
        )
    )


def _status(status: Status) -> bytes:
    return _text(0x12, status.description) + _count(0x18, status.status_code.value)


# what is around them --------------------------------------------------------------------------------------------


def encode_envelope(resource: Resource, scope: InstrumentationScope | None) -> Envelope:
    """Return the common part of all spans of a tracer: its resource and its instrumentation scope."""
    about = b"".join(_attributes(_RESOURCE_ATTRIBUTE, resource.attributes))
    around = length_delimited(0x0A, about) + _text(0x1A, resource.schema_url)
    if scope is None:
        return Envelope(around, length_delimited(0x0A, b""))
    fields = (
        _text(0x0A, scope.name),
        _text(0x12, scope.version),
        *_attributes(_SCOPE_ATTRIBUTE, scope.attributes),
    )
    return Envelope(around, length_delimited(0x0A, b"".join(fields)) + _text(0x1A, scope.schema_url))
