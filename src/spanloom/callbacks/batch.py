"""A batch as the manager sees it: one batch event, and a family of jobs, each of whose ends costs one append."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import copy_context
from gc import get_referents
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from spanloom.events.counts import BatchCounts, LiveJobs
from spanloom.events.event import Event, JobEvent, JobFamily, ScopeEvent
from spanloom.events.ids import new_event_id, random_bits
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.callbacks.emitter import Emitter
    from spanloom.callbacks.guard import Guard
    from spanloom.callbacks.route import Route

__all__ = ["BatchScope", "JobTable"]


_BATCH: Final = EventType.BATCH
_JOB: Final = EventType.JOB


class JobTable(LiveJobs, Protocol):
    """A runner's jobs, as the manager may look at them."""

    def open_jobs(self, since_ns: int = 0, until_ns: int | None = None) -> list[JobEvent]:
        """Return the events of the jobs that are running now; safe from any thread.

        Args:
            since_ns: Jobs that started earlier may be left out, where that saves time.
            until_ns: So may jobs that started at this time or later; ``None`` for no bound.
        """


class BatchScope(msgspec.Struct, eq=False, weakref=True):
    """The events of one batch, from `open` to `close`.

    A runner reads these attributes once. Then it makes one `JobEvent` per job and passes it to
    `deliver` at its end: no look-up, lock or id per job.

    Attributes:
        event: The batch's own event.
        counts: Live numbers of the batch.
        jobs: The runner's table of jobs.
        job_name: Name of the jobs.
        family: What the job events share; ``None`` if nobody listens to jobs.
        starts: Call it with each started job; ``None`` if no handler wants that. With `binders`, it returns
            True if a hook of another handler has set a context variable: the runner, which ignores what is
            set at a start then, must not reuse the context.
        binders: Handlers whose hooks set the same context variables anew at the start of every job. A runner
            that runs jobs one after the other in one context may therefore keep it, until one of them has
            ``lapsed``: then what it has set stays set.
        deliver: Call it with each ended job; ``None`` if nobody wants that.
        deliver_too: The same, after `deliver`. Most programs have a recorder and one handler, and one
            function that calls both would cost more than two calls.
    """

    event: ScopeEvent
    counts: BatchCounts
    jobs: JobTable
    job_name: str
    family: JobFamily | None
    starts: Callable[[Event], object] | None
    binders: tuple[Guard, ...]
    deliver: Callable[[Event], object] | None
    deliver_too: Callable[[Event], object] | None
    _manager: Emitter
    _outer: Event | None
    _batch_route: Route
    _job_route: Route

    @classmethod
    def open(
        cls,
        manager: Emitter,
        name: str,
        jobs: JobTable,
        *,
        total: int | None,
        payload: dict[str, object],
        job_name: str,
        ready_at_once: bool,
        always: bool = False,
    ) -> BatchScope:
        """Start the event of a batch in the caller's context.

        Args:
            manager: Carries the events.
            name: The batch's name.
            jobs: The runner's table of jobs.
            total: Number of jobs, or ``None`` if unknown.
            payload: Values to attach; not copied.
            job_name: The jobs' name; empty to take it from the first job.
            ready_at_once: True if all jobs could run now, so that their queue time counts from here.
            always: Make a family even if nobody listens, for a runner that needs the records itself.

        Raises:
            HandlerError: a hook failed under ``raise_handler_errors``; the event has been ended.
        """
        counts = BatchCounts(total, weakref.ref(jobs))
        route = manager.route(_JOB)
        current = manager.current
        outer = current.get()
        event, batch_route = manager.begin(_BATCH, name, payload, outer, None, None, counts)
        current.set(event)
        recorder = manager.recorder
        family: JobFamily | None = None
        starts = deliver_too = None
        binders: tuple[Guard, ...] = ()
        deliver: Callable[[Event], object] | None = None
        if recorder is not None or always or manager.active:
            trace = event.trace
            ready_ns = event.start_ns if ready_at_once else None
            base_id = random_bits(64) or new_event_id()
            family = JobFamily(event.event_id, trace, job_name, base_id, ready_ns, counts)
            trace.add_family(family)
            if recorder is not None:
                deliver = recorder.record
            if route.guards:
                try:
                    hooks, sinks = route.job_hooks(event)
                except BaseException as error:  # raise_handler_errors: nobody else will end the batch
                    trace.settle(family)
                    manager.leave((event, batch_route), outer, error)
                    raise
                binders = tuple(guard for _, guard in hooks if guard.binds_jobs)
                starts = _join(
                    [hook if guard in binders or not binders else _watched(hook) for hook, guard in hooks]
                )
                if recorder is None and sinks:
                    deliver, *sinks = sinks
                deliver_too = _join(sinks)
                route.batch_started()
        scope = cls(
            event,
            counts,
            jobs,
            job_name or name,
            family,
            starts,
            binders,
            deliver,
            deliver_too,
            manager,
            outer,
            batch_route,
            route,
        )
        if family is not None:
            manager.batch_opened(event.event_id, scope)
        return scope

    def close(self, error: BaseException | None) -> None:
        """End the batch event, and restore the caller's context."""
        manager, event, family, outer = self._manager, self.event, self.family, self._outer
        ended = self.counts.settle()
        self.jobs = _NO_JOBS  # else scope and runner would keep each other, and all results, alive
        if family is not None:
            # In this order: jobs counted in both places would look like lost ones.
            manager.batch_closed(event.event_id, ended)
            if self._job_route.takers:
                self._job_route.batch_ended(ended)
            event.trace.settle(family)
        manager.leave((event, self._batch_route), outer, error)

    def relief_s(self) -> float:
        """Return the seconds for which to start no job, as a handler's buffer is filling up; see `Emitter.relief_s`."""
        return self._manager.relief_s()

    def let_in(self) -> None:
        """Let the threads of handlers work now if it is their turn; see `Emitter.let_in`."""
        self._manager.let_in()

    def unaccounted(self, guard: Guard) -> int:
        """Return how many ended jobs of this batch `guard` should get and has not accounted for yet."""
        return self.counts.ended if guard in self._job_route.takers else 0


class _NoJobs:
    """The table of a runner that has ended."""

    started = 0

    def __len__(self) -> int:
        return 0

    def open_jobs(self, since_ns: int = 0, until_ns: int | None = None) -> list[JobEvent]:
        return []


_NO_JOBS = _NoJobs()


def _join(sinks: list[Callable[[Event], object]]) -> Callable[[Event], object] | None:
    if not sinks:
        return None
    if len(sinks) == 1:
        return sinks[0]
    every = tuple(sinks)

    def deliver_all(event: Event) -> bool:
        told = False
        for sink in every:
            if sink(event):
                told = True
        return told

    return deliver_all


def _watched(hook: Callable[[Event], object]) -> Callable[[Event], bool]:
    """Return `hook` as a function that tells whether it has set a variable of the caller's context."""

    def call(event: Event) -> bool:
        before = copy_context()
        hook(event)
        untouched, variables = get_referents(before, copy_context())
        return variables is not untouched

    return call
