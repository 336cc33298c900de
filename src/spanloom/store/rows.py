"""From events to rows: what the writer puts into the file, in the words of the schema.

Runs on the handler's thread, once per event: the cost of a record is made here. What the jobs of a batch have in
common is worked out once, and texts that come again are numbered once.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from spanloom.events import http_keys, keys, model_keys
from spanloom.events.error import MAX_FRAMES, MAX_MESSAGE, ErrorInfo
from spanloom.events.event import Event, JobDetail, JobEvent, JobFamily
from spanloom.events.ids import event_id_at
from spanloom.events.plain import MAX_TEXT
from spanloom.events.types import EventStatus, EventType
from spanloom.store.clean import clean_payload, clean_text
from spanloom.store.statements import NO_ID, NO_NUMBER, NO_TEXT, NO_TIME

__all__ = ["Rows"]

MAX_LABEL: Final = 500
"""Characters of a name or a type."""
MAX_NUMBERED: Final = 10_000
"""Texts of one kind that are remembered: from then on the oldest may stand in the file more than once."""
MAX_FAMILIES: Final = 1_000
_STRIDE: Final = 0x9E3779B97F4A7C15
"""As in `spanloom.events.ids`, whose function would be a call per job."""
_MASK: Final = (1 << 64) - 1
_SIGN: Final = 1 << 63
_ALL: Final = 1 << 64

_OF_MODELS: Final = (
    model_keys.PROVIDER,
    model_keys.MODEL,
    model_keys.RESPONSE_MODEL,
    model_keys.REQUEST_ID,
    model_keys.FINISH_REASON,
    model_keys.INPUT_TOKENS,
    model_keys.CACHED_INPUT_TOKENS,
    model_keys.CACHE_WRITE_TOKENS,
    model_keys.OUTPUT_TOKENS,
    model_keys.REASONING_TOKENS,
    model_keys.TOTAL_TOKENS,
    model_keys.STREAM,
    model_keys.TIME_TO_FIRST_CHUNK_S,
)
"""What the targets of `spanloom.instrument` write of an answer."""
_OF_REQUESTS: Final = (
    http_keys.METHOD,
    http_keys.SERVER_ADDRESS,
    http_keys.SERVER_PORT,
    http_keys.STATUS_CODE,
    http_keys.RETRY_AFTER_S,
    http_keys.REDIRECTS,
)
_OWN_KEYS: Final = {
    EventType.LLM.value: _OF_MODELS,
    EventType.EMBEDDING.value: _OF_MODELS,
    EventType.REQUEST.value: _OF_REQUESTS,
    EventType.BATCH.value: (keys.RUNNER, keys.LIMIT),
    EventType.SLOT_WAIT.value: (keys.LIMITER,),
    EventType.BACKOFF.value: (keys.DELAY_S, keys.ERROR),
    EventType.STALL.value: (keys.STALLED_S, keys.FINDINGS),
    EventType.LOOP_LAG.value: (keys.HELD_S, keys.LOCATION),
}
_OWN_OF_LINK: Final = ("trace_id", "event_id", "flags")
_STATUSES: Final = {status: status.value for status in EventStatus}
_FAILED: Final = frozenset({"error", "timeout"})
_JOB: Final = EventType.JOB.value

K = TypeVar("K", bound=Hashable)
Row = tuple[Any, ...]  # Any: what one row holds is what the statement that it is for says

_encode: Final = msgspec.json.Encoder().encode


def signed(event_id: int) -> int:
    """Return a 64-bit id as SQLite keeps it."""
    return event_id - _ALL if event_id >= _SIGN else event_id


class _Numbers(dict[K, int]):
    """Numbers for what comes again; forgets the oldest. A number is never given twice."""

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
        payloads: Whether what the user attached is recorded.

    Attributes:
        jobs: Jobs that went well and have nothing to tell: start, id, label, trace, parent, batch, index, queue,
            end. Parent and batch are the same.
        details: The other jobs: the same, and status, busy time, attempt, error, payload.
        events: All others that have ended, see `_row`.
        opened_jobs: Jobs that have not ended: as `jobs`, without the end.
        opened_details: Those with something to tell: the same, and attempt, payload.
        opened: All others that have not ended, as `events`.
        labels, traces, stacks, errors: What those refer to.
        failed, cancelled: How many of the jobs here have.
        open_jobs, open_others: Ids of the events that were given as open and not as ended since.
        open_batches: Those of them that are batches.
    """

    def __init__(self, began_ns: int, *, payloads: bool) -> None:
        self._began_ns = began_ns
        self._payloads = payloads
        self._label_ids: _Numbers[tuple[str, str]] = _Numbers()
        self._trace_ids: _Numbers[int] = _Numbers()
        self._error_ids: _Numbers[ErrorInfo] = _Numbers()
        self._stack_ids: _Numbers[tuple[Any, ...]] = _Numbers()
        self.forget()

    def forget(self) -> None:
        """Begin anew, as for a new file: nothing waits, and nothing that was written is relied upon."""
        for numbers in (self._label_ids, self._trace_ids, self._error_ids, self._stack_ids):
            numbers.clear()
        self._families: dict[JobFamily, Row] = {}
        self.open_jobs: set[int] = set()
        self.open_others: set[int] = set()
        self.open_batches: dict[int, Event] = {}
        self.written()

    def written(self) -> None:
        """Let go of all rows: they are in the file."""
        self.jobs: list[Row] = []
        self.details: list[Row] = []
        self.events: list[Row] = []
        self.opened: list[Row] = []
        self.opened_jobs: list[Row] = []
        self.opened_details: list[Row] = []
        self.labels: list[Row] = []
        self.traces: list[Row] = []
        self.stacks: list[Row] = []
        self.errors: list[Row] = []
        self._batches: dict[int, Row] = {}
        self.failed: int = 0
        self.cancelled: int = 0

    def __len__(self) -> int:
        """Ended events that wait."""
        return len(self.jobs) + len(self.details) + len(self.events)

    @property
    def batches(self) -> Collection[Row]:
        """The last numbers of batches: one row each, however long the file cannot be written."""
        return self._batches.values()

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be written."""
        return bool(len(self) or self.opened_jobs or self.opened_details or self.opened or self.batches)

    # taking -------------------------------------------------------------------------------------------

    def take(self, events: Iterable[Event]) -> None:
        """Take ended and point events."""
        began, families, open_jobs = self._began_ns, self._families, self.open_jobs
        jobs, details = self.jobs, self.details
        for event in events:
            if type(event) is not JobEvent:
                self._take_other(event)
                continue
            family = event.family
            label, trace, batch_id, base_id = families.get(family) or self._family(family)
            index, start_ns, detail = event.index, event.start_ns, event.detail
            event_id = (base_id + (index + 1) * _STRIDE) & _MASK or base_id ^ _SIGN
            if event_id >= _SIGN:
                event_id -= _ALL
            if open_jobs:
                open_jobs.discard(event_id)
            ready_ns = family.ready_ns
            if ready_ns is None and detail is not None:
                ready_ns = detail.ready_ns
            row = (
                start_ns - began,
                event_id,
                label,
                trace,
                batch_id,
                batch_id,
                index,
                0 if ready_ns is None else start_ns - ready_ns,
                event.end_ns - began,  # type: ignore[operator]  # it has ended
            )
            if detail is None:
                jobs.append(row)
            else:
                details.append((*row, *self._detail(detail)))

    def take_open(self, events: Iterable[Event]) -> None:
        """Take events that are open now. What ends them must be taken later."""
        for event in events:
            if type(event) is JobEvent:
                self._take_open_job(event)
                continue
            row = self._row(event)
            if event.end_ns is None:  # it may have ended since it was found open
                self.opened.append(row)
                self.open_others.add(row[1])
                if event.counts is not None:
                    self.open_batches[row[1]] = event
                    self._batch(event)

    def _take_open_job(self, event: JobEvent) -> None:
        family = event.family
        label, trace, batch_id, base_id = self._families.get(family) or self._family(family)
        index, start_ns, detail = event.index, event.start_ns, event.detail
        event_id = signed(event_id_at(base_id, index))
        ready_ns = family.ready_ns
        if ready_ns is None and detail is not None:
            ready_ns = detail.ready_ns
        queue_ns = 0 if ready_ns is None else start_ns - ready_ns
        row = (start_ns - self._began_ns, event_id, label, trace, batch_id, batch_id, index, queue_ns)
        if event.end_ns is not None:
            return
        if detail is None:
            self.opened_jobs.append(row)
        else:
            attempt, data = detail.attempt, detail.data
            payload = self._payload(_JOB, data) if data else NO_TEXT
            self.opened_details.append((*row, NO_NUMBER if attempt is None else attempt, payload))
        self.open_jobs.add(event_id)

    def take_counts(self) -> None:
        """Take the present numbers of the open batches."""
        for event in list(self.open_batches.values()):
            self._batch(event)

    def _take_other(self, event: Event) -> None:
        row = self._row(event)
        self.events.append(row)
        event_id = row[1]
        if event_id in self.open_others:
            self.open_others.discard(event_id)
            self.open_batches.pop(event_id, None)
        if event.counts is not None:
            self._batch(event)
        if event.parent_id is None:
            self._trace_ids.pop(event.trace.trace_id, None)  # few events outlive their root

    # one row ------------------------------------------------------------------------------------------

    def _detail(self, detail: JobDetail) -> Row:
        status = "ok" if detail.status is None else _status(detail.status)
        if status in _FAILED:
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
        # Once: it may end while we look at it.
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

    def _family(self, family: JobFamily) -> Row:
        if len(self._families) >= MAX_FAMILIES:
            self._families.clear()
        batch_id = signed(family.batch_id)
        number = self._trace_ids.get(family.trace.trace_id) or self._new_trace(family.trace)
        known = self._label(_JOB, family.name), number, batch_id, family.base_id
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
            return clean_payload(data)
        own = {key: data[key] for key in _OWN_KEYS.get(type_, ()) if key in data}
        links = data.get(keys.LINKS)
        if type(links) is list:
            own[keys.LINKS] = [
                {key: link[key] for key in _OWN_OF_LINK if key in link}
                for link in links
                if type(link) is dict
            ]
        return clean_payload(own) if own else NO_TEXT


def _status(status: str) -> str:
    known = _STATUSES.get(status) if type(status) is EventStatus else None
    return known or clean_text(status, MAX_LABEL)
