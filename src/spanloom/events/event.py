"""The event: what a handler receives.

`Event` is the interface of all events. Two records of different cost implement it here:

* `ScopeEvent`: a batch, an attempt, a back-off, a wait, a trace, anything named by the user;
* `JobEvent`: one job of a batch. A batch of a million jobs makes a million of these, so it holds
  only what differs from job to job; its `JobFamily` holds what they share.

Both are frozen: a handler cannot change what the next handler sees. Only the code that opened an
event completes it, by `write_event`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import msgspec
from msgspec.structs import astuple, force_setattr

from spanloom.events.clock import monotonic_ns, wall_ns
from spanloom.events.counts import BatchCounts
from spanloom.events.error import ErrorInfo
from spanloom.events.ids import event_id_at
from spanloom.events.shown import shown
from spanloom.events.trace import Trace
from spanloom.events.types import OK, EventStatus, EventType, status_of

__all__ = [
    "NO_STACK",
    "Event",
    "JobColumns",
    "JobDetail",
    "JobEvent",
    "JobFamily",
    "ScopeEvent",
    "columns_of",
    "data_of",
    "detail_of",
    "fail_scope",
    "write_event",
]

NO_STACK: Final = ErrorInfo("RecursionError", "the stack is used up, so what else there was cannot be told")
"""The error of an event that fails where the stack has no room for another call."""
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class Event:
    """One thing that happened: a start, at most one end, an id, a parent, a trace. Read-only.

    Times are nanoseconds of `time.perf_counter_ns`; `start_wall_ns` gives a date.

    Attributes:
        type: An `EventType` or any other string.
        name: Low-cardinality label: the function, the batch's ``desc``, the scope's name.
        event_id: 64-bit id, never 0.
        parent_id: Event id of the enclosing event; ``None`` for the root of a trace.
        trace_id: 128-bit id that all events under one root share.
        start_ns: When it started. A job starts with its first step.
        end_ns: When it ended; ``None`` while it is open. A point event ends when it starts.
        status: How it ended, an `EventStatus`; ``None`` while it is open.
        error: The exception that ended it, if one did.
        payload: What was attached with ``set`` or given at the start; empty if nothing was.
        queue_ns: Job: time from when it could have run (the start of its batch, or the arrival of
            its item from an async iterator) until its first step. Slot wait: equal to the
            duration. ``None`` elsewhere.
        busy_ns: Job: the part of its run time in which it held the event loop. ``None`` unless
            deep timing is on.
        attempt: Attempt and back-off: which one, from 1. Job: how many attempts it has made.
            ``None`` where nothing is retried.
        job_index: Position in the input, from 0, of the job, or of the job that this event happened
            in. ``None`` outside of jobs.
        batch_id: Event id of the batch of that job; of a batch its own id. ``None`` elsewhere.
        counts: Batch: live numbers while it runs, final ones after. ``None`` elsewhere.
        is_point: True for an event without duration.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def type(self) -> str: ...
        @property
        def name(self) -> str: ...
        @property
        def event_id(self) -> int: ...
        @property
        def parent_id(self) -> int | None: ...
        @property
        def start_ns(self) -> int: ...
        @property
        def end_ns(self) -> int | None: ...
        @property
        def status(self) -> str | None: ...
        @property
        def error(self) -> ErrorInfo | None: ...
        @property
        def queue_ns(self) -> int | None: ...
        @property
        def busy_ns(self) -> int | None: ...
        @property
        def attempt(self) -> int | None: ...
        @property
        def job_index(self) -> int | None: ...
        @property
        def batch_id(self) -> int | None: ...
        @property
        def counts(self) -> BatchCounts | None: ...
        @property
        def is_point(self) -> bool: ...
        @property
        def trace(self) -> Trace: ...
        @property
        def data(self) -> dict[str, object] | None: ...
        @property
        def job(self) -> JobEvent | None: ...

    @property
    def trace_id(self) -> int:
        return self.trace.trace_id

    @property
    def payload(self) -> Mapping[str, object]:
        data = self.data
        return _NOTHING if data is None else MappingProxyType(data)

    @property
    def duration_ns(self) -> int | None:
        """Nanoseconds from start to end; ``None`` while the event is open."""
        return None if self.end_ns is None else self.end_ns - self.start_ns

    @property
    def age_ns(self) -> int:
        """Nanoseconds from the start until the end or, while it is open, until now."""
        return (monotonic_ns() if self.end_ns is None else self.end_ns) - self.start_ns

    @property
    def start_wall_ns(self) -> int:
        """The start in nanoseconds since the Unix epoch."""
        return wall_ns(self.start_ns)

    @property
    def end_wall_ns(self) -> int | None:
        """The end in nanoseconds since the Unix epoch; ``None`` while the event is open."""
        return None if self.end_ns is None else wall_ns(self.end_ns)

    def __repr__(self) -> str:
        return shown(self)


class ScopeEvent(Event, msgspec.Struct, frozen=True, eq=False, weakref=True):
    """An event of any type but ``job``. See `Event` for the fields."""

    type: str
    name: str
    event_id: int
    parent_id: int | None
    trace: Trace
    start_ns: int
    data: dict[str, object] | None = None
    job: JobEvent | None = None
    """The job in which this happened, if any."""
    attempt: int | None = None
    counts: BatchCounts | None = None
    end_ns: int | None = None
    failure: EventStatus | None = None
    """Its status, if that is not ``ok``."""
    error: ErrorInfo | None = None
    is_point: bool = False

    busy_ns: ClassVar[None] = None

    @property
    def status(self) -> EventStatus | None:
        return None if self.end_ns is None else self.failure or OK

    @property
    def queue_ns(self) -> int | None:
        return self.duration_ns if self.type == EventType.SLOT_WAIT else None

    @property
    def job_index(self) -> int | None:
        return None if self.job is None else self.job.index

    @property
    def batch_id(self) -> int | None:
        if self.counts is not None:
            return self.event_id
        return None if self.job is None else self.job.batch_id


class JobFamily(msgspec.Struct, eq=False, gc=False):
    """What all jobs of one batch share. Holds data only, never the runner.

    Attributes:
        batch_id: Event id of the batch, the parent of every job.
        trace: The trace of the batch.
        name: The jobs' name.
        base_id: Start of the range of their event ids; see `event_id_at`.
        ready_ns: When the jobs became ready to run, if all did at once; else ``None``, and a
            `JobDetail` may have a time of its own.
        counts: Those of the batch.
        started: Number of jobs started: live while the batch runs, then final.
    """

    batch_id: int
    trace: Trace
    name: str
    base_id: int
    ready_ns: int | None
    counts: BatchCounts

    @property
    def started(self) -> int:
        return self.counts.started

    def id_at(self, index: int) -> int:
        """Return the event id of job `index`."""
        return event_id_at(self.base_id, index)


class JobDetail(msgspec.Struct, eq=False, gc=False):
    """Fields that most jobs do not need. Written by the runner while the job runs."""

    status: str | None = None
    error: ErrorInfo | None = None
    attempt: int | None = None
    busy_ns: int | None = None
    data: dict[str, object] | None = None
    ready_ns: int | None = None


class JobEvent(Event, msgspec.Struct, frozen=True, eq=False, gc=False):
    """One job of a batch. See `Event` for the fields."""

    family: JobFamily
    index: int
    start_ns: int
    end_ns: int | None = None
    detail: JobDetail | None = None

    type: ClassVar[EventType] = EventType.JOB
    counts: ClassVar[None] = None
    is_point: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def event_id(self) -> int:
        family = self.family
        return event_id_at(family.base_id, self.index)

    @property
    def parent_id(self) -> int:
        return self.family.batch_id

    @property
    def batch_id(self) -> int:
        return self.family.batch_id

    @property
    def trace(self) -> Trace:
        return self.family.trace

    @property
    def job(self) -> JobEvent:
        return self

    @property
    def job_index(self) -> int:
        return self.index

    @property
    def queue_ns(self) -> int:
        ready_ns = self.family.ready_ns
        if ready_ns is None and self.detail is not None:
            ready_ns = self.detail.ready_ns
        return 0 if ready_ns is None else self.start_ns - ready_ns

    @property
    def status(self) -> str | None:
        if self.end_ns is None:
            return None
        detail = self.detail
        return OK if detail is None or detail.status is None else detail.status

    @property
    def error(self) -> ErrorInfo | None:
        return None if self.detail is None else self.detail.error

    @property
    def attempt(self) -> int | None:
        return None if self.detail is None else self.detail.attempt

    @property
    def busy_ns(self) -> int | None:
        return None if self.detail is None else self.detail.busy_ns

    @property
    def data(self) -> dict[str, object] | None:
        return None if self.detail is None else self.detail.data


class JobColumns(NamedTuple):
    """Some jobs of one family, column by column: see `JobEvent`.

    Nearly all events are jobs that succeeded. For 500 of them, C loops over columns take a fraction of the time of a
    Python loop over events.
    """

    family: JobFamily
    indexes: Sequence[int]
    starts_ns: Sequence[int]
    ends_ns: Sequence[int | None]
    details: Sequence[JobDetail | None]

    def parted(self) -> tuple[JobColumns | None, JobColumns | None]:
        """Return the jobs without a detail, and those with one; ``None`` where there are none."""
        plain = self.details.count(None)
        if plain == len(self.details):
            return self, None
        if not plain:
            return None, self
        jobs: list[tuple[Any, ...]] = list(zip(*self[1:], strict=True))
        without = zip(*(job for job in jobs if job[3] is None), strict=True)
        others = zip(*(job for job in jobs if job[3] is not None), strict=True)
        return JobColumns(self.family, *without), JobColumns(self.family, *others)


def columns_of(jobs: Iterable[JobEvent]) -> Iterator[JobColumns]:
    """Yield the columns of `jobs`, family by family."""
    rows: list[tuple[Any, ...]] = list(map(astuple, jobs))
    if not rows:
        return
    families, *columns = zip(*rows, strict=True)
    if families.count(families[0]) == len(families):
        yield JobColumns(families[0], *columns)
        return
    parts: dict[JobFamily, list[tuple[Any, ...]]] = {}
    for row in rows:
        parts.setdefault(row[0], []).append(row[1:])
    for family, part in parts.items():
        yield JobColumns(family, *zip(*part, strict=True))


write_event: Callable[[msgspec.Struct, str, object], None] = force_setattr
"""``write_event(event, "end_ns", end_ns)`` sets a field of an event; only for the code that opened it. ``end_ns`` is
set once, after all other fields. Half the cost of the slot's own ``__set__``, which takes its arguments as a tuple."""


def fail_scope(event: ScopeEvent, error: BaseException) -> None:
    """Set the status and the error of `event` from `error`; call before setting ``end_ns``."""
    write_event(event, "failure", status_of(error))
    write_event(event, "error", ErrorInfo.of(error))


def data_of(event: Event) -> dict[str, object]:
    """Return the writable payload of `event`, creating it if missing; only for the owner of the event."""
    if isinstance(event, JobEvent):
        detail = detail_of(event)
        if detail.data is None:
            detail.data = {}
        return detail.data
    data = event.data
    if data is None:
        data = {}
        type(event).__dict__["data"].__set__(event, data)
    return data


def detail_of(event: JobEvent) -> JobDetail:
    """Return the detail of `event`, creating it if missing; only for the runner that owns the event."""
    detail = event.detail
    if detail is None:
        detail = JobDetail()
        write_event(event, "detail", detail)
    return detail
