"""What a reader returns: runs, and the events of a run."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from spanloom.events.error import ErrorInfo

__all__ = ["Counts", "Record", "Run", "RunState", "Summary"]


class RunState(StrEnum):
    """State of a run. Members compare equal to their string value."""

    RUNNING = "running"
    """No end was written, and its process seems to be alive: see `Run.state`."""
    ENDED = "ended"
    """Its end was written."""
    INTERRUPTED = "interrupted"
    """No end was written, and its process is gone."""


class Run(msgspec.Struct, frozen=True):
    """One run: what one process recorded with one handler.

    Attributes:
        run_id: 32 hexadecimal digits, random.
        name: Name of the run: by default that of the script or module.
        argv: The command line, as ``sys.orig_argv`` has it.
        cwd: The working directory at the start.
        host: Name of the machine.
        pid: Process id on that machine.
        python: Version of Python, such as ``3.11.7``.
        version: Version of spanloom.
        started_wall_ns: When it started, nanoseconds since the epoch. The zero of its records' times.
        ended_wall_ns: When it ended; ``None`` if no end was written.
        last_seen_wall_ns: When it last wrote. While an event is open, that happens every second.
        state: A `RunState`. A run of this machine without an end counts as running if a process with its id, start
            time and boot is alive; one of another machine, if it was seen in the last 10 s.
        exit_code: The process's exit code; ``None`` if it was not recorded.
        produced: Events that ended while it ran and were to be recorded.
        dropped: Those of them that were lost. Readers show this number if it is not 0.
        deep: Whether busy time was measured.
        thinned: Events that ended well and were removed, because the run alone had become larger than the file may
            be. They are in its totals; readers show this number if it is not 0.
    """

    run_id: str
    name: str
    argv: tuple[str, ...]
    cwd: str
    host: str
    pid: int
    python: str
    version: str
    started_wall_ns: int
    ended_wall_ns: int | None
    last_seen_wall_ns: int
    state: str
    exit_code: int | None = None
    produced: int = 0
    dropped: int = 0
    deep: bool = False
    thinned: int = 0

    @property
    def seen_ns(self) -> int:
        """When the run last wrote, nanoseconds since its start: "now" for a run whose process is gone."""
        return self.last_seen_wall_ns - self.started_wall_ns


class Counts(msgspec.Struct, frozen=True, gc=False):
    """The numbers of a batch, as last written. See `spanloom.BatchCounts` for the fields."""

    total: int | None = None
    started: int = 0
    in_flight: int = 0
    failed: int = 0
    cancelled: int = 0
    backing_off: int = 0
    retried: int = 0
    skipped: int = 0


class Record(msgspec.Struct, frozen=True, gc=False):
    """One event of a run, a job or any other. See `spanloom.Event` for what the fields mean.

    All times are nanoseconds since the start of the run, on its monotonic clock.

    Attributes:
        event_id, parent_id, trace_id: As the event had them; ``parent_id`` is ``None`` for the root of a trace.
        type, name: As the event had them.
        start_ns: When it started.
        end_ns: When it ended; ``None`` if it was open when last written.
        status: How it ended; ``None`` if it is open in a running run, ``interrupted`` if it is open in a run that is
            not running.
        error: The exception that ended it.
        queue_ns, busy_ns, attempt, job_index, batch_id: As the event had them.
        counts: The numbers of a batch; ``None`` for any other event.
        payload: The keys that spanloom itself writes (``spanloom.events.keys``), and the user's if the run was
            recorded with payloads.
        is_point: True for an event without duration.
    """

    event_id: int
    parent_id: int | None
    trace_id: int
    type: str
    name: str
    start_ns: int
    end_ns: int | None = None
    status: str | None = None
    error: ErrorInfo | None = None
    queue_ns: int | None = None
    busy_ns: int | None = None
    attempt: int | None = None
    job_index: int | None = None
    batch_id: int | None = None
    counts: Counts | None = None
    payload: dict[str, object] | None = None
    is_point: bool = False

    @property
    def duration_ns(self) -> int | None:
        """Nanoseconds from start to end; ``None`` where there is no end."""
        return None if self.end_ns is None else self.end_ns - self.start_ns


class Summary(msgspec.Struct, frozen=True, gc=False):
    """The numbers of events in a run, as its writer counted them.

    Attributes:
        events: Events of all types, jobs and open ones included.
        jobs: Jobs.
        failed: Jobs that ended with ``error`` or ``timeout``.
        cancelled: Jobs that were cancelled.
        open: Events without an end: open in a running run, interrupted in a dead one.
    """

    events: int
    jobs: int
    failed: int
    cancelled: int
    open: int
