"""Building spans from ended events, with the events' own ids, parents and times.

The SDK gives every span a fresh id, but a child's event ends before its parent's, so a parent's span
id has to be known before its span exists. So spans are started by a copy of the provider's tracer
that takes the ids from the events and the sampling decisions from their start; resource, limits,
processors and exporters are the provider's. The copy is made anew for every list of events: what
the SDK changes in the original (the resource after a fork, say) is in the next copy.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Span, StatusCode, Tracer

from spanloom.events import Event, EventStatus
from spanloom.handlers.otel._attributes import (
    end_attributes,
    exception_attributes,
    payload_attributes,
    plain_text,
)
from spanloom.handlers.otel._points import Points
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._traces import Note

__all__ = ["SpanBuilder"]

_FAILED: Final = frozenset({EventStatus.ERROR, EventStatus.TIMEOUT, EventStatus.INTERRUPTED})


class _EventIds(IdGenerator):
    """Hands out the ids of the event whose span is being built."""

    span_id = 0
    trace_id = 0

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id

    def is_trace_id_random(self) -> bool:
        return True


class _Decided(Sampler):
    """Repeats what the provider's sampler said at the start of the event whose span is being built."""

    result = SamplingResult(Decision.DROP)

    def should_sample(self, *_: object, **__: object) -> SamplingResult:
        return self.result

    def get_description(self) -> str:
        return "spanloom"


class SpanBuilder:
    """Builds the spans of one handler; on the drain thread, one list at a time.

    Args:
        tracer: Of the scope ``spanloom``, from the provider.
        starts: What was noted at the start of the events.
        max_length: Characters kept of a payload text.
    """

    def __init__(self, tracer: Tracer, starts: SpanStarts, *, max_length: int) -> None:
        self._tracer = tracer
        self._starts = starts
        self._max_length = max_length
        self._points = Points()

    def build(self, events: Sequence[Event]) -> int:
        """Build and end the spans of `events`, in order; return how many there are.

        A point event waits here for the span of its parent. A point event without a parent becomes a span of no
        length.
        """
        spans: list[Event] = []
        for event in events:
            if event.is_point and event.parent_id is not None:
                spans.extend(self._points.keep(event))
            else:
                spans.append(event)
        return self._build_all(spans)

    def build_rest(self) -> int:
        """Build spans of the point events whose parent has not come; return how many there are."""
        return self._build_all(self._points.take_all())

    def _build_all(self, events: Sequence[Event]) -> int:
        ids, decided = _EventIds(), _Decided()
        tracer = copy.copy(self._tracer)
        if isinstance(tracer, SdkTracer):
            tracer.id_generator = ids
            tracer.sampler = decided
        contexts: dict[int | None, Context] = {}
        built = 0
        for event in events:
            trace, note = self._starts.recall(event)
            points, omitted = self._points.take(event.event_id)
            if self._starts.sampler is None:
                span = _made_at_start(event, note, self._max_length)
            else:
                decided.result = self._starts.sampled(event, trace, note)
                context = contexts.get(event.parent_id)
                if context is None or (note is not None and note.context is not None):
                    context = self._starts.parent_context(event, trace, note)
                    if note is None or note.context is None:
                        contexts[event.parent_id] = context
                ids.span_id, ids.trace_id = event.event_id, trace.trace_id
                span = (
                    _start(tracer, event, context) if decided.result.decision is not Decision.DROP else None
                )
            if span is not None:
                self._finish(span, event, note, points, omitted)
                built += 1
            self._starts.forget(event)
        return built

    def _finish(self, span: Span, event: Event, note: Note | None, points: list[Event], omitted: int) -> None:
        for point in points:
            attributes = payload_attributes(point.payload, self._max_length)
            span.add_event(plain_text(point.name), attributes, point.start_wall_ns)
        if note is not None and note.calls is not None:
            for method, arguments in note.calls:
                getattr(span, method)(*arguments)
            omitted += note.omitted
        if omitted:
            span.set_attribute("spanloom.omitted", omitted)
        error = event.error
        if event.status in _FAILED:
            span.set_status(StatusCode.ERROR, None if error is None else plain_text(error.message))
            if error is not None:
                span.add_event("exception", exception_attributes(error), event.end_wall_ns)
        span.end(event.end_wall_ns)


def _start(tracer: Tracer, event: Event, context: Context) -> Span:
    return tracer.start_span(
        plain_text(event.name),
        context,
        start_time=event.start_wall_ns,
        record_exception=False,
        set_status_on_exception=False,
    )


def _made_at_start(event: Event, note: Note | None, max_length: int) -> Span | None:
    if note is None or note.span is None:
        return None
    note.span.set_attributes(end_attributes(event, max_length))
    return note.span
