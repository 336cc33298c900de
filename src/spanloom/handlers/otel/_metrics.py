"""Metrics of ended events: how long they took, how long jobs queued, what was retried, what is running.

A histogram has to be told of every duration by itself. Everything else is one call per list of
events and set of attributes, or is read from the running batches when somebody collects.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
from opentelemetry.util.types import AttributeValue

from spanloom.events import BatchCounts, Event, EventStatus, EventType
from spanloom.handlers.otel._attributes import plain_text

__all__ = ["EventMetrics"]

BOUNDARIES_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
"""Those of the HTTP semantic conventions, and more below and above: jobs last from one turn of the loop to hours."""

MAX_NAMES: Final = 1000
"""Names of batches that are reported as 0 when none of them runs."""


class EventMetrics:
    """The instruments of one handler.

    Args:
        provider: Where the meter comes from.
        version: What the instrumentation scope ``spanloom`` says its version is.
    """

    def __init__(self, provider: MeterProvider, version: str) -> None:
        meter = provider.get_meter("spanloom", version)
        self._duration = _histogram(
            meter, "spanloom.event.duration", "Time from the start to the end of an event"
        )
        self._queue = _histogram(meter, "spanloom.job.queue.duration", "Time that a job waited for its slot")
        self._retries = meter.create_counter("spanloom.retries", "{attempt}", "Attempts beyond the first")
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._running: dict[int, tuple[str, BatchCounts]] = {}
        meter.create_observable_up_down_counter(
            "spanloom.jobs.in_flight", [self._observe], "{job}", "Jobs that have started and not ended"
        )

    def batch_started(self, event: Event) -> None:
        """Read the live numbers of a batch from now on."""
        if event.counts is not None:
            with self._lock:
                name = plain_text(event.name)
                self._running[event.event_id] = name, event.counts
                if len(self._names) < MAX_NAMES:
                    self._names.add(name)

    def batch_ended(self, event: Event) -> None:
        """Let go of a batch."""
        with self._lock:
            self._running.pop(event.event_id, None)

    def record(self, events: Sequence[Event]) -> None:
        """Account for ended events; point events have no duration."""
        known: dict[tuple[str, str, str | None], dict[str, AttributeValue]] = {}
        retries: Counter[str] = Counter()
        for event in events:
            if event.is_point or event.duration_ns is None:
                continue
            kind, name, status = event.type, event.name, event.status
            error = None if event.error is None or status == EventStatus.CANCELLED else event.error.type
            key = (kind, name, error or status)
            attributes = known.get(key)
            if attributes is None:
                attributes = known[key] = _attributes(kind, name, status, error)
            self._duration.record(event.duration_ns / 1e9, attributes)
            if kind == EventType.JOB:
                queue_s = (event.queue_ns or 0) / 1e9
                self._queue.record(queue_s, {"spanloom.name": attributes["spanloom.name"]})
            elif kind == EventType.ATTEMPT and (event.attempt or 1) > 1:
                retries[name] += 1
        for name, count in retries.items():
            self._retries.add(count, {"spanloom.name": plain_text(name)})

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            in_flight = dict.fromkeys(self._names, 0)
            for name, counts in self._running.values():
                in_flight[name] = in_flight.get(name, 0) + counts.in_flight
        return [Observation(count, {"spanloom.name": name}) for name, count in in_flight.items()]


def _histogram(meter: Meter, name: str, description: str) -> Histogram:
    try:
        return meter.create_histogram(
            name, "s", description, explicit_bucket_boundaries_advisory=BOUNDARIES_S
        )
    except TypeError:  # before OpenTelemetry 1.30: the buckets are the SDK's, or those of a view
        return meter.create_histogram(name, "s", description)


def _attributes(kind: str, name: str, status: str | None, error: str | None) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "spanloom.type": plain_text(kind),
        "spanloom.name": plain_text(name),
        "spanloom.outcome": str(status),
    }
    if error is not None:
        attributes["error.type"] = plain_text(error)
    return attributes
