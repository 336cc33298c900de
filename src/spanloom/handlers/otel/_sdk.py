"""The SDK's way from ended events to finished spans: its own ``start_span`` and ``end``, told when and under what.

The SDK gives every span a fresh id, but a child's event ends before its parent's, so a parent's span id has to be known
before its span exists. So spans are started by a copy of the provider's tracer that takes the ids from the events and
the sampling decisions from their start; resource, limits and processors are the provider's. The copy is made anew for
every list of events: what the SDK changes in the original (the resource after a fork, say) is in the next copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Span, Tracer

from spanloom.events import Event
from spanloom.handlers.otel._attributes import end_attributes, title_of
from spanloom.handlers.otel._finish import finish
from spanloom.handlers.otel._points import Points
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._traces import Note

__all__ = ["Diverter", "Later", "SdkBuilder"]


class _EventIds(IdGenerator):
    """Hands out the ids of the event whose span is being built."""

    span_id = 0
    trace_id = 0
    is_random = True

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id

    def is_trace_id_random(self) -> bool:
        return self.is_random


class _Decided(Sampler):
    """Repeats what the provider's sampler said at the start of the event whose span is being built."""

    result = SamplingResult(Decision.DROP)

    def should_sample(self, *_: object, **__: object) -> SamplingResult:
        return self.result

    def get_description(self) -> str:
        return "spanloom"


class Diverter(SpanProcessor):
    """Calls the provider's processors, and keeps the finished spans from some of them.

    Args:
        whole: What the tracer calls: all of the provider's processors.
        leaves: Those that are to have the finished spans.
        take: Is called with every finished span that is sampled, in place of the others.
    """

    def __init__(
        self, whole: SpanProcessor, leaves: Sequence[SpanProcessor], take: Callable[[ReadableSpan], object]
    ) -> None:
        self._whole = whole
        self._leaves = leaves
        self._take = take

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        self._whole.on_start(span, parent_context)

    def _on_ending(self, span: SdkSpan) -> None:
        on_ending = getattr(self._whole, "_on_ending", None)  # since OpenTelemetry 1.36
        if on_ending is not None:
            on_ending(span)

    def on_end(self, span: ReadableSpan) -> None:
        for leaf in self._leaves:
            leaf.on_end(span)
        if span.context is not None and span.context.trace_flags.sampled:
            self._take(span)


class Later(SpanProcessor):
    """Keeps finished spans for processors that must not be called here and now.

    Args:
        put: Takes them, a list at a time.
    """

    def __init__(self, put: Callable[[Sequence[ReadableSpan]], object]) -> None:
        self._put = put

    def on_end(self, span: ReadableSpan) -> None:
        self._put((span,))


class SdkBuilder:
    """Builds spans by a tracer.

    Args:
        starts: What was noted at the start of the events.
        points: The point events that wait for the span of their parent.
        rules: What is recorded of payloads.
    """

    def __init__(self, starts: SpanStarts, points: Points, *, rules: Rules) -> None:
        self._starts = starts
        self._points = points
        self._rules = rules

    def build(
        self,
        events: Sequence[Event],
        tracer: Tracer,
        built: Callable[[], object],
        divert: Callable[[SpanProcessor], SpanProcessor] | None = None,
    ) -> None:
        """Build and end the spans of ended `events`; the tracer's processors get them.

        Args:
            events: Ended events, and point events that are spans of their own.
            tracer: The SDK's, or another one that has made the spans at the start of the events.
            built: Is called after every span.
            divert: Makes the processor that the spans go to, of the tracer's own; ``None`` for that one.
        """
        starts = self._starts
        ids, decided = _EventIds(), _Decided()
        tracer = copy.copy(tracer)
        if isinstance(tracer, SdkTracer):
            tracer.id_generator = ids
            tracer.sampler = decided
            if divert is not None:
                # Of a narrower type by its annotation only; nothing but the methods of a processor is called.
                vars(tracer)["span_processor"] = divert(tracer.span_processor)
        contexts: dict[tuple[int, int], Context] = {}
        for event in events:
            trace, note = starts.recall(event)
            points, omitted = self._points.take(event.event_id)
            result = starts.decision(trace, note)
            span: Span | None = None
            if starts.sampler is None:
                span = _made_at_start(event, note, self._rules)
            elif result.decision is not Decision.DROP:
                attributes = starts.attributes(event, trace, note)
                decided.result = SamplingResult(result.decision, attributes, result.trace_state)
                # Siblings have the same; roots are nobody's siblings, and user code's span may lie between.
                shared = None
                if event.parent_id is not None and (note is None or note.context is None):
                    shared = trace.trace_id, event.parent_id
                context = None if shared is None else contexts.get(shared)
                if context is None:
                    context = starts.parent_context(event, trace, note)
                    if shared is not None:
                        contexts[shared] = context
                ids.span_id, ids.trace_id = event.event_id, trace.trace_id
                ids.is_random = bool(trace.random)
                span = _start(tracer, event, context, self._rules)
            if span is not None:
                links, beyond = starts.links(event)
                finish(span, event, note, points, links, omitted + beyond, self._rules)
                span.end(event.end_wall_ns)
                built()
            starts.forget(event)


def _start(tracer: Tracer, event: Event, context: Context, rules: Rules) -> Span:
    name, kind = title_of(event, rules)
    return tracer.start_span(
        name,
        context,
        kind,
        start_time=event.start_wall_ns,
        record_exception=False,
        set_status_on_exception=False,
    )


def _made_at_start(event: Event, note: Note | None, rules: Rules) -> Span | None:
    if note is None or note.span is None:
        return None
    note.span.set_attributes(end_attributes(event, rules))
    if rules.title is not None:  # by what the payload said at the start, it may have had another name
        note.span.update_name(title_of(event, rules)[0])
    return note.span
