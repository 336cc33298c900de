"""The lean way from ended events to finished spans: as objects for exporters, or straight to OTLP bytes.

Theory of operation. A batch makes as many spans as it has jobs, and nearly all of them are alike: the job ended
well, nobody attached anything to it, its trace is known. Of such a job only five numbers are its own; `JobKin`
keeps the rest, once per batch. Where spans become bytes anyway, the numbers are filled into a template of the
encoded span. Where an exporter wants span objects, it gets a `JobSpan`, which works out what it says when somebody
reads it: an exporter that counts spans has no attribute made. Every other event becomes a `Draft`, to which
everything is done that the SDK's span would have done to it. A trace that is not sampled costs one look at its kin,
or at its trace.

Nothing here waits or locks; lists may be built by several threads at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext, TraceFlags

from spanloom.events import Event
from spanloom.events.event import JobEvent
from spanloom.events.ids import event_id_at
from spanloom.handlers.otel._attributes import title_of
from spanloom.handlers.otel._draft import Draft, Origin
from spanloom.handlers.otel._encode import encode_envelope
from spanloom.handlers.otel._finish import finish
from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._inline import Stretch
from spanloom.handlers.otel._kin import JobKin, is_plain
from spanloom.handlers.otel._points import Points
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._template import LENGTHS
from spanloom.handlers.otel._traces import RANDOM_FLAG, Note, TraceNote, span_context

__all__ = ["Built", "LeanBuilder"]

_logger = logging.getLogger("spanloom.handlers.otel")

MAX_KIN: Final = 64
"""Batches, or shards of them, whose common part is kept: those that run at once. Another one is made in 20 us."""


class Built(NamedTuple):
    """The finished spans of one list of events, in the order of the events.

    Attributes:
        envelope: What the encoded ones are wrapped into.
        frames: Encoded, if that was asked for.
        spans: As objects, if that was asked for.
        lost: How many could not be encoded; each was logged.
    """

    envelope: Envelope
    frames: list[bytes]
    spans: list[ReadableSpan]
    lost: int = 0


class LeanBuilder:
    """Builds spans without the SDK's tracer.

    Args:
        starts: What was noted at the start of the events.
        points: The point events that wait for the span of their parent.
        rules: What is recorded of payloads.
    """

    def __init__(self, starts: SpanStarts, points: Points, *, rules: Rules) -> None:
        self._starts = starts
        self._points = points
        self._rules = rules
        self._origin: Origin | None = None
        self._envelope = Envelope(b"", b"")
        self._kin: dict[tuple[int, int, str], JobKin] = {}

    def build(self, events: Sequence[Event], tracer: SdkTracer, *, frames: bool, spans: bool) -> Built:
        """Build the spans of ended `events`, those under which nothing is sampled aside.

        Args:
            events: Ended events, and point events that are spans of their own.
            tracer: Whose resource, scope and limits are taken.
            frames: Whether encoded spans are wanted.
            spans: Whether span objects are wanted; both may be.
        """
        origin = self._origin_of(tracer)
        built = Built(self._envelope, [], [])
        notes, points = self._starts.notes, self._points.waiting
        bare: list[JobEvent] = []  # plain ones without details that have the same kin
        kin: JobKin | None = None
        low = high = 0
        lost = 0
        for event in events:
            if type(event) is JobEvent:
                if kin is None or kin.family is not event.family or not low <= event.index < high:
                    _put(bare, kin, built, frames=frames, spans=spans)
                    bare = []
                    kin, low, high = self._kin_of(event, origin)
                detail = event.detail
                if (detail is None or is_plain(detail)) and (
                    not (notes or points)
                    or (
                        (event_id := event_id_at(kin.base_id, event.index)) not in notes
                        and event_id not in points
                    )
                ):
                    if detail is None:
                        bare.append(event)
                    else:
                        _put(bare, kin, built, frames=frames, spans=spans)
                        bare = []
                        _put_one(event, kin, built, frames=frames, spans=spans)
                    continue
                draft = self._build_job(event, kin)
            else:
                draft = self._build(event, origin)
            _put(bare, kin, built, frames=frames, spans=spans)
            bare = []
            if draft is not None:
                end_ns = event.end_wall_ns or event.start_wall_ns
                if spans:
                    built.spans.append(draft.end(end_ns))
                if frames:
                    lost += not _encode(draft, end_ns, built.frames)
        _put(bare, kin, built, frames=frames, spans=spans)
        return built._replace(lost=lost) if lost else built

    def stretch_from(self, job: JobEvent) -> Stretch | None:
        """Return what `job`, whose span has just been built, may share with those that follow; ``None`` if nothing."""
        if self._origin is None:
            return None
        kin, low, high = self._kin_of(job, self._origin)
        return Stretch(kin, self._envelope, self._starts.run_of(job), low, high) if kin.is_sampled else None

    def _origin_of(self, tracer: SdkTracer) -> Origin:
        origin = self._origin
        if origin is None or not origin.is_of(tracer):
            origin = self._origin = Origin(tracer)
            self._envelope = encode_envelope(origin.resource, origin.scope)
        return origin

    def _kin_of(self, job: JobEvent, origin: Origin) -> tuple[JobKin, int, int]:
        """Return what `job` shares with others, and from which index to before which it shares it.

        That includes the length of the index, as it is encoded.
        """
        trace, _, low, high = self._starts.range_of(job)
        for first, end in LENGTHS:
            if job.index < end:
                low, high = max(low, first), min(high, end)
                break
        key = job.batch_id, trace.trace_id, job.name
        kin = self._kin.get(key)
        if kin is None or not kin.holds_for(origin, trace):
            if len(self._kin) >= MAX_KIN:
                self._kin.clear()
            kin = self._kin[key] = JobKin(origin, job, trace, self._rules)
        return kin, low, high

    def _build_job(self, job: JobEvent, kin: JobKin) -> Draft | None:
        """Return the span of a job that is not plain, all but ended; ``None`` if it is not sampled."""
        event_id = event_id_at(kin.base_id, job.index)
        note = self._starts.notes.get(event_id)
        if note is not None and (note.context is not None or note.result is not None):
            return self._build(job, kin.origin)
        draft: Draft | None = None
        if kin.is_sampled:
            name, kind = title_of(job, self._rules)
            draft = Draft(
                kin.origin,
                name,
                kin.context(event_id),
                kin.parent,
                job.start_wall_ns,
                self._starts.attributes(job, kin.trace, note),
                kind,
            )
        self._finish(draft, job, event_id, note)
        return draft

    def _build(self, event: Event, origin: Origin) -> Draft | None:
        """Return the span of any event, all but ended; ``None`` if it is not sampled."""
        starts = self._starts
        trace, note = starts.recall(event)
        draft: Draft | None = None
        if starts.decision(trace, note).decision is Decision.RECORD_AND_SAMPLE:
            context, parent = self._place(event, trace, note)
            name, kind = title_of(event, self._rules)
            draft = Draft(
                origin,
                name,
                context,
                parent,
                event.start_wall_ns,
                starts.attributes(event, trace, note),
                kind,
            )
        self._finish(draft, event, event.event_id, note)
        return draft

    def _finish(self, draft: Draft | None, event: Event, event_id: int, note: Note | None) -> None:
        starts = self._starts
        points, omitted = self._points.take(event_id)
        if draft is not None:
            links, beyond = starts.links(event)
            finish(draft, event, note, points, links, omitted + beyond, self._rules)
        starts.forget(event)

    def _place(
        self, event: Event, trace: TraceNote, note: Note | None
    ) -> tuple[SpanContext, SpanContext | None]:
        """Return the contexts of the span of `event` and of its parent, as the SDK's ``start_span`` makes them."""
        result = None if note is None else note.result
        if note is None or note.context is None:
            parent = trace.parent if event.parent_id is None else span_context(trace, trace.parent_id(event))
            return span_context(trace, event.event_id, result), parent
        parent = trace_api.get_current_span(note.context).get_span_context()
        if not parent.is_valid:
            return span_context(trace, event.event_id, result), None
        # The span of user code between this event and its parent event.
        return (
            SpanContext(
                parent.trace_id,
                event.event_id,
                is_remote=False,
                trace_flags=TraceFlags(TraceFlags.SAMPLED | parent.trace_flags & RANDOM_FLAG),
                trace_state=self._starts.decision(trace, note).trace_state,
            ),
            parent,
        )


def _put(jobs: list[JobEvent], kin: JobKin | None, built: Built, *, frames: bool, spans: bool) -> None:
    if jobs and kin is not None and kin.is_sampled:
        if frames:
            built.frames.extend(kin.frames(jobs))
        if spans:
            built.spans.extend(kin.spans(jobs))


def _put_one(job: JobEvent, kin: JobKin, built: Built, *, frames: bool, spans: bool) -> None:
    if kin.is_sampled:
        if frames:
            built.frames.append(kin.frame(job, job.event_id))
        if spans:
            built.spans.extend(kin.spans((job,)))


def _encode(draft: Draft, end_ns: int, frames: list[bytes]) -> bool:
    try:
        frames.append(draft.encode(end_ns))
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        # Something that user code gave: a link to an id of more than 128 bits, say.
        _logger.warning("the span %r cannot be sent by OTLP: %s", draft.name, error)
        return False
    return True
