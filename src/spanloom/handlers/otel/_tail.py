"""Which jobs of a batch get a span when not all should: those in which something failed, the slowest, some of the rest.

Theory of operation. Whether a job is worth a span is known at its end, and whether it is among the
slowest at the end of its batch. The events inside a job end before it. So they are held here until
the job's fate is known: kept, and they go on to be built in the order in which they ended; or left
out, with all that happened inside. As soon as something inside fails, the job is as good as kept,
and nothing of it is held any longer. A batch inside a job is sifted by itself first; what it keeps
waits for the fate of the job around it, and a failed job inside is a reason to keep that one.

Memory is that of the slowest and the random ones, and of the jobs that run: O(slowest + random + limit).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from spanloom.events import Event, EventType
from spanloom.events.event import JobEvent
from spanloom.events.types import FAILED
from spanloom.handlers.otel._samples import Greatest, Reservoir

__all__ = ["Tail", "TailPolicy"]

MAX_HELD: Final = 50_000
"""Events that may wait for the fate of their jobs: some 10 MB. What comes then is left out, and counted."""
MAX_OVER: Final = 1024
"""Batches of which is remembered that they are over, for what ends in their jobs after that."""
MAX_KEPT: Final = 20_000
"""Kept jobs that are remembered, for the same."""


@dataclass(frozen=True)
class TailPolicy:
    """Which jobs of each batch get spans: all with a failure, and of the others the slowest and a random sample.

    A job counts as failed if it ended with an error or by timeout, or if anything inside it did. A cancelled job is one
    of the others. With a job, everything inside it is left out, except for spans of user code and of instrumented
    libraries: those go to the provider by themselves. Metrics, and the numbers on the batch's span, count all jobs.

    Attributes:
        slowest: How many of the others are kept for having taken longest, at least 0.
        random: How many of the rest are kept, each as likely as any other, at least 0.
        retried: Keep also every job that took more than one attempt.

    Raises:
        ValueError: a number is negative.
    """

    slowest: int = 20
    random: int = 20
    retried: bool = True

    def __post_init__(self) -> None:
        for name in ("slowest", "random"):
            number = getattr(self, name)
            if number < 0:
                raise ValueError(f"TailPolicy.{name} is a number of jobs, at least 0 (got {number})")


class _Held:
    """The events of one job, while its fate is open."""

    __slots__ = ("events", "is_kept", "job", "number", "omitted")

    def __init__(self, job: JobEvent, number: int) -> None:
        self.job = job
        self.number = number
        self.events: list[Event] = []
        self.is_kept = False
        self.omitted = 0


class _Batch:
    """The jobs of one batch: those that run, and those that are kept for the time being."""

    __slots__ = ("is_sampled", "left_out", "open", "random", "slowest")

    def __init__(self, policy: TailPolicy, rng: random.Random, *, is_sampled: bool) -> None:
        self.is_sampled = is_sampled
        self.open: dict[int, _Held] = {}
        self.slowest: Greatest[_Held] = Greatest(policy.slowest)
        self.random: Reservoir[_Held] = Reservoir(policy.random, rng)
        self.left_out = 0


class Tail:
    """Holds events back until it is known whether they get spans; on one thread.

    Args:
        policy: What is kept.
        forget: Called with each event that gets no span.
        is_sampled: Whether an event's trace has spans at all; where it has none, nothing is held.
        rng: Source of randomness.
    """

    def __init__(
        self,
        policy: TailPolicy,
        forget: Callable[[Event], object],
        is_sampled: Callable[[Event], bool] = lambda _: True,
        rng: random.Random | None = None,
    ) -> None:
        self._policy = policy
        self._forget = forget
        self._is_sampled = is_sampled
        self._rng = rng or random.Random()  # noqa: S311 -- a sample, not a secret
        self._batches: dict[int, _Batch] = {}
        self._outer: dict[int, JobEvent] = {}
        self._over: dict[int, None] = {}
        self._kept: dict[int, None] = {}
        self._left_out: dict[int, int] = {}
        self._omitted: dict[int, int] = {}
        self._out: list[Event] = []
        self._number = 0
        self.held = 0

    def batch_started(self, batch: Event) -> None:
        """Note a batch inside a job; called at its start, on any thread."""
        if batch.job is not None:
            self._outer[batch.event_id] = batch.job

    def sift(self, events: Sequence[Event]) -> list[Event]:
        """Return those of `events`, and of the earlier ones, whose spans are to be built now, in that order."""
        for event in events:
            job = event.job
            if event.counts is not None:
                self._batch_ended(event)
            if job is None:
                self._out.append(event)
            elif job is event:
                self._job_ended(job)
            else:
                self._add(job, [event], is_failure=self._is_failure(event))
        out, self._out = self._out, []
        return out

    def rest(self) -> list[Event]:
        """Return what is kept so far of all that still runs; nothing more will come."""
        for batch_id in list(self._batches):
            self._close(batch_id)
        out, self._out = self._out, []
        return out

    def take_left_out(self, event: Event) -> tuple[int, int]:
        """Return how many jobs of `event` got no span, and how many events inside it could not be held; once."""
        return self._left_out.pop(event.event_id, 0), self._omitted.pop(event.event_id, 0)

    # ----------------------------------------------------------------------------------------------------------

    def _is_failure(self, event: Event) -> bool:
        return event.status in FAILED and (self._policy.retried or event.type != EventType.ATTEMPT)

    def _batch_of(self, job: JobEvent) -> _Batch | None:
        batch_id = job.family.batch_id
        batch = self._batches.get(batch_id)
        if batch is None and batch_id not in self._over:
            batch = self._batches[batch_id] = _Batch(
                self._policy, self._rng, is_sampled=self._is_sampled(job)
            )
        return batch

    def _add(self, job: JobEvent, events: list[Event], *, is_failure: bool) -> None:
        """Hold `events`, which happened inside `job`; or not any longer, if one of them is a failure."""
        batch = self._batch_of(job)
        if batch is not None and not batch.is_sampled:
            self._out += events  # to be forgotten where all of an unsampled trace is
            return
        job_id = job.event_id
        held = None if batch is None else batch.open.get(job_id)
        if held is None:
            if job_id in self._kept:
                self._release(job, events, is_failure=is_failure)  # it is built, and this came after it
                return
            if batch is None:
                self._drop(events)
                return
            self._number += 1
            held = batch.open[job_id] = _Held(job, self._number)
        if is_failure and not held.is_kept:
            held.is_kept = True
            self.held -= len(held.events)
            events, held.events = held.events + events, []
        if held.is_kept:
            self._release(job, events, is_failure=is_failure)
            return
        room = MAX_HELD - self.held
        if room < len(events):
            held.omitted += len(events) - max(0, room)
            self._drop(events[max(0, room) :])
            events = events[: max(0, room)]
        held.events += events
        self.held += len(events)

    def _job_ended(self, job: JobEvent) -> None:
        batch = self._batch_of(job)
        if batch is None:
            self._drop([job])
            return
        if not batch.is_sampled:
            self._out.append(job)
            return
        held = batch.open.pop(job.event_id, None)
        if held is None:
            self._number += 1
            held = _Held(job, self._number)
        is_failure = job.status in FAILED
        if held.is_kept or is_failure or (self._policy.retried and (job.attempt or 1) > 1):
            self.held -= len(held.events)
            self._keep(job, held.events, held.omitted, is_failure=is_failure or held.is_kept)
            return
        held.events.append(job)
        self.held += 1
        other = batch.slowest.offer(job.duration_ns or 0, held)
        if other is not None:
            other = batch.random.offer(other)  # so it draws from those that are not among the slowest
        if other is not None:
            self._leave_out(batch, other)

    def _leave_out(self, batch: _Batch, held: _Held) -> None:
        batch.left_out += 1
        self.held -= len(held.events)
        self._drop(held.events)

    def _keep(self, job: JobEvent, inside: list[Event], omitted: int, *, is_failure: bool) -> None:
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[job.event_id] = None
        if omitted:
            self._omitted[job.event_id] = omitted
        self._release(job, [*inside, job], is_failure=is_failure)

    def _release(self, job: JobEvent, events: list[Event], *, is_failure: bool) -> None:
        outer = self._outer.get(job.family.batch_id)
        if outer is None:
            self._out += events
        else:
            self._add(outer, events, is_failure=is_failure)

    def _batch_ended(self, event: Event) -> None:
        left_out = self._close(event.event_id)
        if left_out:
            self._left_out[event.event_id] = left_out
        self._outer.pop(event.event_id, None)
        self._over[event.event_id] = None
        if len(self._over) > MAX_OVER:
            del self._over[next(iter(self._over))]

    def _close(self, batch_id: int) -> int:
        """Keep what is kept of a batch; return how many of its jobs are left out."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return 0
        for held in sorted(batch.slowest.items() + batch.random.items(), key=lambda held: held.number):
            self.held -= len(held.events)
            self._keep(held.job, held.events[:-1], held.omitted, is_failure=False)
        del self._batches[batch_id]
        for job_id, held in batch.open.items():
            # Either this came after its job, or the job's own end was lost on the way.
            self.held -= len(held.events)
            if job_id in self._kept:
                self._release(held.job, held.events, is_failure=False)
            else:
                self._drop(held.events)
        return batch.left_out

    def _drop(self, events: Iterable[Event]) -> None:
        for event in events:
            self._left_out.pop(event.event_id, None)
            self._omitted.pop(event.event_id, None)
            self._forget(event)
