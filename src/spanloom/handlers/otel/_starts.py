"""The start of events: which span each will lie under, whether it is sampled, and what is current meanwhile."""

from __future__ import annotations

from typing import Final

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import SpanContext, SpanKind, Tracer

from spanloom.events import Event
from spanloom.handlers.otel._attributes import end_attributes, plain_text, start_attributes
from spanloom.handlers.otel._live import Call, LiveSpan, attach, innermost, open_context
from spanloom.handlers.otel._traces import (
    MAX_CALLS,
    Note,
    Notes,
    TraceNote,
    Traces,
    follows_root,
    span_context,
)

__all__ = ["SpanStarts"]

_EMPTY: Final = Context()


class SpanStarts:
    """What the starts of events tell, kept until their spans are built.

    Args:
        tracer: Makes the spans. Where it is not the SDK's, it makes them here, at the start: it can neither be
            told a span's id nor be asked for a sampling decision.
        live: Make an open event's span current, so that user code's spans nest under it.
        max_length: Characters kept of a payload text.
    """

    def __init__(self, tracer: Tracer, *, live: bool, max_length: int) -> None:
        self._tracer = tracer
        self.sampler = tracer.sampler if isinstance(tracer, SdkTracer) else None
        self._follows = self.sampler is not None and follows_root(self.sampler)
        self._live = live
        self._max_length = max_length
        self._traces = Traces()
        self._notes = Notes()
        self.wants_every_start = live or not self._follows  # else roots only: they inherit what is current

    def opened(self, event: Event) -> None:
        """Note what `event` inherits, and make its span-to-be current; in its task, at its start."""
        current = open_context(context_api.get_current(), event)
        trace = self._traces.get(event.trace_id)
        if event.parent_id is None:
            trace = self._open_trace(event, open_context(current, event, self))
        elif trace is None:
            trace = self._open_trace(event, _EMPTY)
        else:
            self._note_span_between(event, current)
        if self.sampler is None:
            self._start_foreign(event, trace)
        elif not self._follows and event.parent_id is not None:
            context = self.parent_context(event, trace, self._notes.get(event.event_id))
            self._notes.of(event.event_id).result = self._ask(self.sampler, event, trace, context)
        if self._live:
            attach(LiveSpan(event, self, current))

    def recall(self, event: Event) -> tuple[TraceNote, Note | None]:
        """Return what is known of `event`; the trace is made up if its root's start was not seen."""
        trace = self._traces.get(event.trace_id) or self._open_trace(event, _EMPTY)
        return trace, self._notes.get(event.event_id)

    def forget(self, event: Event) -> None:
        """Let go of what was kept for `event`: its span is built."""
        self._notes.pop(event.event_id, None)
        if event.parent_id is None:
            self._traces.ended(event.trace_id)

    def parent_context(self, event: Event, trace: TraceNote, note: Note | None) -> Context:
        """Return the OpenTelemetry context whose current span is the parent of the span of `event`."""
        if event.parent_id is None:
            return trace.context
        if note is not None and note.context is not None:
            return note.context
        above = self._notes.get(event.parent_id)
        if above is not None and above.span is not None:
            return trace_api.set_span_in_context(above.span, trace.context)
        parent = span_context(trace, event.parent_id, None if above is None else above.result)
        return trace_api.set_span_in_context(trace_api.NonRecordingSpan(parent), trace.context)

    def sampled(self, event: Event, trace: TraceNote, note: Note | None) -> SamplingResult:
        """Return what the sampler said of `event`, with all of its attributes."""
        asked = note.result if note is not None and note.result is not None else None
        if asked is None and event.parent_id is None:
            asked = trace.result
        attributes = end_attributes(event, self._max_length)
        if asked is None:
            return SamplingResult(trace.result.decision, attributes, trace.state)
        if asked.attributes:
            attributes = {**asked.attributes, **attributes}  # the sampler may have added some
        return SamplingResult(asked.decision, attributes, asked.trace_state)

    def _note_span_between(self, event: Event, current: Context) -> None:
        """If user code has opened a span inside the parent event, that one is the parent."""
        live = innermost(current)
        if live is None or live.event.event_id != event.parent_id:
            return
        between = trace_api.get_current_span(current)
        if between is not live and between.get_span_context().is_valid:
            self._notes.of(event.event_id).context = current

    def _open_trace(self, event: Event, context: Context) -> TraceNote:
        span = trace_api.get_current_span(context)
        ambient = span.get_span_context()
        parent = ambient if ambient.is_valid else None
        if isinstance(span, LiveSpan):
            # Of another manager's event. The stand-in may be over when the span is built; its ids stay.
            context = trace_api.set_span_in_context(trace_api.NonRecordingSpan(ambient), context)
        trace = TraceNote(event.trace_id if parent is None else parent.trace_id, context, parent)
        if self.sampler is not None:
            trace.decide(self._ask(self.sampler, event, trace, context))
        self._traces.keep(event.trace_id, trace)
        return trace

    def _ask(self, sampler: Sampler, event: Event, trace: TraceNote, context: Context) -> SamplingResult:
        attributes = start_attributes(event, self._max_length)
        return sampler.should_sample(
            context, trace.trace_id, plain_text(event.name), SpanKind.INTERNAL, attributes, ()
        )

    def _start_foreign(self, event: Event, trace: TraceNote) -> None:
        note = self._notes.of(event.event_id)
        note.span = self._tracer.start_span(
            plain_text(event.name),
            self.parent_context(event, trace, note),
            attributes=start_attributes(event, self._max_length),
            start_time=event.start_wall_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    def identify(self, event: Event) -> SpanContext:
        """Return the span context of the span of `event`, made or not."""
        trace, note = self.recall(event)
        if note is not None and note.span is not None:
            return note.span.get_span_context()
        asked = None if note is None else note.result
        return span_context(trace, event.event_id, asked)

    def keep(self, event: Event, call: Call) -> None:
        """Take what user code does to the span of `event`, to be repeated on the real one."""
        note = self._notes.of(event.event_id)
        if note.calls is None:
            note.calls = []
        if len(note.calls) < MAX_CALLS:
            note.calls.append(call)
        else:
            note.omitted += 1
