"""The numbers of a recorded run by which its slowness is judged, read in one pass."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from typing import Final

from spanloom.events import keys
from spanloom.events.types import FAILED, EventType
from spanloom.store.model import Record

__all__ = ["BatchNumbers", "CallNumbers", "RunNumbers", "read"]

MAX_JOBS: Final = 2_000_000
"""Jobs of one run that are kept one by one, at most; 80 MB."""
MOST_NS: Final = (1 << 63) - 1
_SIZE: Final = re.compile(r"\b(\d+)/(\d+) in use")
_INSIDE: Final = frozenset({EventType.ATTEMPT, EventType.BACKOFF})


class BatchNumbers:
    """One batch that has ended. All times are nanoseconds of the run's clock.

    Attributes:
        name: Its name.
        start_ns, end_ns: Its span.
        limit: Most jobs at once; ``None`` if there was no bound, or an unknown one.
        is_fixed: Whether the limit was constant.
        starts, ends, queues: Of each job that ran: when it started and ended, and its queue time.
        indexes: Its position in the input; -1 if unknown.
        ids: Its event id.
        failed_ns: Sum of the attempts that failed, the last ones of their jobs included.
        backoff_ns: Sum of the pauses between attempts.
        retries: How many pauses there were: attempts beyond the first.
    """

    def __init__(self, name: str, start_ns: int, end_ns: int, limit: object) -> None:
        self.name = name
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.is_fixed: bool = isinstance(limit, int) or (isinstance(limit, str) and "FixedLimiter" in limit)
        self.limit: int | None = _limit(limit)
        self.starts: array[int] = array("q")
        self.ends: array[int] = array("q")
        self.queues: array[int] = array("q")
        self.indexes: array[int] = array("q")
        self.ids: array[int] = array("Q")
        self.failed_ns = 0
        self.backoff_ns = 0
        self.retries = 0

    @property
    def duration_ns(self) -> int:
        """How long the batch lasted."""
        return self.end_ns - self.start_ns

    def runs_ns(self) -> list[int]:
        """Return the run time of each job."""
        return [end - start for start, end in zip(self.starts, self.ends, strict=True)]


class CallNumbers:
    """The events of one type and name inside of jobs.

    Attributes:
        durations: Of each, in nanoseconds.
    """

    def __init__(self) -> None:
        self.durations: array[int] = array("q")


class RunNumbers:
    """What `read` has found.

    Attributes:
        batches: The batches that have ended, by event id.
        calls: What jobs called, by event type and name.
        lag_ns: For how long the loop was blocked, in all, by ``file:line``; ``"?"`` if that is unknown.
        busy_ns: The busy time of all jobs; 0 if it was not measured.
    """

    def __init__(self) -> None:
        self.batches: dict[int, BatchNumbers] = {}
        self.calls: dict[str, dict[str, CallNumbers]] = {}
        self.lag_ns: dict[str, int] = {}
        self.busy_ns = 0


def _limit(limit: object) -> int | None:
    if isinstance(limit, int):
        return limit
    found = _SIZE.search(limit) if isinstance(limit, str) else None
    return None if found is None else int(found[2])


def read(records: Iterable[Record]) -> RunNumbers:
    """Read the records of a run, in order of their start."""
    numbers = RunNumbers()
    jobs = 0
    for record in records:
        if record.is_point:
            if record.type == EventType.LOOP_LAG:
                _add_lag(numbers, record)
            continue
        if record.end_ns is None:
            continue
        batch = numbers.batches.get(record.batch_id or 0)
        if record.type == EventType.BATCH:
            limit = (record.payload or {}).get(keys.LIMIT)
            numbers.batches[record.event_id] = BatchNumbers(
                record.name, record.start_ns, record.end_ns, limit
            )
        elif record.type == EventType.JOB:
            jobs += 1
            numbers.busy_ns += record.busy_ns or 0
            if batch is not None and record.status != "skipped" and jobs <= MAX_JOBS:
                _add_job(batch, record, record.end_ns)
        elif record.type in _INSIDE:
            if batch is not None:
                _add_try(batch, record, _lasted_ns(record.start_ns, record.end_ns))
        elif record.job_index is not None and record.type not in {EventType.RETRY, EventType.SLOT_WAIT}:
            by_name = numbers.calls.setdefault(record.type, {})
            calls = by_name.get(record.name)
            if calls is None:
                calls = by_name[record.name] = CallNumbers()
            calls.durations.append(_lasted_ns(record.start_ns, record.end_ns))
    return numbers


def _lasted_ns(start_ns: int, end_ns: int) -> int:
    """Return how long an event took, cut to the range of a signed 64-bit number: the file may say anything."""
    return min(max(0, end_ns - start_ns), MOST_NS)


def _add_lag(numbers: RunNumbers, record: Record) -> None:
    payload = record.payload or {}
    held, place = payload.get(keys.HELD_S), payload.get(keys.LOCATION)
    if isinstance(held, (int, float)):
        where = place if isinstance(place, str) else "?"
        numbers.lag_ns[where] = numbers.lag_ns.get(where, 0) + int(held * 1e9)


def _add_job(batch: BatchNumbers, record: Record, end_ns: int) -> None:
    batch.starts.append(record.start_ns)
    batch.ends.append(end_ns)
    batch.queues.append(record.queue_ns or 0)
    batch.indexes.append(-1 if record.job_index is None else record.job_index)
    batch.ids.append(record.event_id)


def _add_try(batch: BatchNumbers, record: Record, span_ns: int) -> None:
    if record.type == EventType.BACKOFF:
        batch.backoff_ns += span_ns
        batch.retries += 1
    elif record.status in FAILED:
        batch.failed_ns += span_ns
