"""Metrics of ended events: how long they took, how long jobs queued, what was retried, what is running.

There is one call per list of events and set of attributes, or the numbers are read from the running batches at
collection: nothing is done while a job runs.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from opentelemetry.util.types import AttributeValue

from spanloom.events import BatchCounts, Event, EventStatus, EventType
from spanloom.handlers.otel._attributes import plain_text
from spanloom.handlers.otel._histograms import make_histogram, recorder_of

__all__ = ["EventMetrics"]

_Key = tuple[str, str, str | None, str | None]
"""Type, name, status, type of the error."""

MAX_NAMES: Final = 1000
"""Names of batches that are reported as 0 when none of them runs."""


class ProfileMetrics(Protocol):
    """The instruments of a profile."""

    def record(self, events: Sequence[Event]) -> None:
        """Account for ended events."""


class EventMetrics:
    """The instruments of one handler.

    Args:
        provider: Where the meter comes from.
        version: What the instrumentation scope ``spanloom`` says its version is.
        more: Makes the instruments of a profile; ``None`` for none.
    """

    def __init__(
        self, provider: MeterProvider, version: str, more: Callable[[Meter], ProfileMetrics] | None = None
    ) -> None:
        meter = provider.get_meter("spanloom", version)
        self._more = None if more is None else more(meter)
        self._duration = recorder_of(
            make_histogram(meter, "spanloom.event.duration", "Time from the start to the end of an event")
        )
        self._queue = recorder_of(
            make_histogram(meter, "spanloom.job.queue.duration", "Time that a job waited for its slot")
        )
        self._retries = meter.create_counter("spanloom.retries", "{attempt}", "Attempts beyond the first")
        self.renew()
        self._names: set[str] = set()
        self._running: dict[int, tuple[str, BatchCounts]] = {}
        meter.create_observable_up_down_counter(
            "spanloom.jobs.in_flight", [self._observe], "{job}", "Jobs that have started and not ended"
        )

    def renew(self) -> None:
        """Renew the lock; in a forked child, where the thread that held it does not exist."""
        self._lock = threading.Lock()

    def batch_started(self, event: Event) -> None:
        """Read the live numbers of a batch from now on."""
        if event.counts is not None:
            with self._lock:
                name = plain_text(event.name)
                self._running[event.event_id] = name, event.counts
                if len(self._names) < MAX_NAMES:
                    self._names.add(name)

    def batch_ended(self, event: Event) -> None:
        """Stop reading the numbers of a batch."""
        with self._lock:
            self._running.pop(event.event_id, None)

    def record(self, events: Sequence[Event]) -> None:
        """Account for ended events; point events have no duration."""
        durations: dict[_Key, list[float]] = {}
        queues: dict[str, list[float]] = {}
        retries: Counter[str] = Counter()
        for event in events:
            end_ns = event.end_ns
            if end_ns is None or event.is_point:
                continue
            kind, name, status, error = event.type, event.name, event.status, event.error
            failure = None if error is None or status == EventStatus.CANCELLED else error.type
            key = kind, name, status, failure
            durations.setdefault(key, []).append((end_ns - event.start_ns) / 1e9)
            if kind == EventType.JOB:
                queues.setdefault(name, []).append((event.queue_ns or 0) / 1e9)
            elif kind == EventType.ATTEMPT and (event.attempt or 1) > 1:
                retries[name] += 1
        if self._more is not None:
            self._more.record(events)
        for told_apart, seconds in durations.items():
            self._duration(seconds, _attributes(*told_apart))
        for name, seconds in queues.items():
            self._queue(seconds, {"spanloom.name": plain_text(name)})
        for name, count in retries.items():
            self._retries.add(count, {"spanloom.name": plain_text(name)})

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            in_flight = dict.fromkeys(self._names, 0)
            for name, counts in self._running.values():
                in_flight[name] = in_flight.get(name, 0) + counts.in_flight
        return [Observation(count, {"spanloom.name": name}) for name, count in in_flight.items()]


def _attributes(kind: str, name: str, status: str | None, error: str | None) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "spanloom.type": plain_text(kind),
        "spanloom.name": plain_text(name),
        "spanloom.outcome": str(status),
    }
    if error is not None:
        attributes["error.type"] = plain_text(error)
    return attributes
