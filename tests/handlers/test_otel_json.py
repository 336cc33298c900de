"""OTLP/JSON, read by the official parser, against the SDK's own encoder, for everything that a span can hold."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from spanloom.handlers.otel._json import encode_json_span, json_envelope
from tests.handlers.test_otel_encode import spans


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Both encoders log what they leave out, a thousand times in a property test."""
    caplog.set_level(logging.CRITICAL)


def read_request(line: bytes) -> ExportTraceServiceRequest:
    """Return the request that a line of OTLP/JSON is, read by the official parser of Protocol Buffers.

    That one knows nothing of the exception that OTLP makes for ids, which is undone here.
    """
    request = json.loads(line)
    for found in (
        scope["spans"] for resource in request["resourceSpans"] for scope in resource["scopeSpans"]
    ):
        for span in found:
            for holder in (span, *span.get("links", ())):
                for key in {"traceId", "spanId", "parentSpanId"} & holder.keys():
                    assert len(holder[key]) == (32 if key == "traceId" else 16)
                    holder[key] = base64.b64encode(bytes.fromhex(holder[key])).decode()
    parsed: ExportTraceServiceRequest = json_format.Parse(json.dumps(request), ExportTraceServiceRequest())
    return parsed


def line_of(span: ReadableSpan) -> bytes:
    before, after = json_envelope(span.resource, span.instrumentation_scope)
    return before + encode_json_span(span) + after


@settings(max_examples=300, deadline=None)
@given(spans)
def test_a_span_says_what_the_sdk_says(span: ReadableSpan) -> None:
    """Whatever a span holds, the message that the line stands for is the SDK's."""
    line = line_of(span)
    assert b"\n" not in line
    ours = read_request(line).resource_spans[0].scope_spans[0].spans[0]
    theirs = encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]
    assert str(ours) == str(theirs)  # as text: in JSON, "not a number" has no sign


@pytest.mark.parametrize(
    "scope",
    [
        None,
        InstrumentationScope("spanloom"),
        InstrumentationScope("spanloom", "1.0", "https://example.org/scope", {"scope": "s", "n": 1}),
    ],
)
@pytest.mark.parametrize(
    "resource",
    [Resource({}), Resource({"service.name": "ünï", "list": ["a", "b"]}, "https://example.org/resource")],
)
def test_what_is_around_spans_is_what_the_sdk_says(
    scope: InstrumentationScope | None, resource: Resource
) -> None:
    """Resource and scope, with and without versions, attributes and schemas."""
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    span = ReadableSpan(
        "s", context, resource=resource, instrumentation_scope=scope, start_time=1, end_time=2
    )
    assert read_request(line_of(span)) == encode_spans([span])


def test_numbers_and_ids_are_written_as_the_specification_says() -> None:
    """Ids are hexadecimal, 64-bit integers strings, enumerations numbers, and what JSON has no number for a word."""
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    attributes: dict[str, Any] = {"int": 1 << 60, "nan": float("nan"), "inf": float("-inf"), "half": 0.5}
    span = ReadableSpan("s", context, attributes=attributes, start_time=1 << 60, end_time=(1 << 60) + 1)
    assert json.loads(encode_json_span(span)) == {
        "traceId": f"{0xABC:032x}",
        "spanId": f"{0xDEF:016x}",
        "flags": 256,
        "name": "s",
        "kind": 1,
        "startTimeUnixNano": "1152921504606846976",
        "endTimeUnixNano": "1152921504606846977",
        "attributes": [
            {"key": "int", "value": {"intValue": "1152921504606846976"}},
            {"key": "nan", "value": {"doubleValue": "NaN"}},
            {"key": "inf", "value": {"doubleValue": "-Infinity"}},
            {"key": "half", "value": {"doubleValue": 0.5}},
        ],
        "status": {},
    }
