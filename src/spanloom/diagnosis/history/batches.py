"""The progress of spanloom's own batches over time."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.callbacks.guard import Guard
from spanloom.concurrency.kinds import Kinds
from spanloom.concurrency.slots import Slots
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import Event
from spanloom.events.types import EventType

__all__ = ["Batch", "Batches", "OpenJob"]

SAMPLES: Final = 60
MAX_BATCHES: Final = 200
MAX_JOBS: Final = 20
"""Open jobs of one batch that are read one by one, at most."""


class OpenJob(msgspec.Struct, frozen=True):
    """A job that has not ended.

    Attributes:
        name: The name of the jobs of its batch.
        index: Its position in the input.
        age_s: Seconds since its first step.
        attempt: How many attempts it has made, if it is retried.
    """

    name: str
    index: int
    age_s: float
    attempt: int | None


class Batch(msgspec.Struct, eq=False):
    """One batch that is running.

    Attributes:
        name: Its name.
        began: When it was first seen, by `time.monotonic`.
        total: How many jobs it will have, or ``None``.
        samples: ``(time, ended jobs, jobs in flight)``, oldest first.
    """

    name: str
    began: float
    total: int | None
    samples: deque[tuple[float, int, int]] = msgspec.field(default_factory=lambda: deque(maxlen=SAMPLES))


class _Listener:
    """Notes which batches of all managers are open. One call at the start and one at the end of a batch."""

    wants = frozenset({str(EventType.BATCH)})

    def __init__(self) -> None:
        self.open: dict[int, Event] = {}

    def on_event_start(self, event: Event) -> None:
        if len(self.open) < MAX_BATCHES:
            self.open[event.event_id] = event

    def on_event_end(self, event: Event) -> None:
        self.open.pop(event.event_id, None)


class Batches:
    """Samples the numbers of the running batches, between `listen` and `stop`.

    Attributes:
        running: By event id.
    """

    def __init__(self) -> None:
        self.running: dict[int, Batch] = {}
        self._listener = _Listener()
        self._guard: Guard | None = None

    def listen(self) -> None:
        """Begin to note the batches that start."""
        if self._guard is None:
            self._guard = EVERYWHERE.add(self._listener)

    def stop(self) -> None:
        """Stop noting batches."""
        guard, self._guard = self._guard, None
        if guard is not None:
            EVERYWHERE.remove(guard)
            guard.close(0.0)

    def step(self, now: float) -> None:
        """Take one sample."""
        known = self.running
        self.running = {}
        for event_id, event in self._listener.open.copy().items():
            counts = event.counts
            if counts is not None:
                batch = known.get(event_id) or Batch(event.name, now, counts.total)
                batch.samples.append((now, counts.ended, counts.in_flight))
                self.running[event_id] = batch

    def _engine(self, event_id: int) -> Any:  # an engine of any kind; only its public attributes are read
        event = self._listener.open.get(event_id)
        counts: Any = None if event is None else event.counts
        return None if counts is None or counts._live is None else counts._live()  # noqa: SLF001 -- what shows the runner

    def limit_of(self, event_id: int) -> tuple[int, str, int | None] | None:
        """Return the identity of the engine of a batch.

        And name and number of its slots as far as they are known.
        """
        engine = self._engine(event_id)
        if engine is None:
            return None
        limiter = getattr(engine, "_limiter", None)
        if isinstance(limiter, Slots):
            return id(engine), limiter.name, limiter.size
        return id(engine), "", getattr(engine, "_limit", None)

    def is_mixed(self, event_id: int) -> bool:
        """Tell whether a batch has jobs of several names, whose run times cannot be compared."""
        kinds = getattr(self._engine(event_id), "_kinds", None)
        return isinstance(kinds, Kinds) and kinds.are_several

    def open_jobs(self, event_id: int) -> list[OpenJob]:
        """Return the open jobs of a batch, the oldest first."""
        engine = self._engine(event_id)
        if engine is None:
            return []
        now_ns = monotonic_ns()
        jobs = sorted(engine.open_jobs(), key=lambda job: job.start_ns)[:MAX_JOBS]
        return [OpenJob(job.name, job.index, (now_ns - job.start_ns) / 1e9, job.attempt) for job in jobs]
