"""Frames and envelopes, decoded by the official classes."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from spanloom.handlers.otel._frame import Envelope, frame, span_id_of


@pytest.mark.parametrize("length", [0, 50, 127, 128, 5_000, 20_000, 3_000_000])
def test_wrapped_frames_are_a_request(length: int) -> None:
    """Spans of any length, framed and wrapped, are what the official classes decode."""
    spans = [
        Span(trace_id=bytes([7]) * 16, span_id=number.to_bytes(8, "big"), name="x" * length)
        for number in (1, 2**64 - 1)
    ]
    resource = ResourceSpans(schema_url="https://example.org/resource")
    resource.resource.attributes.add(key="service.name").value.string_value = "test"
    scope = ScopeSpans(scope=InstrumentationScope(name="spanloom", version="1"))
    frames = [frame(span.SerializeToString()) for span in spans]
    body = Envelope(resource.SerializeToString(), scope.SerializeToString()).wrap(frames)
    scope.spans.extend(spans)
    resource.scope_spans.append(scope)
    assert ExportTraceServiceRequest.FromString(body) == ExportTraceServiceRequest(resource_spans=[resource])
    assert [span_id_of(item) for item in frames] == [span.span_id for span in spans]
