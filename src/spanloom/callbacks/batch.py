"""A batch as the manager sees it: one batch event, and a family of jobs whose ends cost one append."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from spanloom.events.counts import BatchCounts, LiveJobs
from spanloom.events.event import Event, JobEvent, JobFamily
from spanloom.events.ids import new_event_id
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.callbacks.context import EventContext
    from spanloom.callbacks.emitter import Emitter
    from spanloom.callbacks.guard import Guard
    from spanloom.callbacks.route import Route

__all__ = ["BatchScope", "JobTable"]


class JobTable(LiveJobs, Protocol):
    """What a runner shows of its jobs."""

    def open_jobs(self) -> list[JobEvent]:
        """Return the events of the jobs that are running now; safe from any thread."""


class BatchScope:
    """The events of one batch, from `open` to `close`.

    A runner asks once what its jobs need, and then makes one `JobEvent` per job and calls
    `deliver` with it at its end: no lookup, lock or id per job.

    Attributes:
        counts: Live numbers of the batch.
        job_name: What the jobs are called.
        family: What the job events have in common; ``None`` if nobody listens to jobs.
        starts: To be called with each started job; ``None`` if nobody asks for that.
        deliver: To be called with each ended job; ``None`` if nobody asks for that.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_manager",
        "_route",
        "counts",
        "deliver",
        "event",
        "family",
        "job_name",
        "jobs",
        "starts",
    )

    def __init__(
        self,
        manager: Emitter,
        name: str,
        jobs: JobTable,
        *,
        total: int | None,
        payload: dict[str, object],
    ) -> None:
        self.jobs: JobTable = jobs
        self.counts: BatchCounts = BatchCounts(total, jobs)
        self.family: JobFamily | None = None
        self.starts: Callable[[Event], None] | None = None
        self.deliver: Callable[[Event], object] | None = None
        self.event: Event | None = None
        self.job_name: str = name
        self._manager = manager
        self._route: Route = manager.route(EventType.JOB)
        self._context: EventContext = manager.event(EventType.BATCH, payload, name=name)

    def open(self, *, job_name: str, ready_at_once: bool, always: bool = False) -> None:
        """Start the batch event in the caller's context.

        Args:
            job_name: The jobs' name; empty if the first job will give it.
            ready_at_once: True if all jobs could run now, so that their queue time counts from here.
            always: Have a family even if nobody listens, for a runner that needs the records itself.
        """
        manager, route = self._manager, self._route
        self.job_name = job_name or self.job_name
        context = self._context
        event = context.start(counts=self.counts)
        self.event = event
        recorder = manager.recorder
        sinks = route.job_sinks() if recorder is None else [recorder.record, *route.job_sinks()]
        if not (manager.active or always):
            return
        self.family = JobFamily(
            batch_id=event.event_id,
            trace=event.trace,
            name=job_name,
            base_id=new_event_id(),
            ready_ns=event.start_ns if ready_at_once else None,
            counts=self.counts,
        )
        event.trace.add_family(self.family)
        if route.starts:
            self.starts = route.start
        self.deliver = _join(sinks) if sinks else None
        route.batch_started()
        manager.batch_opened(event.event_id, self)

    def close(self, error: BaseException | None) -> None:
        """End the batch event, and restore the caller's context."""
        self.counts.settle()
        event = self.event
        if event is not None and self.family is not None:
            # In this order: jobs that were counted in both places would look like lost ones.
            self._manager.batch_closed(event.event_id, self.counts.ended)
            self._route.batch_ended(self.counts.ended)
        self.jobs = _NO_JOBS  # or scope and runner would keep each other, and all results, alive
        self._context.end(error)

    def unaccounted(self, guard: Guard) -> int:
        """Return how many jobs have ended that `guard` should get and that are not accounted for yet."""
        return self.counts.ended if guard in self._route.ends else 0


class _NoJobs:
    """The table of a runner that has ended."""

    started = 0

    def __len__(self) -> int:
        return 0

    def open_jobs(self) -> list[JobEvent]:
        return []


_NO_JOBS = _NoJobs()


def _join(sinks: list[Callable[[Event], object]]) -> Callable[[Event], object]:
    if len(sinks) == 1:
        return sinks[0]
    if len(sinks) == 2:  # the recorder and one handler: what most programs have
        first, second = sinks

        def deliver_both(event: Event) -> None:
            first(event)
            second(event)

        return deliver_both
    every = tuple(sinks)

    def deliver_all(event: Event) -> None:
        for sink in every:
            sink(event)

    return deliver_all
