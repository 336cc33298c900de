"""Our own OTLP encoder against the SDK's, for everything that a span can hold."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from spanloom.handlers.otel._encode import encode_envelope, encode_span
from spanloom.handlers.otel._frame import frame, span_id_of
from spanloom.handlers.otel._template import MAX_INDEX, JobTemplate

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Both encoders log what they leave out, a thousand times in a property test."""
    caplog.set_level(logging.CRITICAL)


texts = st.text(max_size=300) | st.text(st.characters(categories=["Cs", "Lo"]), max_size=3)
encodable = st.text(max_size=200)
scalars = (
    texts
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 66), 1 << 66)
    | st.floats()
    | st.none()
    | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
attributes = st.dictionaries(texts, values, max_size=8)
uint64 = st.integers(0, (1 << 64) - 1)
states = st.sampled_from([TraceState(), TraceState([("k", "v")]), TraceState([("a", "1"), ("b@c", "2")])])
contexts = st.builds(
    SpanContext, st.integers(0, (1 << 128) - 1), uint64, st.booleans(), st.just(TraceFlags(3)), states
)


def bounded(found: dict[str, Any]) -> BoundedAttributes:
    return BoundedAttributes(5, found, immutable=True, max_value_len=250)


events = st.builds(SpanEvent, encodable, attributes.map(bounded), uint64)
links = st.builds(Link, contexts, attributes.map(bounded))
spans = st.builds(
    ReadableSpan,
    name=encodable,
    context=contexts,
    parent=st.none() | contexts,
    attributes=attributes | attributes.map(bounded),
    events=st.lists(events, max_size=4).map(lambda found: BoundedList.from_seq(2, found)),
    links=st.lists(links, max_size=4).map(lambda found: BoundedList.from_seq(2, found)),
    kind=st.sampled_from(SpanKind),
    status=st.builds(Status, st.just(StatusCode.ERROR), st.none() | encodable) | st.builds(Status),
    start_time=uint64,
    end_time=uint64,
    resource=st.just(Resource({})),
)


def theirs(span: ReadableSpan) -> bytes:
    """Return the span as the SDK's encoder writes it, in the form of a frame."""
    return frame(
        encode_spans([span]).resource_spans[0].scope_spans[0].spans[0].SerializeToString(deterministic=True)
    )


@settings(deadline=None, max_examples=300)
@given(spans)
def test_a_span_is_encoded_as_the_sdk_does(span: ReadableSpan) -> None:
    """Byte for byte, with what cannot be encoded left out just there."""
    assert encode_span(span) == theirs(span)


@settings(deadline=None)
@given(attributes, encodable, encodable, encodable, attributes)
def test_an_envelope_is_encoded_as_the_sdk_does(
    about: dict[str, Any], url: str, name: str, version: str, around: dict[str, Any]
) -> None:
    """Resource and scope, with their attributes and schema URLs, make the same request."""
    resource = Resource(about, url)
    scope = InstrumentationScope(name, version, url, around)
    span = ReadableSpan("x", SpanContext(1, 2, False), resource=resource, instrumentation_scope=scope)
    whole = encode_envelope(resource, scope).wrap([encode_span(span)])
    assert ExportTraceServiceRequest.FromString(whole) == encode_spans([span])


def test_a_span_of_no_scope_is_encoded_as_the_sdk_does() -> None:
    """A span that somebody made without a scope is in an empty one."""
    span = ReadableSpan("x", SpanContext(1, 2, False), resource=Resource({}))
    whole = encode_envelope(span.resource, None).wrap([encode_span(span)])
    assert ExportTraceServiceRequest.FromString(whole) == encode_spans([span])


def test_what_cannot_be_encoded_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """An attribute is not lost without a word."""
    caplog.set_level(logging.WARNING, "spanloom.handlers.otel")
    found = {"good": 1, "surrogate": "\ud800", "huge": 1 << 64, "object": object()}
    span = ReadableSpan("x", SpanContext(1, 2, False), attributes=found)  # type: ignore[arg-type]  # the point of it
    encode_span(span)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[1] for message in messages] == ["'surrogate'", "'huge'", "'object'"]


@settings(deadline=None, max_examples=300)
@given(
    span=contexts,
    parent=contexts,
    name=encodable,
    index=st.integers(0, MAX_INDEX - 1) | st.integers(0, 1 << 15),
    start=st.integers(1, (1 << 64) - 1),
    end=st.integers(1, (1 << 64) - 1),
    queue_s=st.floats(),
    before=st.dictionaries(st.sampled_from("abc"), encodable),
    after=st.dictionaries(st.sampled_from("xyz"), st.integers(0, 1 << 62)),
)
@example(SpanContext(1, 2, False), SpanContext(1, 3, False), "", 0, 1, 1, 0.0, {}, {})
@example(
    SpanContext(1, 2, False), SpanContext(1, 3, True), "x" * 20_000, MAX_INDEX - 1, 1, 1, math.nan, {}, {}
)
def test_a_template_writes_what_the_encoder_writes(
    span: SpanContext,
    parent: SpanContext,
    name: str,
    index: int,
    start: int,
    end: int,
    queue_s: float,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    """A form that is filled in is the span of that job, whatever the job's index and what its batch is called."""

    def attributes_of(index: int, queue_s: float) -> dict[str, Any]:
        return {**before, "spanloom.job.index": index, "m": True, "spanloom.job.queue_s": queue_s, **after}

    template = JobTemplate(span.trace_id, span.trace_state, parent, name, attributes_of(77, 0.5))
    whole = ReadableSpan(
        name,
        span,
        parent,
        attributes=attributes_of(index, queue_s),
        start_time=start,
        end_time=end,
        resource=Resource({}),
    )
    filled = template.fill(span.span_id, index, start, end, queue_s)
    assert filled == theirs(whole)
    assert span_id_of(filled) == span.span_id.to_bytes(8, "big")
