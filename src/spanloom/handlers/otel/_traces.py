"""What must be remembered of an event's start until its span is built: parent, trace, sampling."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, TypeVar

from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, Span, SpanContext, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from spanloom.events import Event
from spanloom.handlers.otel._live import Call
from spanloom.handlers.otel._sharding import Sharding

__all__ = ["MAX_CALLS", "Note", "Notes", "TraceIds", "TraceNote", "Traces", "follows_root", "span_context"]

MAX_NOTES: Final = 100_000
"""As many events as may wait for a handler: a note whose event was dropped there gives way."""
KEPT_TRACES: Final = 1024
"""Traces whose root has ended that may still get late spans."""
KEPT_PLACES: Final = 50_000
"""Shards, and events of which is remembered where they lie, that such traces may have together: some 10 MB."""
MAX_CALLS: Final = 256
"""What user code may do to the span of one event; twice the SDK's own default limits."""

RANDOM_FLAG: Final[int] = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)

V = TypeVar("V")


class TraceNote:
    """One trace as OpenTelemetry sees it.

    Attributes:
        trace_id: Its id: the remote or ambient parent's, where there is one, else as `TraceIds` says.
        context: The OpenTelemetry context in which the root started, baggage included.
        parent: The ambient parent of the root.
        result: What the sampler said of the root; holds for the whole trace if the sampler is one of those.
        flags: Those of the root's span context.
        random: The W3C random flag, if its id is to be called that.
        sharding: Which spans of the run lie in traces of their own; ``None`` if none may.
        owner_id: Of a shard: the event whose children lie directly under its root.
        root_id: Of a shard: the span id of its root.
    """

    __slots__ = (
        "context", "flags", "owner_id", "parent", "random", "result", "root_id", "sharding", "trace_id",
    )  # fmt: skip

    def __init__(self, trace_id: int, context: Context, parent: SpanContext | None, random: int) -> None:
        self.trace_id = trace_id
        self.context = context
        self.parent = parent
        self.random = random if parent is None else parent.trace_flags & RANDOM_FLAG
        self.sharding: Sharding | None = None
        self.owner_id: int | None = None
        self.root_id = 0
        self.result = SamplingResult(Decision.DROP)
        self.flags = TraceFlags(TraceFlags.DEFAULT)

    def decide(self, result: SamplingResult) -> None:
        """Keep what the sampler said of the root."""
        self.result = result
        self.flags = self.flags_of(result)

    def flags_of(self, result: SamplingResult) -> TraceFlags:
        """Return the flags of a span of this trace of which the sampler said `result`."""
        is_sampled = result.decision is Decision.RECORD_AND_SAMPLE
        return TraceFlags((TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT) | self.random)

    def parent_id(self, event: Event) -> int:
        """Return the id of the span that `event`, which is not the root, lies under in this trace."""
        parent_id = event.parent_id or 0
        return self.root_id if parent_id == self.owner_id else parent_id

    @property
    def state(self) -> TraceState | None:
        """The vendors' part of the trace context."""
        return self.result.trace_state


class TraceIds:
    """The ids of traces that begin here: those of their events, unless the provider has a generator of its own.

    Some backends want to read something in them (AWS X-Ray the time). The ids of spans are always those of the events.

    Args:
        generator: The provider's; ``None`` if it has none.

    Attributes:
        random: The W3C random flag, if these ids are to be called that.
    """

    def __init__(self, generator: IdGenerator | None) -> None:
        is_ours = generator is None or type(generator) is RandomIdGenerator
        self._generator = None if is_ours else generator
        is_random = getattr(generator, "is_trace_id_random", None)  # not in every OpenTelemetry
        self.random: int = RANDOM_FLAG if is_ours or (is_random is not None and is_random()) else 0

    def of(self, event: Event) -> int:
        """Return the id of the trace that the root `event` begins."""
        trace_id = 0 if self._generator is None else self._generator.generate_trace_id()
        return trace_id if 0 < trace_id < 1 << 128 else event.trace_id


class Note:
    """The notes of one event beyond those of its trace; most events have none.

    Attributes:
        context: Where the span's parent is not the parent event's span: user code's span in between.
        result: What the sampler said, where it has to be asked about every span.
        calls: What user code did to the span.
        span: The span itself, where somebody else's tracer made it at the start.
        attributes: What there is to say of the event that is not in it: of its shards.
        links: What it is linked to by us: its shards; before what user code links it to.
        omitted: Calls beyond `MAX_CALLS`.
    """

    __slots__ = ("attributes", "calls", "context", "links", "omitted", "result", "span")

    def __init__(self) -> None:
        self.context: Context | None = None
        self.result: SamplingResult | None = None
        self.calls: list[Call] | None = None
        self.span: Span | None = None
        self.attributes: dict[str, AttributeValue] | None = None
        self.links: Sequence[Link] = ()
        self.omitted = 0


class Notes(dict[int, Note]):
    """Notes by event id; the oldest gives way when there are more than `MAX_NOTES`."""

    def of(self, event_id: int) -> Note:
        """Return the note of an event, made if there is none."""
        note = self.get(event_id)
        if note is None:
            if len(self) >= MAX_NOTES:
                _drop_oldest(self)
            note = self.setdefault(event_id, Note())
        return note


class Traces(dict[int, TraceNote]):
    """Traces by their events' trace id: the open ones, and the last that ended."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: deque[tuple[int, int]] = deque()
        self._places = 0

    def keep(self, trace_id: int, note: TraceNote) -> None:
        """Remember a trace."""
        if len(self) >= MAX_NOTES:
            _drop_oldest(self)
        self[trace_id] = note

    def ended(self, trace_id: int) -> None:
        """Note that the root's span is built; forget the traces for which that was longest ago."""
        note = self.get(trace_id)
        places = 0 if note is None or note.sharding is None else len(note.sharding)
        self._ended.append((trace_id, places))
        self._places += places
        while len(self._ended) > KEPT_TRACES or (self._places > KEPT_PLACES and len(self._ended) > 1):
            oldest, places = self._ended.popleft()
            self._places -= places
            self.pop(oldest, None)


def _drop_oldest(notes: dict[int, V]) -> None:
    try:
        notes.pop(next(iter(notes)), None)
    except (RuntimeError, StopIteration):
        pass  # another thread has just changed it: there is room, or will be next time


def span_context(trace: TraceNote, span_id: int, result: SamplingResult | None = None) -> SpanContext:
    """Return the context of a span of `trace`; `result` is what the sampler said, if it was asked."""
    flags = trace.flags if result is None else trace.flags_of(result)
    return trace_api.SpanContext(
        trace.trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=trace.state
    )


def follows_root(sampler: Sampler) -> bool:
    """Return whether `sampler` decides for every span of a trace as for the root.

    True for the samplers that ``OTEL_TRACES_SAMPLER`` can name. Any other is asked about every span at its start.
    """
    kind = type(sampler)
    if isinstance(sampler, ParentBased):
        inherits = kind.should_sample is ParentBased.should_sample
        return (
            inherits
            and getattr(sampler, "_local_parent_sampled", None) is ALWAYS_ON
            and getattr(sampler, "_local_parent_not_sampled", None) is ALWAYS_OFF
        )
    return any(
        isinstance(sampler, base) and kind.should_sample is base.should_sample
        for base in (StaticSampler, TraceIdRatioBased)
    )
