"""Records of what a manager has just seen, made without a file: what a reader would return of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.events import Event
from spanloom.events.event import JobEvent
from spanloom.store.model import Counts, Record, Run

STARTED_NS = 1_790_000_000_000_000_000


def run_of(**changes: Any) -> Run:
    """Return a run that has ended well, or what `changes` make of it."""
    fields: dict[str, Any] = {
        "run_id": "0198f2c4d5e6798081a2b3c4d5e6f708",
        "name": "pipeline.py",
        "argv": ("python", "pipeline.py", "--fast"),
        "cwd": "/srv/pipelines",
        "host": "worker-7",
        "pid": 4711,
        "python": "3.11.7",
        "version": "0.1.0",
        "started_wall_ns": STARTED_NS,
        "ended_wall_ns": STARTED_NS + 10_000_000_000,
        "last_seen_wall_ns": STARTED_NS + 10_000_000_000,
        "state": "ended",
        "exit_code": 0,
    }
    return Run(**(fields | changes))


class Recorder:
    """A handler that keeps every ended event, to make records of."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_events(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def recorded(self) -> tuple[Run, list[Record]]:
        """Return a run, and its records in the order of their starts."""
        began = min(self.events, key=lambda event: event.start_ns)
        zero_ns = began.start_ns - 1_000_000
        wall_ns = began.start_wall_ns - 1_000_000
        records = [record_of(event, zero_ns) for event in self.events]
        records.sort(key=lambda record: (record.start_ns, -(record.end_ns or 0)))
        last_ns = wall_ns + max(record.end_ns or 0 for record in records) + 1_000
        return run_of(started_wall_ns=wall_ns, ended_wall_ns=last_ns, last_seen_wall_ns=last_ns), records


def recorded(work: Coroutine[Any, Any, Any], *, deep: bool = False) -> tuple[Run, list[Record]]:
    """Do `work`, and return the record of it."""
    recorder = Recorder()
    manager = CallbackManager([recorder], raise_handler_errors=True, deep=deep)
    with use_callback_manager(manager):
        asyncio.run(work)
    assert manager.flush(30)
    manager.close()
    return recorder.recorded()


def record_of(event: Event, zero_ns: int) -> Record:
    """Return the record of an event of a run that began at `zero_ns`."""
    counts = event.counts
    return Record(
        event_id=event.event_id,
        parent_id=event.parent_id,
        trace_id=event.trace_id,
        type=str(event.type),
        name=event.name,
        start_ns=event.start_ns - zero_ns,
        end_ns=None if event.end_ns is None else event.end_ns - zero_ns,
        status=None if event.status is None else str(event.status),
        error=event.error,
        queue_ns=event.queue_ns if isinstance(event, JobEvent) or event.type == "slot_wait" else None,
        busy_ns=event.busy_ns,
        attempt=event.attempt,
        job_index=event.job_index,
        batch_id=event.batch_id,
        counts=None
        if counts is None
        else Counts(
            counts.total,
            counts.started,
            counts.in_flight,
            counts.failed,
            counts.cancelled,
            counts.backing_off,
            counts.retried,
            counts.skipped,
        ),
        payload=dict(event.payload) or None,
        is_point=event.is_point,
    )


def by_start(records: Iterable[Record]) -> list[Record]:
    """Return records as a reader does."""
    return sorted(records, key=lambda record: record.start_ns)
