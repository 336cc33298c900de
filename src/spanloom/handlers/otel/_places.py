"""The trace of each span of a run, as OpenTelemetry sees it: trace id, parent and state of each shard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult
from opentelemetry.trace import TraceState

from spanloom.events import Event
from spanloom.handlers.otel._live import EVENT_KEY, SPAN_KEY
from spanloom.handlers.otel._series import Series
from spanloom.handlers.otel._shard import Room, Shard
from spanloom.handlers.otel._sharding import Sharding
from spanloom.handlers.otel._traces import Notes, TraceNote

if TYPE_CHECKING:
    from spanloom.events.event import JobEvent

__all__ = ["Places"]

MAX_AMBIENT: Final = 1024
"""Traces of others, with several of our events as roots, of which is remembered how many spans we have put there."""
_EVERYWHERE: Final = 1 << 63
_RANDOM_BITS: Final = (1 << 56) - 1


class Places:
    """Assigns each event to a trace.

    Args:
        limit: Spans per trace; ``None`` for any number.
        is_lazy: Give events inside jobs no place before they need one.
        notes: What is known of single events.
    """

    def __init__(self, limit: int | None, notes: Notes, *, is_lazy: bool) -> None:
        self._limit = limit
        self._is_lazy = is_lazy
        self._notes = notes
        self._ambient: dict[int, Room] = {}

    @property
    def is_asked(self) -> bool:
        """Whether it has to be told of every start."""
        return self._limit is not None

    def opened(self, trace: TraceNote, *, is_decided: bool) -> None:
        """Prepare a trace whose root starts; `is_decided` if the sampler will say the same of all its spans."""
        limit = self._limit
        if limit is None or (is_decided and trace.result.decision is Decision.DROP):
            return
        # The trace is the caller's where there is a parent. Several events may be roots in it, side by side.
        room = Room(limit) if trace.parent is None else self._ambient_room(trace.trace_id, limit)
        room.take()
        # A job with a note is looked at by itself, whatever was found out about the jobs around it.
        trace.sharding = Sharding(trace.trace_id, room, limit, is_lazy=self._is_lazy, strayed=self._notes.of)

    def started(self, event: Event, trace: TraceNote) -> TraceNote:
        """Give a place to an event that starts, and return the trace that it lies in; `trace` is that of its run."""
        sharding = trace.sharding
        if sharding is None:
            return trace
        sharding.started(event)
        return trace if self._is_lazy and event.job is not None else self.of(event, trace)

    def places_of(self, batch: Event, trace: TraceNote) -> Series | None:
        """Return what gives places to the jobs of `batch` at their starts; ``None`` if they need none."""
        return None if trace.sharding is None else trace.sharding.places_of(batch)

    def of(self, event: Event, trace: TraceNote) -> TraceNote:
        """Return the trace that `event` lies in; `trace` is that of its run."""
        if trace.sharding is None:
            return trace
        room = trace.sharding.room_of(event)
        return self.note_of(room, trace) if isinstance(room, Shard) else trace

    def of_id(self, event_id: int, trace: TraceNote) -> TraceNote:
        """Return the trace that the event with this id lies in, for links; `trace` is that of its run."""
        if trace.sharding is None:
            return trace
        room = trace.sharding.room_of_id(event_id)
        return self.note_of(room, trace) if isinstance(room, Shard) else trace

    def range_of(self, job: JobEvent, trace: TraceNote) -> tuple[TraceNote, Shard | None, int, int]:
        """Return the trace that `job` lies in, and from which index to which the jobs lie in the same."""
        if trace.sharding is None:
            return trace, None, 0, _EVERYWHERE
        room, low, high = trace.sharding.range_of(job)
        return (
            (self.note_of(room, trace), room, low, high)
            if isinstance(room, Shard)
            else (trace, None, low, high)
        )

    def note_of(self, shard: Shard, trace: TraceNote) -> TraceNote:
        """Return the trace of a shard of the run whose trace is `trace`."""
        note = shard.note
        if note is None:
            # What was current at the run's start is no parent here; baggage is baggage.
            outside = {key: value for key, value in trace.context.items() if key not in (SPAN_KEY, EVENT_KEY)}
            note = TraceNote(shard.trace_id, Context(outside), None, trace.random)
            result = trace.result
            note.decide(SamplingResult(result.decision, result.attributes, _state(trace)))
            note.owner_id, note.root_id = shard.series.owner_id, shard.root_id
            shard.note = note
            self._notes.of(note.owner_id)  # its span will have something to say
        return note

    def _ambient_room(self, trace_id: int, limit: int) -> Room:
        room = self._ambient.get(trace_id)
        if room is None:
            if len(self._ambient) >= MAX_AMBIENT:
                self._ambient.pop(next(iter(list(self._ambient))), None)
            room = self._ambient.setdefault(trace_id, Room(limit))
        return room


def _state(trace: TraceNote) -> TraceState | None:
    """Return the state that the shards of `trace` have: the same, and where it says so, the same randomness.

    A sampler that works by thresholds has compared the last 56 bits of the run's id to the one it put into the state.
    Whoever samples the shards again compares theirs, unless the state has an explicit randomness value.
    Source: OpenTelemetry, "TraceState: Probability Sampling", explicit randomness.
    """
    state = trace.state
    ours = None if state is None else state.get("ot")
    if state is None or ours is None:
        return state
    fields = ours.split(";")
    if any(field.startswith("rv:") for field in fields) or not any(
        field.startswith("th:") for field in fields
    ):
        return state
    return state.update("ot", f"{ours};rv:{trace.trace_id & _RANDOM_BITS:014x}")
