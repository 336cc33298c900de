"""An encoded span, and what is wrapped around many of them to make one export request.

Protocol Buffers put no count or length in front of a repeated field: its entries follow one another.
So a span that is encoded once, as an entry of ``ScopeSpans.spans``, can be kept, written to disk,
put together with others in any number, and sent, without ever being decoded again.

Source: opentelemetry-proto 1.x, ``trace/v1/trace.proto`` and ``collector/trace/v1/trace_service.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["Envelope", "frame", "length_delimited", "span_id_of"]

SPANS: Final = 0x12
"""Tag of ``ScopeSpans.spans``: field 2, length-delimited."""
RESOURCE_SPANS: Final = 0x0A
"""Tag of ``ExportTraceServiceRequest.resource_spans``: field 1, length-delimited."""
SCOPE_SPANS: Final = 0x12
"""Tag of ``ResourceSpans.scope_spans``: field 2, length-delimited."""
SPAN_ID_OFFSET: Final = 20
"""Where a span's id begins in its message: behind tag, length and 16 bytes of the trace id, tag and length."""


def length_delimited(tag: int, body: bytes) -> bytes:
    """Return `body` as a field: its tag (below 128), its length as a varint, itself."""
    return _head(tag, len(body)) + body


def _head(tag: int, length: int) -> bytes:
    """Return the tag, and the length as a varint."""
    if length < 1 << 7:
        return bytes((tag, length))
    if length < 1 << 14:
        return bytes((tag, length & 127 | 128, length >> 7))
    head = bytearray((tag,))
    while length >= 1 << 7:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head)


def frame(span: bytes) -> bytes:
    """Return the message of one span as an entry of ``ScopeSpans.spans``.

    Its first two fields must be the ids, in the order of their numbers, as every encoder writes them.
    """
    return length_delimited(SPANS, span)


def span_id_of(frame: bytes) -> bytes:
    """Return the 8 bytes of the id of the span in `frame`."""
    start = 1
    while frame[start] > 127:
        start += 1
    start += 1 + SPAN_ID_OFFSET
    return frame[start : start + 8]


class Envelope(NamedTuple):
    """What the spans of one request have in common.

    Attributes:
        resource: Fields of ``ResourceSpans`` other than ``scope_spans``: resource and schema URL.
        scope: Fields of ``ScopeSpans`` other than ``spans``: instrumentation scope and schema URL.
    """

    resource: bytes
    scope: bytes

    def wrap(self, frames: Iterable[bytes]) -> bytes:
        """Return a complete ``ExportTraceServiceRequest`` with these spans."""
        spans = [self.scope, *frames]  # joined once: a request may have megabytes
        size = sum(map(len, spans))
        scope_head = _head(SCOPE_SPANS, size)
        head = _head(RESOURCE_SPANS, len(self.resource) + len(scope_head) + size)
        return b"".join([head, self.resource, scope_head, *spans])
