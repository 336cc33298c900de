"""The lean way from ended events to finished spans: as objects for exporters, or straight to OTLP bytes.

Theory of operation. A batch makes as many spans as it has jobs, and nearly all of them are alike: the job ended
well, nobody attached anything to it, its trace is known. Of such a job only five numbers are its own; `JobKin`
keeps the rest, once per batch. Where spans become bytes anyway, the numbers are filled into a template of the
encoded span. Where an exporter wants span objects, it gets a `JobSpan`, which works out what it says when somebody
reads it: for an exporter that only counts spans, no attribute is made. Every other event becomes a `Draft`, on which
the same calls are made as on the SDK's span. An event that is not sampled costs one look at its kin or its trace.

Nothing here waits or locks; lists may be built by several threads at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext, TraceFlags

from spanloom.events import Event
from spanloom.events.event import JobDetail, JobEvent
from spanloom.events.ids import event_id_at, index_in
from spanloom.handlers.otel._attributes import title_of
from spanloom.handlers.otel._draft import Draft, Origin
from spanloom.handlers.otel._encode import encode_envelope
from spanloom.handlers.otel._finish import finish
from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._inline import Stretch
from spanloom.handlers.otel._job_run import JobRun, Woven
from spanloom.handlers.otel._kin import JobKin, is_plain
from spanloom.handlers.otel._points import Points
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._traces import RANDOM_FLAG, Note, TraceNote, span_context

__all__ = ["Built", "LeanBuilder"]

_logger = logging.getLogger("spanloom.handlers.otel")

_DETAIL: Final = attrgetter("detail")
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


class _Building:
    """What has been built so far of one list of events; see `Built`."""

    __slots__ = ("_has_frames", "_has_spans", "frames", "lost", "spans")

    def __init__(self, *, frames: bool, spans: bool) -> None:
        self._has_frames = frames
        self._has_spans = spans
        self.frames: list[bytes] = []
        self.spans: list[ReadableSpan] = []
        self.lost = 0

    def add_plain(self, jobs: Sequence[JobEvent], kin: JobKin) -> None:
        """Add the spans of plain jobs without details."""
        if jobs and kin.is_sampled:
            if self._has_frames:
                self.frames += kin.frames(jobs)
            if self._has_spans:
                self.spans += kin.spans(jobs)

    def add_one(self, job: JobEvent, kin: JobKin) -> None:
        """Add the span of a plain job with details."""
        if kin.is_sampled:
            if self._has_frames:
                self.frames.append(kin.frame(job, job.event_id))
            if self._has_spans:
                self.spans += kin.spans((job,))

    def add(self, draft: Draft | None, event: Event) -> None:
        """Add the span of `event`; ``None`` if there is none."""
        if draft is None:
            return
        end_ns = event.end_wall_ns or event.start_wall_ns
        if self._has_spans:
            self.spans.append(draft.end(end_ns))
        if self._has_frames:
            self.lost += not _encode(draft, end_ns, self.frames)


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

    def build(self, events: Sequence[Woven], tracer: SdkTracer, *, frames: bool, spans: bool) -> Built:
        """Build the spans of ended `events`, those under which nothing is sampled aside.

        Args:
            events: Ended events, jobs in runs, and point events that are spans of their own.
            tracer: Whose resource, scope and limits are taken.
            frames: Whether encoded spans are wanted.
            spans: Whether span objects are wanted; both may be.
        """
        origin = self._origin_of(tracer)
        built = _Building(frames=frames, spans=spans)
        for event in events:
            if isinstance(event, JobRun):
                self._build_run(event.jobs, self._kin_of(event.jobs[0], event.trace, origin), built)
            else:
                built.add(self._build(event, origin), event)
        return Built(self._envelope, built.frames, built.spans, built.lost)

    def _build_run(self, jobs: Sequence[JobEvent], kin: JobKin, built: _Building) -> None:
        """Build the spans of jobs of one kin: at once those between two about which there is more to say."""
        details: list[JobDetail | None] = list(map(_DETAIL, jobs))
        if details.count(None) == len(jobs) and not self._is_told_of(jobs, kin):
            built.add_plain(jobs, kin)
            return
        notes, points = self._starts.notes, self._points.waiting
        start = 0
        for at, (job, detail) in enumerate(zip(jobs, details, strict=True)):
            event_id = event_id_at(kin.base_id, job.index)
            is_plain_job = (detail is None or is_plain(detail)) and not (
                event_id in notes or event_id in points
            )
            if is_plain_job and detail is None:
                continue
            built.add_plain(jobs[start:at], kin)
            start = at + 1
            if is_plain_job:
                built.add_one(job, kin)
            else:
                built.add(self._build_job(job, kin), job)
        built.add_plain(jobs[start:], kin)

    def _is_told_of(self, jobs: Sequence[JobEvent], kin: JobKin) -> bool:
        """Return whether anything more than the events say is known of some of `jobs`; seldom also if it is not."""
        first = last = None
        for table in (self._starts.notes, self._points.waiting):
            if len(table) > len(jobs):
                return True  # looking for each of the jobs in it takes less
            for event_id in list(table):  # it may grow meanwhile
                if first is None or last is None:
                    indexes = [job.index for job in jobs]
                    first, last = min(indexes), max(indexes)
                if first <= index_in(kin.base_id, event_id) <= last:
                    return True
        return False

    def stretch_from(self, job: JobEvent) -> Stretch | None:
        """Return what `job`, whose span has just been built, may share with those that follow; ``None`` if nothing."""
        if self._origin is None:
            return None
        trace, _, low, high = self._starts.range_of(job)
        kin = self._kin_of(job, trace, self._origin)
        return Stretch(kin, self._envelope, self._starts.run_of(job), low, high) if kin.is_sampled else None

    def _origin_of(self, tracer: SdkTracer) -> Origin:
        origin = self._origin
        if origin is None or not origin.is_of(tracer):
            origin = self._origin = Origin(tracer)
            self._envelope = encode_envelope(origin.resource, origin.scope)
        return origin

    def _kin_of(self, job: JobEvent, trace: TraceNote, origin: Origin) -> JobKin:
        """Return what `job` shares with those of its family that lie in `trace`."""
        key = job.batch_id, trace.trace_id, job.name
        kin = self._kin.get(key)
        if kin is None or not kin.holds_for(origin, trace):
            if len(self._kin) >= MAX_KIN:
                self._kin.clear()
            kin = self._kin[key] = JobKin(origin, job, trace, self._rules)
        return kin

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


def _encode(draft: Draft, end_ns: int, frames: list[bytes]) -> bool:
    try:
        frames.append(draft.encode(end_ns))
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        # Something that user code gave: a link to an id of more than 128 bits, say.
        _logger.warning("the span %r cannot be sent by OTLP: %s", draft.name, error)
        return False
    return True
