"""Statistics of events of one type and name: how many, how they ended, where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from spanloom.events.event import JobEvent
from spanloom.events.histogram import Histogram
from spanloom.events.types import EventStatus

__all__ = ["OTHER", "Ended", "Tallies", "Tally"]

OTHER: Final = "(other)"
"""Stands for all types or names beyond the number that is kept."""
MAX_NAME: Final = 200
"""Characters kept of a name."""

_COUNTED_AS: Final = {
    EventStatus.ERROR.value: "errors",
    EventStatus.TIMEOUT.value: "timeouts",
    EventStatus.CANCELLED.value: "cancelled",
}


class Ended(Protocol):
    """The parts of an event, not a job, that are read."""

    @property
    def type(self) -> str: ...
    @property
    def status(self) -> str | None: ...


class Tally:
    """Statistics of ended events, in constant memory. Not thread-safe.

    Attributes:
        durations: From start to end.
        errors, timeouts, cancelled, skipped: How many ended with that status; the rest ended ``ok``. An unknown
            status counts as skipped.
        queue_ns: Sum of the queue times; ``None`` if these events have none.
        busy_ns: Sum of the busy times; ``None`` if none was measured.
        backoff_ns: Sum of the back-offs anywhere below these events.
        attempts: Sum of the jobs' attempts, one for a job that is never retried; 0 for other types.
    """

    __slots__ = (
        "attempts",
        "backoff_ns",
        "busy_ns",
        "cancelled",
        "durations",
        "errors",
        "queue_ns",
        "skipped",
        "timeouts",
    )

    def __init__(self) -> None:
        self.durations = Histogram()
        self.errors = 0
        self.timeouts = 0
        self.cancelled = 0
        self.skipped = 0
        self.queue_ns: int | None = None
        self.busy_ns: int | None = None
        self.backoff_ns = 0
        self.attempts = 0

    @property
    def count(self) -> int:
        """How many events have ended."""
        return self.durations.count

    @property
    def failed(self) -> int:
        """How many an exception ended, timeouts included."""
        return self.errors + self.timeouts

    @property
    def ok(self) -> int:
        """How many ended well."""
        return self.count - self.failed - self.cancelled - self.skipped

    def add(self, event: Ended, duration_ns: int) -> None:
        """Count one event that is not a job of a runner."""
        self.durations.add(duration_ns)
        status = event.status
        if status != "ok":
            self._ended(status)
        if event.type == "slot_wait":  # reading `queue_ns` of every event costs more than all the rest
            self._queued(duration_ns)

    def add_jobs(self, jobs: Sequence[JobEvent], durations_ns: Sequence[int], ready_ns: int | None) -> int:
        """Count jobs of one batch.

        Args:
            jobs: At least one job.
            durations_ns: Their durations, in the same order.
            ready_ns: When they became ready to run; ``None`` if they never waited.

        Returns:
            The longest duration.
        """
        self._queued(0 if ready_ns is None else sum([job.start_ns for job in jobs]) - len(jobs) * ready_ns)
        self.attempts += len(jobs)
        for detail in [job.detail for job in jobs if job.detail is not None]:
            if detail.status is not None and detail.status != "ok":
                self._ended(detail.status)
            if detail.attempt is not None:
                self.attempts += detail.attempt - 1
            if detail.busy_ns is not None:
                self.busy_ns = (self.busy_ns or 0) + detail.busy_ns
        return self.durations.add_many(durations_ns)

    def merge(self, other: Tally) -> None:
        """Add everything that `other` has counted; `other` stays as it is."""
        self.durations.merge(other.durations)
        self.errors += other.errors
        self.timeouts += other.timeouts
        self.cancelled += other.cancelled
        self.skipped += other.skipped
        if other.queue_ns is not None:
            self._queued(other.queue_ns)
        if other.busy_ns is not None:
            self.busy_ns = (self.busy_ns or 0) + other.busy_ns
        self.backoff_ns += other.backoff_ns
        self.attempts += other.attempts

    def summary(self, *, in_flight: int | None = None) -> dict[str, object]:
        """Return the numbers as `DebugHandler.summary` documents them."""
        durations = self.durations
        count, total = durations.count, durations.total
        p50, p95, p99 = durations.quantiles(0.5, 0.95, 0.99)
        return {
            "count": count,
            "ok": self.ok,
            "errors": self.errors,
            "timeouts": self.timeouts,
            "cancelled": self.cancelled,
            "skipped": self.skipped,
            "in_flight": in_flight,
            "total_ns": total,
            "mean_ns": total // count if count else None,
            "min_ns": durations.minimum,
            "max_ns": durations.maximum,
            "p50_ns": p50,
            "p95_ns": p95,
            "p99_ns": p99,
            "queue_ns": self.queue_ns,
            "run_ns": total,
            "busy_ns": self.busy_ns,
            "backoff_ns": self.backoff_ns,
            "attempts": self.attempts or None,
        }

    def _ended(self, status: str | None) -> None:
        counter = _COUNTED_AS.get(status or "", "skipped")
        setattr(self, counter, getattr(self, counter) + 1)

    def _queued(self, total_ns: int) -> None:
        self.queue_ns = (self.queue_ns or 0) + total_ns


class Tallies:
    """One tally per type and name, for at most `max_names` types and as many names of each.

    Any further ones are counted under `OTHER`.

    Attributes:
        types: The tallies, by type and name.
        max_names: See above.
    """

    def __init__(self, max_names: int) -> None:
        self.max_names = max_names
        self.types: dict[str, dict[str, Tally]] = {}

    def of(self, type: str, name: str) -> Tally:
        """Return the tally to count an event of that type and name in."""
        names = self.types.get(type)
        tally = None if names is None else names.get(name)
        if tally is None:
            type, name = self.key(type, name)
            tally = self.types.setdefault(type, {}).setdefault(name, Tally())
        return tally

    def key(self, type: str, name: str) -> tuple[str, str]:
        """Return under which type and name such an event is counted."""
        type, name = type[:MAX_NAME], name[:MAX_NAME]
        if type not in self.types and len(self.types) >= self.max_names:
            type = OTHER
        names = self.types.get(type, ())
        return type, name if name in names or len(names) < self.max_names else OTHER

    def merge(self, other: Tallies) -> None:
        """Add everything that `other` has counted."""
        for type, names in other.types.items():
            for name, tally in names.items():
                self.of(type, name).merge(tally)
