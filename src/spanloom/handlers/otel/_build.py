"""From ended events to finished spans: which way they are built, and to which outlet they go.

The provider is looked at anew for every list of events (`_plan.py`), so a processor that is added later changes the way
from the next list on. On the lean way (`_lean.py`), spans that only a collector will see are made as bytes, and as
objects only if there is an exporter of another kind. On the SDK's way (`_sdk.py`), a processor of ours stands between
the tracer and the provider's, and has the SDK's own encoder write what goes to a pipeline.

With a spool, spans are built where their events end, on any thread, so one lock is around it all. Nothing waits there:
the encoded ones go to the pipelines at once, and those for other processors wait in `Outlets` to be handed over.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.trace import Tracer

from spanloom.events import Event
from spanloom.events.event import JobEvent
from spanloom.handlers.otel._encode import encode_envelope
from spanloom.handlers.otel._frame import frame
from spanloom.handlers.otel._inline import Stretch
from spanloom.handlers.otel._job_run import Woven, events_of
from spanloom.handlers.otel._lean import LeanBuilder
from spanloom.handlers.otel._links import MAX_LINKS
from spanloom.handlers.otel._outlets import Outlets
from spanloom.handlers.otel._plan import Plan, look_at
from spanloom.handlers.otel._points import Points
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._roots import ShardRoots
from spanloom.handlers.otel._sdk import Diverter, Later, SdkBuilder
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._tail import Tail, TailPolicy

__all__ = ["SpanBuilder"]

_JOBS: Final = {JobEvent}
_logger = logging.getLogger("spanloom.handlers.otel")


class SpanBuilder:
    """Builds the spans of one handler, a list of events at a time.

    Args:
        tracer: Of the scope ``spanloom``, from the provider.
        starts: Notes from the start of the events.
        outlets: Where finished spans go.
        rules: What is recorded of payloads.
        tail: Which jobs get spans; ``None`` for all.

    Attributes:
        plan: Which way the spans of the last list were built, and why.
    """

    def __init__(
        self,
        tracer: Tracer,
        starts: SpanStarts,
        outlets: Outlets,
        *,
        rules: Rules,
        tail: TailPolicy | None = None,
    ) -> None:
        self._tracer = tracer
        self._starts = starts
        self._outlets = outlets
        self._points = Points()
        self._roots = ShardRoots(starts, max_links=_max_links(tracer))
        self._tail = None if tail is None else Tail(tail, starts.forget, starts.is_sampled)
        self._lean = LeanBuilder(starts, self._points, rules=rules)
        self._sdk = SdkBuilder(starts, self._points, rules=rules)
        self.renew()
        _builders.add(self)
        self.plan = look_at(tracer, follows_root=starts.follows_root)
        self._adopt(self.plan)

    def renew(self) -> None:
        """Renew the lock; in a forked child, where the thread that held it does not exist."""
        self._lock = threading.RLock()
        self._stretch: Stretch | None = None

    def build_one(self, event: Event) -> None:
        """Build the span of one event, and hand it to the outlets; for a plain job at half the cost of `build`."""
        with self._lock:
            stretch = self._stretch
            if stretch is not None:
                if type(event) is JobEvent:
                    frame = stretch.frame(event, self._starts.notes, self._points)
                    if frame is not None:
                        for pipe in self._outlets.pipes:
                            pipe.put(stretch.envelope, (frame,))
                        return
                self._end_stretch(stretch)
            self.build((event,))
            is_bytes = self.plan.way == "lean" and self._tail is None and not self._outlets.processors
            if is_bytes and type(event) is JobEvent:
                self._stretch = self._lean.stretch_from(event)

    def _end_stretch(self, stretch: Stretch) -> None:
        """Count the jobs of a stretch in their shard, and build the roots of the shards that this completes."""
        self._stretch = None
        if stretch.jobs:
            self._build(self._roots.roots_after(stretch.jobs))

    def build(self, events: Sequence[Event]) -> None:
        """Build the spans of `events`, in order, and hand them to the outlets.

        A point event waits here for the span of its parent. A point event without a parent becomes a span of no
        length.
        """
        if self.plan.way != "off":
            with self._lock:
                if self._stretch is not None:
                    self._end_stretch(self._stretch)
                self._build(self._roots.weave(self._spans_of(events)))

    def _spans_of(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return the events that become spans now: of `events`, and point events for which there was no more room."""
        if self._tail is not None:
            events = self._sifted(self._tail.sift(events), self._tail)
        if set(map(type, events)) != _JOBS and any(event.is_point for event in events):
            spans: list[Event] = []
            for event in events:
                if event.is_point and event.parent_id is not None:
                    spans.extend(self._placed(self._points.keep(event)))
                else:
                    spans.append(event)
            return spans
        return events

    def build_rest(self) -> None:
        """Build what is left: kept jobs of batches that have not ended, orphaned point events, roots of shards."""
        with self._lock:
            if self._stretch is not None:
                self._end_stretch(self._stretch)
            if self._tail is not None:
                self._build(self._roots.weave(self._sifted(self._tail.rest(), self._tail)))
            self._build(self._roots.weave(self._placed(self._points.take_all())))
            self._build(self._roots.rest())

    def batch_started(self, batch: Event) -> None:
        """Note a batch; called at its start, on its thread."""
        if self._tail is not None:
            self._tail.batch_started(batch)

    def _placed(self, points: list[Event]) -> list[Event]:
        """Return point events that become spans, each with a place in a trace."""
        for point in points:
            self._starts.place(point)
        return points

    def _sifted(self, events: list[Event], tail: Tail) -> list[Event]:
        """Return the events that `tail` has kept, and note on them how much it has left out."""
        for event in events:
            jobs, omitted = tail.take_left_out(event)
            if jobs:
                self._starts.tell(event, {"spanloom.batch.left_out": jobs})
            if omitted:
                self._starts.omit(event, omitted)
        return events

    def _build(self, events: Sequence[Woven]) -> None:
        tracer, outlets = self._tracer, self._outlets
        plan = look_at(tracer, follows_root=self._starts.follows_root)
        if plan != self.plan:
            self._adopt(plan)
        if plan.way == "lean" and isinstance(tracer, SdkTracer):
            built = self._lean.build(
                events, tracer, frames=bool(outlets.pipes), spans=bool(outlets.processors)
            )
            outlets.lose(built.lost)
            outlets.put_frames(built.envelope, built.frames)
            outlets.put_spans(built.spans)
        else:
            self._build_by_tracer(list(events_of(events)), tracer)

    def _build_by_tracer(self, events: Sequence[Event], tracer: Tracer) -> None:
        outlets = self._outlets
        if not outlets.pipes and not outlets.is_deferring:
            self._sdk.build(events, tracer, outlets.count)
            return
        taken: list[ReadableSpan] = []
        is_deferring = outlets.is_deferring
        leaves = (Later(outlets.put_spans),) if is_deferring else outlets.processors

        def divert(whole: SpanProcessor) -> SpanProcessor:
            return Diverter(whole, leaves, taken.append)

        self._sdk.build(events, tracer, int if is_deferring else outlets.count, divert)
        frames = [written for span in taken if (written := _encode(span)) is not None]
        outlets.lose(len(taken) - len(frames))
        if taken:
            envelope = encode_envelope(taken[0].resource, taken[0].instrumentation_scope)
            outlets.put_frames(envelope, frames)

    def _adopt(self, plan: Plan) -> None:
        _logger.debug("spans are built the way %s", plan)
        self._outlets.follow(plan)
        self.plan = plan


def _max_links(tracer: Tracer) -> int | None:
    limits = getattr(tracer, "_span_limits", None)  # the SDK has no public name for it
    return MAX_LINKS if limits is None else limits.max_links


def _encode(span: ReadableSpan) -> bytes | None:
    """Return `span` as the SDK's encoder writes it; ``None``, and a line in the log, if it cannot."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    try:
        request = encode_spans([span])
        return frame(request.resource_spans[0].scope_spans[0].spans[0].SerializeToString())
    except Exception as error:  # noqa: BLE001 -- a processor of the user's may have put anything into the span
        _logger.warning("the span %r cannot be sent by OTLP: %s", span.name, error)
        return None


_builders: weakref.WeakSet[SpanBuilder] = weakref.WeakSet()


def _after_fork() -> None:
    for builder in list(_builders):
        builder.renew()


os.register_at_fork(after_in_child=_after_fork)
