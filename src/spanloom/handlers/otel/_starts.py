"""The start of events: which span each will lie under, whether it is sampled, and what is current meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, TraceFlags, Tracer
from opentelemetry.util.types import AttributeValue

from spanloom.events import Event
from spanloom.events.event import JobEvent
from spanloom.handlers.otel._attributes import end_attributes, start_attributes, title_of
from spanloom.handlers.otel._job_context import job_attacher
from spanloom.handlers.otel._links import links_of
from spanloom.handlers.otel._live import (
    SPAN_KEY,
    Call,
    LiveSpan,
    StandIn,
    attach,
    innermost,
    open_context,
)
from spanloom.handlers.otel._places import Places
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._shard import Shard
from spanloom.handlers.otel._traces import (
    MAX_CALLS,
    Note,
    Notes,
    TraceIds,
    TraceNote,
    Traces,
    follows_root,
    span_context,
)

__all__ = ["SpanStarts"]

_EMPTY: Final = Context()


class SpanStarts:
    """Notes from the start of events, kept until their spans are built.

    Args:
        tracer: Makes the spans. Where it is not the SDK's, it makes them here, at the start: it can neither be
            told a span's id nor be asked for a sampling decision.
        live: Make an open event's span current, so that user code's spans nest under it.
        rules: What is recorded of payloads.
        remote: The parent, and the baggage, of traces that start where no span is current.
        max_spans: Spans per trace; ``None`` for any number. Another implementation's tracer chooses its own traces.
        is_sifted: Whether most jobs will have no span.
    """

    def __init__(
        self,
        tracer: Tracer,
        *,
        live: bool,
        rules: Rules,
        remote: Context | None = None,
        max_spans: int | None = None,
        is_sifted: bool = False,
    ) -> None:
        self._tracer = tracer
        self.sampler = tracer.sampler if isinstance(tracer, SdkTracer) else None
        self._ids = TraceIds(getattr(tracer, "id_generator", None))
        self._follows = self.sampler is not None and follows_root(self.sampler)
        self._live = live
        self._remote = remote
        self._rules = rules
        self._traces = Traces()
        self._notes = Notes()
        self._roots: dict[int, TraceNote] = {}
        self._places = Places(None if self.sampler is None else max_spans, self._notes, is_lazy=is_sifted)
        # Else roots only: they inherit what is current.
        self.wants_every_start = live or not self._follows or self._places.is_asked

    def opened(self, event: Event) -> None:
        """Note what `event` inherits, and make its span-to-be current; in its task, at its start."""
        current = inner = open_context(context_api.get_current(), event)
        trace = self._traces.get(event.trace_id)
        if event.parent_id is None:
            context = open_context(current, event, self)
            if self._remote is not None and not _has_span(context):
                # Our own baggage before that of the environment: it is younger.
                context = inner = Context({**self._remote, **context, **_span_of(self._remote)})
            trace = self._open_trace(event, context)
        elif trace is None:
            trace = self._open_trace(event, _EMPTY)
        else:
            trace = self._places.started(event, trace)
            self._note_span_between(event, current)
        if self.sampler is None:
            self._start_foreign(event, trace)
        elif not self._follows and event.parent_id is not None:
            trace, note = self.recall(event)
            context = self.parent_context(event, trace, note)
            self._notes.of(event.event_id).result = self._ask(self.sampler, event, trace, context)
        if self._live:
            attach(LiveSpan(event, self, current), inner)

    def resumed(self, event: Event) -> None:
        """Make the span-to-be of `event` current again, in the context that runs its generator now."""
        current = context_api.get_current()
        live = innermost(current)
        if live is None or live.event is not event or live.maker is not self:
            attach(LiveSpan(event, self, open_context(current, event)), current)
        # else it has waited inside a span of the user's, which is still current

    def job_starter(self, batch: Event) -> Callable[[Event], object] | None:
        """Return the hook to call with each started job of `batch`; ``None`` for no hook.

        Called when `batch` has just started, in its caller's context. Where the sampler follows the root and
        nothing of the user's lies between a job and its batch, a job has nothing to be noted: all that is left to
        do is to make its stand-in current.
        """
        trace = self._traces.get(batch.trace_id)
        places = None if trace is None else self._places.places_of(batch, trace)
        if not self._follows:
            return self.opened
        if trace is not None and trace.result.decision is Decision.DROP:
            return None  # the batch's stand-in, current in its jobs, says so to the user's spans
        if self._live:
            return job_attacher(self, context_api.get_current(), self.opened, places)
        return None if places is None else cast("Callable[[Event], object]", places.place)

    def recall(self, event: Event) -> tuple[TraceNote, Note | None]:
        """Return what is known of `event` and of its trace; that is made up if its root's start was not seen."""
        trace = self._roots.get(event.event_id) if self._roots else None
        if trace is None:
            trace = self._places.of(event, self.run_of(event))
        return trace, self._notes.get(event.event_id)

    def run_of(self, event: Event) -> TraceNote:
        """Return what is known of the trace in which the run of `event` began."""
        return self._traces.get(event.trace_id) or self._open_trace(event, _EMPTY)

    def range_of(self, job: JobEvent) -> tuple[TraceNote, Shard | None, int, int]:
        """Return the trace of `job`, its shard, and the range of indexes (end excluded) of jobs that are in it."""
        return self._places.range_of(job, self.run_of(job))

    def runs(self) -> list[TraceNote]:
        """Return what is known of all traces."""
        return list(self._traces.values())

    def note_of(self, shard: Shard, run: TraceNote) -> TraceNote:
        """Return what is known of a shard of `run`."""
        return self._places.note_of(shard, run)

    def tell(
        self, event: Event, attributes: Mapping[str, AttributeValue], links: Sequence[Link] = ()
    ) -> None:
        """Add attributes and links to the span of `event`, before those of user code."""
        note = self._notes.of(event.event_id)
        note.attributes = {**(note.attributes or {}), **attributes}
        if links:
            note.links = [*links, *note.links]

    def omit(self, event: Event, count: int) -> None:
        """Have the span of `event` report that `count` more things were left out."""
        self._notes.of(event.event_id).omitted += count

    def is_sampled(self, event: Event) -> bool:
        """Return whether anything in the trace of `event` may be sampled."""
        return not self._follows or self.run_of(event).result.decision is not Decision.DROP

    def shard_root(self, root: Event, shard: Shard, run: TraceNote) -> None:
        """Know `root` as the root of a shard, until its span is built."""
        self._roots[root.event_id] = self._places.note_of(shard, run)

    def place(self, event: Event) -> None:
        """Give a place to a point event that becomes a span."""
        if event.parent_id is not None:
            self._places.started(event, self.run_of(event))

    def forget(self, event: Event) -> None:
        """Drop the notes of `event`: its span is built, or it gets none."""
        self._notes.pop(event.event_id, None)
        if self._roots and self._roots.pop(event.event_id, None) is not None:
            return
        trace = self._traces.get(event.trace_id)
        if trace is not None and trace.sharding is not None:
            trace.sharding.forget(event)
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
        parent = span_context(trace, trace.parent_id(event), None if above is None else above.result)
        return trace_api.set_span_in_context(trace_api.NonRecordingSpan(parent), trace.context)

    @property
    def notes(self) -> Notes:
        """What is known of single events, by their ids; to be looked at only."""
        return self._notes

    @property
    def follows_root(self) -> bool:
        """Whether the sampler says of every span of a trace what it said of the root."""
        return self._follows

    def decision(self, trace: TraceNote, note: Note | None) -> SamplingResult:
        """Return what the sampler said of an event, or of its root if it was not asked about each."""
        return trace.result if note is None or note.result is None else note.result

    def attributes(self, event: Event, trace: TraceNote, note: Note | None) -> dict[str, AttributeValue]:
        """Return all attributes of the span of an ended `event`; the sampler may have added some."""
        attributes = end_attributes(event, self._rules)
        if note is not None and note.attributes is not None:
            attributes.update(note.attributes)
        asked = None if note is None else note.result
        if asked is None and event.parent_id is None:
            asked = trace.result
        if asked is not None and asked.attributes:
            return {**asked.attributes, **attributes}
        return attributes

    def _note_span_between(self, event: Event, current: Context) -> None:
        """If user code has opened a span inside the parent event, that one is the parent."""
        live = innermost(current)
        if live is None or live.event.event_id != event.parent_id:
            return
        between = trace_api.get_current_span(current)
        if between is live:
            return
        known = between.get_span_context()
        if not known.is_valid:
            return
        # Another implementation's spans have trace ids of their own; the event's is not made yet, its parent's is.
        placed = self.identify(live.event if self.sampler is None else event)
        if known.trace_id == placed.trace_id:
            self._notes.of(event.event_id).context = _lasting(current)
        else:  # a trace is one tree: what belongs to another trace is linked
            self.keep(event, ("add_link", (known, None)))

    def _open_trace(self, event: Event, context: Context) -> TraceNote:
        span = trace_api.get_current_span(context)
        ambient = span.get_span_context()
        parent = ambient if ambient.is_valid else None
        context = _lasting(context)
        trace_id = self._ids.of(event) if parent is None else parent.trace_id
        trace = TraceNote(trace_id, context, parent, self._ids.random)
        if self.sampler is not None:
            trace.decide(self._ask(self.sampler, event, trace, context))
            self._places.opened(trace, is_decided=self._follows)
        self._traces.keep(event.trace_id, trace)
        return trace

    def _ask(self, sampler: Sampler, event: Event, trace: TraceNote, context: Context) -> SamplingResult:
        attributes = start_attributes(event, self._rules)
        name, kind = title_of(event, self._rules)
        return sampler.should_sample(context, trace.trace_id, name, kind, attributes, ())

    def _start_foreign(self, event: Event, trace: TraceNote) -> None:
        note = self._notes.of(event.event_id)
        name, kind = title_of(event, self._rules)
        note.span = self._tracer.start_span(
            name,
            self.parent_context(event, trace, note),
            kind,
            attributes=start_attributes(event, self._rules),
            start_time=event.start_wall_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    def links(self, event: Event) -> tuple[list[Link], int]:
        """Return what `event` was linked to by its payload, and how many links more there were than a span holds."""
        return links_of(event, self._rules, self._identify)

    def _identify(self, trace_id: int, event_id: int) -> SpanContext:
        # In a trace with a remote parent, events have one trace id and spans the sender's.
        trace = self._traces.get(trace_id)
        if trace is not None:
            return span_context(self._places.of_id(event_id, trace), event_id)
        return SpanContext(trace_id, event_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def identify(self, event: Event) -> SpanContext:
        """Return the span context of the span of `event`, made or not."""
        trace, note = self.recall(event)
        if note is not None and note.span is not None:
            return note.span.get_span_context()
        asked = None if note is None else note.result
        return span_context(trace, event.event_id, asked)

    def records(self, event: Event) -> bool:
        """Return whether the span of `event` is recorded: by an exporter, or by a processor only."""
        trace, note = self.recall(event)
        if note is not None and note.span is not None:
            return note.span.is_recording()
        return self.decision(trace, note).decision is not Decision.DROP

    def read(self, event: Event, name: str) -> object:
        """Return what the SDK's span of the open `event` would show by `name`.

        Raises:
            AttributeError: it would show nothing by that name, or is not recorded.
        """
        from spanloom.handlers.otel._unfinished import READABLE, unfinished  # it builds spans, as we do not

        trace, note = self.recall(event)
        if note is not None and note.span is not None:
            return getattr(note.span, name)
        tracer = self._tracer
        if name not in READABLE or not isinstance(tracer, SdkTracer) or not self.records(event):
            raise AttributeError(f"the span of {event.type} {event.name!r} shows no {name}")
        asked = trace.result if event.parent_id is None else None if note is None else note.result
        above = self.parent_context(event, trace, note)
        known = self.identify(event)
        return getattr(unfinished(event, tracer, known, above, asked, note, self._rules), name)

    def keep(self, event: Event, call: Call) -> None:
        """Take what user code does to the span of `event`, to be repeated on the real one."""
        note = self._notes.of(event.event_id)
        if note.calls is None:
            note.calls = []
        if len(note.calls) < MAX_CALLS:
            note.calls.append(call)
        else:
            note.omitted += 1


def _lasting(context: Context) -> Context:
    """Return `context` as it can be kept: a stand-in may be over when the span is built, its ids stay."""
    span = trace_api.get_current_span(context)
    if not isinstance(span, StandIn):
        return context
    return trace_api.set_span_in_context(trace_api.NonRecordingSpan(span.get_span_context()), context)


def _has_span(context: Context) -> bool:
    return trace_api.get_current_span(context).get_span_context().is_valid


def _span_of(context: Context) -> dict[str, object]:
    return {SPAN_KEY: context[SPAN_KEY]} if SPAN_KEY in context else {}
