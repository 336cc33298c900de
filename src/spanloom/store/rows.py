"""From events to rows: what the writer puts into the file, in the columns of the schema.

Runs on the handler's thread, once per event: most of the cost of a record is here. What the jobs of a batch have in
common is computed once, and repeated texts are written once and referred to by number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from itertools import repeat
from typing import Any, Final, TypeVar, cast

import msgspec

from spanloom.events.clean import clean_payload, clean_text
from spanloom.events.error import MAX_FRAMES, MAX_MESSAGE, ErrorInfo
from spanloom.events.event import Event, JobColumns, JobDetail, JobEvent, JobFamily, columns_of
from spanloom.events.ids import signed_ids_at
from spanloom.events.plain import MAX_TEXT
from spanloom.events.types import FAILED, EventStatus, EventType
from spanloom.store.job_lists import Jobs, Shared
from spanloom.store.open_lists import OpenLists
from spanloom.store.own_payload import own_payload
from spanloom.store.statements import NO_ID, NO_NUMBER, NO_TEXT, NO_TIME

__all__ = ["Rows"]

MAX_LABEL: Final = 500
"""Characters of a name or a type."""
MAX_NUMBERED: Final = 10_000
"""Texts of one kind that are remembered; beyond, the oldest may be written to the file again."""
MAX_FAMILIES: Final = 1_000
_SIGN: Final = 1 << 63
_ALL: Final = 1 << 64

_STATUSES: Final = {status: status.value for status in EventStatus}
_JOB: Final = EventType.JOB.value
_END, _ATTEMPT, _PAYLOAD = 8, 10, 13
"""Positions in the rows of `_row`."""

K = TypeVar("K", bound=Hashable)
Row = tuple[Any, ...]  # Any: what one row holds is what the statement that it is for says

_encode: Final = msgspec.json.Encoder().encode


def signed(event_id: int) -> int:
    """Return a 64-bit id as SQLite keeps it."""
    return event_id - _ALL if event_id >= _SIGN else event_id


class _Numbers(dict[K, int]):
    """Numbers for repeated values; forgets the oldest values. A number is never given twice."""

    def __init__(self) -> None:
        self.last = 0

    def add(self, key: K) -> int:
        if len(self) >= MAX_NUMBERED:
            for old in list(self)[: MAX_NUMBERED // 2]:
                del self[old]
        self.last = self[key] = self.last + 1
        return self.last


class Rows:
    """Rows that wait to be written, for the tables of one run.

    Args:
        began_ns: The start of the run, on the clock of the events.
        payloads: Whether the user's payloads are recorded.

    Attributes:
        jobs: Jobs that ended ``ok`` with nothing but their times, by what they have in common.
        details: The other jobs: start, id, label, trace, parent, batch, index, queue, end, status, busy time, attempt,
            error, payload. Parent and batch are the same.
        events: All other ended events, as rows of `_row`.
        open: Open events, until they are taken as ended.
        opened: Open events with a payload, as rows of `_row`.
        labels, traces, stacks, errors: New rows that those refer to.
        job_count: Number of jobs in `jobs` and `details`.
        failed, cancelled: How many of them failed, or were cancelled.
        open_batches: The open batches, by id.
    """

    def __init__(self, began_ns: int, *, payloads: bool) -> None:
        self._began_ns = began_ns
        self._payloads = payloads
        self.open: OpenLists = OpenLists()
        self._label_ids: _Numbers[tuple[str, str]] = _Numbers()
        self._trace_ids: _Numbers[int] = _Numbers()
        self._error_ids: _Numbers[ErrorInfo] = _Numbers()
        self._stack_ids: _Numbers[tuple[Any, ...]] = _Numbers()
        self._families: dict[JobFamily, Shared] = {}
        self.open_batches: dict[int, Event] = {}
        self._drop()

    def forget(self) -> None:
        """Start afresh, as for a new file: drop all waiting rows, and refer to nothing that was written."""
        for numbers in (self._label_ids, self._trace_ids, self._error_ids, self._stack_ids):
            numbers.clear()
        self._families.clear()
        self.open.forget()
        self.open_batches.clear()
        self._drop()

    def written(self) -> None:
        """Drop all rows: they are in the file."""
        self.open.written()
        self._drop()

    def _drop(self) -> None:
        self.jobs: defaultdict[Shared, Jobs] = defaultdict(Jobs)
        self.details: list[Row] = []
        self.events: list[Row] = []
        self.opened: list[Row] = []
        self.labels: list[Row] = []
        self.traces: list[Row] = []
        self.stacks: list[Row] = []
        self.errors: list[Row] = []
        self._batches: dict[int, Row] = {}
        self.job_count: int = 0
        self.failed: int = 0
        self.cancelled: int = 0

    def __len__(self) -> int:
        """Number of ended events that wait."""
        return self.job_count + len(self.events)

    @property
    def batches(self) -> Collection[Row]:
        """The latest numbers of batches: one row each, however long the file cannot be written."""
        return self._batches.values()

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be written."""
        return bool(len(self) or self.open.waiting or self.opened or self.batches)

    @property
    def open_lists(self) -> Sequence[Row]:
        """Lists of open events to be written."""
        return self.open.rows

    @property
    def closed_lists(self) -> Sequence[Row]:
        """Lists of open events to be deleted."""
        return self.open.gone

    # taking -------------------------------------------------------------------------------------------

    def take(self, events: Sequence[Event]) -> None:
        """Take ended and point events."""
        jobs = [event for event in events if type(event) is JobEvent]
        for columns in columns_of(jobs):
            self._take_jobs(columns)
        if len(jobs) < len(events):
            for event in events:
                if type(event) is not JobEvent:
                    self._take_other(event)

    def _take_jobs(self, jobs: JobColumns) -> None:
        shared, known = self._families.get(jobs.family) or self._family(jobs.family), self.open.jobs
        was_open = bool(known) and self.open.end(known, map(shared.base_id.__add__, jobs.indexes))
        self.job_count += len(jobs.indexes)
        plain, detailed = jobs.parted()
        if plain is not None:
            self.jobs[shared].take(plain, was_open=was_open)
        if detailed is not None:
            self._take_detailed(shared, detailed)

    def _take_detailed(self, shared: Shared, jobs: JobColumns) -> None:
        label, trace, batch_id, base_id, shared_ready_ns = shared
        began = self._began_ns
        ids = signed_ids_at(base_id, jobs.indexes)
        # All of them have ended, and have a detail.
        columns = cast("Iterable[tuple[int, int, int, JobDetail, int]]", zip(*jobs[1:], ids, strict=True))
        for index, start_ns, end_ns, detail, event_id in columns:
            ready_ns = detail.ready_ns if shared_ready_ns is None else shared_ready_ns
            queue_ns = 0 if ready_ns is None else start_ns - ready_ns
            key = start_ns - began, event_id, label, trace, batch_id, batch_id, index
            self.details.append((*key, queue_ns, end_ns - began, *self._detail(detail)))

    def take_open(self, events: Iterable[Event]) -> None:
        """Take events that are open now; some may have been taken before. Their ends must be taken after this."""
        found = list(events)
        plain = [event for event in found if type(event) is JobEvent and event.detail is None]
        if len(plain) < len(found):
            for event in found:
                if type(event) is not JobEvent:
                    self._take_open_other(event)
                elif (detail := event.detail) is not None:
                    self._take_open_detailed(event, detail)
        for columns in columns_of(plain):
            self._take_open_jobs(columns)

    def _take_open_jobs(self, jobs: JobColumns) -> None:
        family, indexes, starts_ns, _, _ = jobs
        label, trace, batch_id, base_id, ready_ns = self._families.get(family) or self._family(family)
        began, known = self._began_ns, self.open.jobs
        keys, ids = [base_id + index for index in indexes], signed_ids_at(base_id, indexes)
        starts = [start_ns - began for start_ns in starts_ns]
        queued = repeat(0) if ready_ns is None else [start_ns - ready_ns for start_ns in starts_ns]
        same = repeat(label), repeat(trace), repeat(batch_id), repeat(batch_id)
        entries = list(zip(starts, ids, *same, indexes, queued, repeat(None), strict=False))
        fresh = set(keys)
        if len(fresh) < len(keys) or not fresh.isdisjoint(known):
            once = {key: entry for key, entry in zip(keys, entries, strict=True) if key not in known}
            keys, entries = list(once), list(once.values())
        self.open.add(known, keys, entries)

    def _take_open_detailed(self, event: JobEvent, detail: JobDetail) -> None:
        label, trace, batch_id, base_id, ready_ns = self._families.get(event.family) or self._family(
            event.family
        )
        jobs, key = self.open.jobs, base_id + event.index
        if key in jobs:
            return
        if detail.data and self._take_open_row(self._row(event)):
            jobs[key] = None
            return
        start_ns = event.start_ns
        if ready_ns is None:
            ready_ns = detail.ready_ns
        queue_ns = 0 if ready_ns is None else start_ns - ready_ns
        ids = signed(event.event_id), label, trace, batch_id, batch_id, event.index
        self.open.add(jobs, [key], [(start_ns - self._began_ns, *ids, queue_ns, detail.attempt)])

    def _take_open_other(self, event: Event) -> None:
        others, event_id = self.open.others, signed(event.event_id)
        if event_id in others:
            return
        row = self._row(event)
        if self._take_open_row(row):
            others[event_id] = None
        else:
            self.open.add(others, [event_id], [_entry(row)])
        if event.counts is not None:
            self.open_batches[event_id] = event
            self._batch(event)

    def _take_open_row(self, row: Row) -> bool:
        """Take the row of an open event if it has a payload, and return True; lists hold no payloads."""
        if row[_PAYLOAD] == NO_TEXT or row[_END] != NO_TIME:  # it may have ended while we looked at it
            return False
        self.opened.append(row)
        return True

    def take_counts(self) -> None:
        """Take the current numbers of the open batches."""
        for event in list(self.open_batches.values()):
            self._batch(event)

    def _take_other(self, event: Event) -> None:
        row = self._row(event)
        self.events.append(row)
        event_id = row[1]
        if event_id in self.open.others:
            self.open.end(self.open.others, [event_id])
            self.open_batches.pop(event_id, None)
        if event.counts is not None:
            self._batch(event)
        if event.parent_id is None:
            self._trace_ids.pop(event.trace.trace_id, None)  # few events outlive their root

    # one row ------------------------------------------------------------------------------------------

    def _detail(self, detail: JobDetail) -> Row:
        status = "ok" if detail.status is None else _status(detail.status)
        if status in FAILED:
            self.failed += 1
        elif status == "cancelled":
            self.cancelled += 1
        error, data, busy_ns, attempt = detail.error, detail.data, detail.busy_ns, detail.attempt
        return (
            status,
            NO_NUMBER if busy_ns is None else busy_ns,
            NO_NUMBER if attempt is None else attempt,
            NO_ID if error is None else self._error(error),
            self._payload(_JOB, data) if data else NO_TEXT,
        )

    def _row(self, event: Event) -> Row:
        began = self._began_ns
        # Read once: the event may end meanwhile.
        end_ns, status = event.end_ns, event.status
        parent_id, batch_id, index = event.parent_id, event.batch_id, event.job_index
        error, data, attempt, queue_ns = event.error, event.data, event.attempt, event.queue_ns
        type_ = str.__str__(event.type)
        return (
            event.start_ns - began,
            signed(event.event_id),
            self._label(type_, event.name),
            self._trace(event),
            NO_ID if parent_id is None else signed(parent_id),
            NO_ID if batch_id is None else signed(batch_id),
            NO_NUMBER if index is None else index,
            NO_NUMBER if queue_ns is None else queue_ns,
            NO_TIME if end_ns is None else end_ns - began,
            NO_TEXT if end_ns is None or status is None else _status(status),
            NO_NUMBER if attempt is None else attempt,
            1 if event.is_point else 0,
            NO_ID if error is None else self._error(error),
            self._payload(type_, data) if data else NO_TEXT,
        )

    def _family(self, family: JobFamily) -> Shared:
        if len(self._families) >= MAX_FAMILIES:
            self._families.clear()
        batch_id = signed(family.batch_id)
        number = self._trace_ids.get(family.trace.trace_id) or self._new_trace(family.trace)
        label = self._label(_JOB, family.name)
        known = Shared(label, number, batch_id, signed(family.base_id), family.ready_ns)
        self._families[family] = known
        return known

    def _label(self, type_: str, name: str) -> int:
        key = type_, str.__str__(name)
        number = self._label_ids.get(key)
        if number is None:
            number = self._label_ids.add(key)
            self.labels.append((number, *(clean_text(text, MAX_LABEL) for text in key)))
        return number

    def _trace(self, event: Event) -> int:
        trace = event.trace
        return self._trace_ids.get(trace.trace_id) or self._new_trace(trace)

    def _new_trace(self, trace: Any) -> int:
        number = self._trace_ids.add(trace.trace_id)
        self.traces.append((number, f"{trace.trace_id:032x}", signed(trace.root_id)))
        return number

    def _error(self, error: ErrorInfo) -> int:
        number = self._error_ids.get(error)
        if number is None:
            number = self._error_ids.add(error)
            stack = self._stack(error.frames)
            self.errors.append(
                (number, clean_text(error.type, MAX_LABEL), clean_text(error.message, MAX_MESSAGE), stack)
            )
        return number

    def _stack(self, frames: Sequence[Any]) -> int:
        key = tuple(frames)
        number = self._stack_ids.get(key)
        if number is None:
            number = self._stack_ids.add(key)
            plain = [
                (clean_text(frame.filename, MAX_TEXT), frame.lineno, clean_text(frame.function, MAX_LABEL))
                for frame in frames[-MAX_FRAMES:]
            ]
            self.stacks.append((number, _encode(plain).decode()))
        return number

    def _batch(self, event: Event) -> None:
        counts = event.counts
        if counts is not None:
            batch_id = signed(event.event_id)
            self._batches[batch_id] = (
                batch_id,
                clean_text(event.name, MAX_LABEL),
                counts.total,
                counts.started,
                counts.in_flight,
                counts.failed,
                counts.cancelled,
                counts.backing_off,
                counts.retried,
                counts.skipped,
            )

    def _payload(self, type_: str, data: dict[str, object]) -> str:
        if self._payloads:
            return _json(data)
        own = own_payload(type_, data)
        return _json(own) if own else NO_TEXT


def _json(payload: dict[str, object]) -> str:
    return _encode(clean_payload(payload)).decode()


def _status(status: str) -> str:
    known = _STATUSES.get(status) if type(status) is EventStatus else None
    return known or clean_text(status, MAX_LABEL)


def _entry(row: Row) -> Row:
    """Return the entry of an event for a list of open events, see `ENTRY`."""
    parent_id, batch_id, index, queue_ns, attempt = *row[4:_END], row[_ATTEMPT]
    return (
        *row[:4],
        None if parent_id == NO_ID else parent_id,
        None if batch_id == NO_ID else batch_id,
        None if index == NO_NUMBER else index,
        None if queue_ns == NO_NUMBER else queue_ns,
        None if attempt == NO_NUMBER else attempt,
    )
