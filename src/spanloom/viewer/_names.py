"""Statistics of the events of one type and name, over a whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanloom.events.histogram import Histogram
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.viewer._sweep import Node

__all__ = ["OTHER", "NameStats", "Names"]

OTHER: Final = "(other)"
"""The name of the entry for all names beyond the limit."""
_MAX_NAMES: Final = 500
"""Types and names that are told apart: two screens full and more. What has an id in its name would otherwise make the
tables as long as the run."""


class NameStats:
    """Statistics of the events of one type and name, in constant memory.

    Attributes:
        type, name: Of the events.
        durations: From start to end, of those that have ended; like all the rest without the skipped ones.
        ok, errors, timeouts, cancelled: How many ended with that status.
        skipped: How many were not run, because a checkpoint had their results; their times say nothing of the others'.
        open: How many never ended, or have not yet.
        again: How many were made only because an attempt had failed, `Node.is_again`.
        span_ns: Sum of the durations, with those of open ones up to the end of what is known.
        queue_ns: Sum of the times that they waited for a slot before they started; of slot waits, their durations.
        busy_ns: Sum of the times in which they held the event loop; ``None`` where that was not measured.
        backoff_ns: Sum of the pauses between attempts, at any depth inside them.
        attempts: Of jobs: sum of their attempts.
        self_ns: Sum of the times in which nothing was open inside them; of open ones, until the run was last heard of.
    """

    __slots__ = (
        "_shift_ns",
        "_squares",
        "again",
        "attempts",
        "backoff_ns",
        "busy_ns",
        "cancelled",
        "durations",
        "errors",
        "name",
        "ok",
        "open",
        "queue_ns",
        "self_ns",
        "skipped",
        "span_ns",
        "timeouts",
        "type",
    )

    def __init__(self, type: str, name: str) -> None:
        self.type = type
        self.name = name
        self.durations = Histogram()
        self.ok = self.errors = self.timeouts = self.cancelled = self.skipped = self.open = 0
        self.again = 0
        self.span_ns = 0
        self.queue_ns = 0
        self.busy_ns: int | None = None
        self.backoff_ns = 0
        self.attempts = 0
        self.self_ns = 0
        self._shift_ns = 0
        self._squares = 0.0

    @property
    def count(self) -> int:
        """How many there are, the skipped ones included."""
        return self.ran + self.skipped

    @property
    def ran(self) -> int:
        """How many have started to run."""
        return self.durations.count + self.open

    @property
    def failed(self) -> int:
        """How many were ended by an exception, timeouts included."""
        return self.errors + self.timeouts

    @property
    def self_variance(self) -> float | None:
        """Variance of the self time from event to event, in square nanoseconds; ``None`` of fewer than two."""
        count = self.ran
        if count < 2:
            return None
        offset = self.self_ns - count * self._shift_ns
        return max(0.0, (self._squares - offset * offset / count) / (count - 1))

    def add(self, node: Node) -> None:
        """Count one event that has ended, or that will be open for ever."""
        record = node.record
        status = record.status
        if status == "skipped":
            self.skipped += 1
            return
        self_ns = node.self_ns
        if not self.ran:
            # The variance is that of the distances from the first: squares of the values themselves would lose it in
            # rounding where all are nearly alike. Chan, Golub and LeVeque, "Algorithms for Computing the Sample
            # Variance", 1983.
            self._shift_ns = self_ns
        self.span_ns += node.end_ns - node.start_ns
        self.self_ns += self_ns
        distance = float(self_ns - self._shift_ns)
        self._squares += distance * distance
        self.again += node.is_again
        if record.end_ns is None:
            self.open += 1
        else:
            self.durations.add(record.end_ns - record.start_ns)
            if status == "ok":
                self.ok += 1
            elif status == "error":
                self.errors += 1
            elif status == "timeout":
                self.timeouts += 1
            elif status == "cancelled":
                self.cancelled += 1
        if record.queue_ns:
            self.queue_ns += record.queue_ns
        if record.busy_ns is not None:
            self.busy_ns = (self.busy_ns or 0) + record.busy_ns
        self.backoff_ns += node.backoff_ns
        if record.type == EventType.JOB:
            self.attempts += record.attempt or 1


class Names:
    """The statistics of every type and name; those beyond `_MAX_NAMES` share one entry per type."""

    def __init__(self) -> None:
        self._stats: dict[tuple[str, str], NameStats] = {}

    def of(self, type: str, name: str) -> NameStats:
        """Return the statistics of that type and name."""
        key = type, name
        stats = self._stats.get(key)
        if stats is None:
            if len(self._stats) >= _MAX_NAMES:
                key = (type, OTHER) if len(self._stats) < 2 * _MAX_NAMES else (OTHER, OTHER)
            stats = self._stats.get(key) or NameStats(*key)
            self._stats[key] = stats
        return stats

    def all(self) -> list[NameStats]:
        """Return all of them, in the order in which the names came up."""
        return list(self._stats.values())
