"""The common part of the spans of one batch's jobs, and the span of one job.

`JobSpan` is for exporters that take span objects. It is a ``ReadableSpan`` of the SDK whose parts are made when they
are first read. For an exporter that only counts spans, or drops most of them, no parts are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext

from spanloom.events.clock import wall_ns
from spanloom.events.event import JobDetail, JobEvent
from spanloom.events.ids import event_id_at
from spanloom.handlers.otel._attributes import end_attributes, plain_text
from spanloom.handlers.otel._draft import Origin, is_within
from spanloom.handlers.otel._encode import encode_span
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._template import MAX_INDEX, JobTemplate
from spanloom.handlers.otel._traces import TraceNote, span_context

if TYPE_CHECKING:
    from typing import Any

__all__ = ["JobKin", "JobSpan", "is_plain"]

_NEW: Final = tuple.__new__
_ANCHOR_NS: Final = wall_ns(0)


def is_plain(detail: JobDetail) -> bool:
    """Return whether a job's span has nothing but its times, index, queue time and number of attempts."""
    return detail.status is None and detail.error is None and not detail.data and detail.busy_ns is None


class JobKin:
    """The common part of the spans of one batch's jobs.

    Args:
        origin: The tracer's part.
        job: Any job of the batch.
        trace: What is known of its trace.
        rules: What is recorded of payloads.
    """

    __slots__ = (
        "_is_tuple",
        "_templates",
        "base_id",
        "family",
        "is_sampled",
        "name",
        "origin",
        "parent",
        "rules",
        "trace",
    )

    def __init__(self, origin: Origin, job: JobEvent, trace: TraceNote, rules: Rules) -> None:
        self.origin = origin
        self.family = job.family
        self.base_id = job.family.base_id
        self.trace = trace
        self.rules = rules
        self.is_sampled = trace.result.decision is Decision.RECORD_AND_SAMPLE
        self.parent = span_context(trace, trace.parent_id(job))
        self.name = plain_text(job.name)
        # A tuple behind its face, in every release so far: half the cost of the constructor, which checks the ids.
        parts = (
            trace.trace_id,
            self.parent.span_id,
            False,
            self.parent.trace_flags,
            self.parent.trace_state,
            True,
        )
        self._is_tuple = self.parent == parts and _NEW(SpanContext, parts) == self.parent
        self._templates: dict[int | None, JobTemplate | None] = {}

    def holds_for(self, origin: Origin, trace: TraceNote) -> bool:
        """Return whether it is still valid."""
        return self.origin is origin and self.trace is trace

    def context(self, span_id: int) -> SpanContext:
        """Return the span context of the job with this id: what its batch has, but for the id."""
        if self._is_tuple:
            return _NEW(SpanContext, (self.parent[0], span_id, False, self.parent[3], self.parent[4], True))
        parent = self.parent
        return SpanContext(parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state)

    def spans(self, jobs: Sequence[JobEvent]) -> list[JobSpan]:
        """Return the spans of plain `jobs`."""
        # What `JobSpan` does when it is called, without a call of ours for each: a third of the time.
        spans = list(map(object.__new__, repeat(JobSpan, len(jobs))))
        for span, job in zip(spans, jobs, strict=True):
            span._kin = self  # noqa: SLF001 -- of this module
            span._job = job  # noqa: SLF001 -- the same
        return spans

    def frames(self, jobs: Sequence[JobEvent]) -> list[bytes]:
        """Return the encoded spans of plain `jobs` without details."""
        ready_ns = self.family.ready_ns
        template = self._template_for(jobs[0], None)
        if template is None or ready_ns is None:
            return [self.frame(job, job.event_id) for job in jobs]
        return template.fill_all(jobs, self.base_id, _ANCHOR_NS, ready_ns)

    def frame(self, job: JobEvent, span_id: int) -> bytes:
        """Return the encoded span of a plain `job`."""
        detail = job.detail
        attempt, ready_ns = (None, None) if detail is None else (detail.attempt, detail.ready_ns)
        template = self._template_for(job, attempt)
        if template is None or job.end_ns is None or job.index >= MAX_INDEX:
            return encode_span(JobSpan(self, job))
        if self.family.ready_ns is not None:
            ready_ns = self.family.ready_ns
        start_ns = job.start_ns
        queue_s = 0.0 if ready_ns is None else (start_ns - ready_ns) / 1e9
        return template.fill(span_id, job.index, start_ns + _ANCHOR_NS, job.end_ns + _ANCHOR_NS, queue_s)

    def _template_for(self, job: JobEvent, attempt: int | None) -> JobTemplate | None:
        try:
            return self._templates[attempt]
        except KeyError:
            template = self._templates[attempt] = self._template(job)
            return template

    def _template(self, job: JobEvent) -> JobTemplate | None:
        attributes = end_attributes(job, self.rules)
        limits = self.origin.limits
        if not is_within(attributes, limits.max_span_attributes, limits.max_span_attribute_length):
            return None
        parent = self.parent
        try:
            return JobTemplate(parent.trace_id, parent.trace_state, parent, self.name, attributes)
        except ValueError:  # a form of its own for attributes is all that is lost
            return None


class JobSpan(ReadableSpan):
    """The finished span of a plain job.

    Args:
        kin: What it shares with the other jobs of its batch.
        job: The job, ended.
    """

    __slots__ = ("_context", "_job", "_kin")

    def __init__(self, kin: JobKin, job: JobEvent) -> None:
        self._kin = kin
        self._job = job

    def __getattr__(self, name: str) -> Any:  # Any: whatever the base class keeps
        # Asked for what is not there: what the base class would have set in its constructor.
        if name in _OWN or name.startswith("__"):
            raise AttributeError(name)
        if name == "_context":  # processors look at it that never look at the rest
            kin = self._kin
            self._context = context = kin.context(event_id_at(kin.base_id, self._job.index))
            return context
        self._fill()
        return object.__getattribute__(self, name)

    def _fill(self) -> None:
        job, kin = self._job, self._kin
        origin = kin.origin
        super().__init__(
            name=kin.name,
            context=self._context,
            parent=kin.parent,
            resource=origin.resource,
            attributes=origin.bounded(end_attributes(job, kin.rules)),
            start_time=job.start_wall_ns,
            end_time=job.end_wall_ns,
            instrumentation_info=origin.info,
            instrumentation_scope=origin.scope,
        )


_OWN: Final = frozenset({"_job", "_kin"})
