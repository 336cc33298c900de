"""A recorded run as it happened: its events started and ended again, in the order of their times.

Theory of operation. Records come in the order of their starts, and each says when it ended. So the ends that lie
before the next start are waiting in a heap, which holds as many as were open at once: a run of a million jobs is
replayed in the memory of those that ran side by side. What is handed out are events as the running side makes them,
so whoever listens to live events can listen to these, and makes of them what it made of the live ones.

Their times are the recorded ones: `Event.start_wall_ns` of a replayed event is that of the live one, to the
nanosecond.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Protocol

from spanloom.events import Event, EventStatus, EventType, StoredEvent
from spanloom.events.clock import wall_ns
from spanloom.events.event import JobDetail, JobEvent, JobFamily, ScopeEvent, write_event
from spanloom.events.ids import base_of
from spanloom.events.stored import StoredCounts
from spanloom.events.trace import Trace
from spanloom.events.types import FAILED
from spanloom.store.model import Counts, Record, Run

__all__ = ["Listener", "replay"]


class Listener(Protocol):
    """Hears a run again."""

    def started(self, event: Event) -> object:
        """Hear of the start of an event. It is open: whoever asks finds neither end nor status."""

    def ended(self, event: Event) -> object:
        """Hear of the end of an event that had started, or of a point event, whose start and end are one."""


def replay(run: Run, records: Iterable[Record], listener: Listener) -> int:
    """Have `listener` hear every event of `run` that has ended, at its start and at its end.

    An interrupted event ends when the run was last seen. What is open in a run that still runs starts here, and does
    not end.

    Args:
        run: Whose records they are.
        records: In the order of their starts.
        listener: Is called on this thread.

    Returns:
        How many events are left open.
    """
    return _Replay(run, listener).run(records)


class _Replay:
    """One run, on its way past a listener."""

    def __init__(self, run: Run, listener: Listener) -> None:
        self._run = run
        self._listener = listener
        # What makes `Event.start_wall_ns`, which is this process's arithmetic, give the time of the other process.
        self._shift_ns = run.started_wall_ns - wall_ns(0)
        self._ends: list[tuple[int, int, Event, Record]] = []
        self._open: dict[int, Event] = {}
        self._families: dict[int, JobFamily] = {}
        self._traces: dict[int, Trace] = {}
        self._unended = 0

    def run(self, records: Iterable[Record]) -> int:
        ends, listener = self._ends, self._listener
        for number, record in enumerate(records):
            # Before, not at: of two events of one instant, the one that comes later may lie inside the other.
            while ends and ends[0][0] < record.start_ns:
                self._end(*heapq.heappop(ends)[2:])
            event = self._event(record)
            if record.is_point:
                listener.ended(event)
                continue
            listener.started(event)
            end_ns = self._end_ns(record)
            if end_ns is None:
                self._unended += 1
                self._open[event.event_id] = event
            else:
                self._open[event.event_id] = event
                # Of two that end in one instant, the one that started later is the inner one.
                heapq.heappush(ends, (max(end_ns, record.start_ns), -number, event, record))
        while ends:
            self._end(*heapq.heappop(ends)[2:])
        return self._unended

    def _end_ns(self, record: Record) -> int | None:
        if record.end_ns is None and record.status == EventStatus.INTERRUPTED:
            return max(self._run.seen_ns, record.start_ns)
        return record.end_ns

    # starts ---------------------------------------------------------------------------------------------------

    def _event(self, record: Record) -> Event:
        trace = self._trace_of(record)
        if record.type == EventType.JOB and record.job_index is not None:
            return self._job(record, trace, record.job_index)
        parent = None if record.parent_id is None else self._open.get(record.parent_id)
        start_ns = record.start_ns + self._shift_ns
        counts = record.counts
        return ScopeEvent(
            record.type,
            record.name,
            record.event_id,
            record.parent_id,
            trace,
            start_ns,
            data=record.payload or None,
            job=None if parent is None else parent.job,
            attempt=record.attempt,
            counts=None if counts is None else StoredCounts(counts.total),
            end_ns=start_ns if record.is_point else None,
            failure=_status(record.status),
            error=record.error,
            is_point=record.is_point,
        )

    def _job(self, record: Record, trace: Trace, index: int) -> Event:
        family = self._family(record, trace, index)
        if family is None:
            return self._stray(record, trace)
        family.counts._started += 1  # noqa: SLF001 -- here we are its runner
        _hold(family.counts, 1)
        start_ns = record.start_ns + self._shift_ns
        ready_ns = None if record.queue_ns is None else start_ns - record.queue_ns
        return JobEvent(family, index, start_ns, detail=JobDetail(attempt=record.attempt, ready_ns=ready_ns))

    def _family(self, record: Record, trace: Trace, index: int) -> JobFamily | None:
        """Return what the jobs of its batch share; ``None`` if the batch is not known, or has no such job."""
        batch_id = record.batch_id or 0
        family = self._families.get(batch_id)
        if family is None:
            batch = self._open.get(batch_id)
            if batch is None or batch.counts is None or record.parent_id != batch_id:
                return None
            base_id = base_of(record.event_id, index)
            family = JobFamily(batch_id, trace, record.name, base_id, None, batch.counts)
            self._families[batch_id] = family
        fits = (
            family.id_at(index) == record.event_id
            and family.name == record.name
            and family.trace.trace_id == record.trace_id
        )
        return family if fits else None

    def _stray(self, record: Record, trace: Trace) -> Event:
        """Return a job whose batch was not recorded: an event that knows of no others."""
        end_ns = self._end_ns(record)
        return StoredEvent(
            type=record.type,
            name=record.name,
            event_id=record.event_id,
            trace=trace,
            start_ns=record.start_ns + self._shift_ns,
            start_wall_ns=record.start_ns + self._run.started_wall_ns,
            parent_id=record.parent_id,
            end_ns=None if end_ns is None else end_ns + self._shift_ns,
            end_wall_ns=None if end_ns is None else end_ns + self._run.started_wall_ns,
            status=record.status,
            error=record.error,
            data=record.payload or None,
            queue_ns=record.queue_ns,
            busy_ns=record.busy_ns,
            attempt=record.attempt,
            job_index=record.job_index,
            batch_id=record.batch_id,
        )

    def _trace_of(self, record: Record) -> Trace:
        trace = self._traces.get(record.trace_id)
        if trace is None:
            trace = self._traces[record.trace_id] = Trace(record.name, record.event_id, record.trace_id)
        return trace

    # ends -----------------------------------------------------------------------------------------------------

    def _end(self, event: Event, record: Record) -> None:
        end_ns = (self._end_ns(record) or 0) + self._shift_ns
        if isinstance(event, JobEvent):
            _end_job(event, record, end_ns)
        elif isinstance(event, ScopeEvent):
            if event.counts is not None and record.counts is not None:
                _settle(event.counts, record.counts)
            write_event(event, "end_ns", end_ns)
        self._open.pop(event.event_id, None)  # a hostile file may have it twice
        self._families.pop(event.event_id, None)
        if event.parent_id is None:
            self._traces.pop(event.trace_id, None)
        self._listener.ended(event)


def _end_job(job: JobEvent, record: Record, end_ns: int) -> None:
    counts, detail = job.family.counts, job.detail
    _hold(counts, -1)
    if detail is not None:
        detail.status = None if record.status == EventStatus.OK else record.status
        detail.error, detail.busy_ns, detail.data = record.error, record.busy_ns, record.payload or None
    counts.failed += record.status in FAILED
    counts.cancelled += record.status == EventStatus.CANCELLED
    write_event(job, "end_ns", end_ns)


def _hold(counts: object, jobs: int) -> None:
    if isinstance(counts, StoredCounts):
        counts._in_flight += jobs  # noqa: SLF001 -- here we are its runner


def _settle(counts: object, recorded: Counts) -> None:
    """Give a batch the numbers that it had when it was last written."""
    if isinstance(counts, StoredCounts):
        counts._started, counts._in_flight = recorded.started, recorded.in_flight  # noqa: SLF001 -- as above
        counts.failed, counts.cancelled = recorded.failed, recorded.cancelled
        counts.backing_off, counts.retried = recorded.backing_off, recorded.retried
        counts.skipped = recorded.skipped


def _status(status: str | None) -> EventStatus | None:
    """Return what a scope keeps of its status: nothing if it ended well, and a newer version's word as it is."""
    return None if status in (None, EventStatus.OK) else status  # type: ignore[return-value]  # any str will do
