"""Tasks that somebody else's code starts, as the jobs of a batch.

Theory of operation. Nothing of a task is replaced or stepped. A task is started in a context whose current event is
made right before its first step, by a callback of the loop that stands before that step in the loop's line; its
done-callback ends the event. Whether the event is a job, and of which batch, may be settled until then: what
``asyncio.create_task`` has started is a job of the ``asyncio.gather`` that it is given to in the same turn of the loop.

A long module, for it is one class: where a job is, before its first step, running, in the queue or over, is what its
few containers say together.
"""

from __future__ import annotations

import sys
import threading
import weakref
from asyncio import CancelledError
from collections.abc import Callable
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from spanloom.callbacks.batch import BatchScope
from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.open_events import newest
from spanloom.concurrency.ending import end_record
from spanloom.concurrency.kinds import Kinds
from spanloom.concurrency.names import name_of
from spanloom.events import keys
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import Event, JobDetail, JobEvent, JobFamily, write_event

if TYPE_CHECKING:
    import asyncio

__all__ = ["TaskBatch", "batch_in_first_step", "error_of"]


LOOK_MASK: Final = 31
"""At the ends of jobs whose indexes have none of these bits, handlers' threads are let in."""
CHUNK: Final = 16
"""Jobs started together whose first steps count as simultaneous: some 100 us."""


class _Fresh(threading.local):
    """The batches of this thread whose jobs take their first steps in this turn of the loop, by event id."""

    def __init__(self) -> None:
        # Weak: a loop that is closed in this very turn does not call what ends it.
        self.batches: weakref.WeakValueDictionary[int, TaskBatch] = weakref.WeakValueDictionary()


_FRESH: Final = _Fresh()


def batch_in_first_step(job: JobEvent) -> TaskBatch | None:
    """Return the batch of `job`, if that is in its first step now; else ``None``."""
    return _FRESH.batches.get(job.family.batch_id)


class TaskBatch:
    """A batch whose jobs are tasks, or other work, of somebody else.

    It ends when it has been sealed and all its jobs have ended. Jobs may begin and end in any thread.

    Args:
        manager: Carries the events; it must have a listener.
        runner: Name of the function that runs it.
        first: The first job, to take a name from.
        total: How many jobs there will be, or ``None``.
        parent: The event that the batch lies under.
        fails_with_jobs: Whether the first job that fails makes the batch a failure; otherwise `seal` decides.
        limit: Most jobs that run at once; ``None`` for no bound, or none that is known.
        is_sealed: Whether the batch ends whenever none of its jobs is left.
        at_once: Whether all jobs could run from the start.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_chunk",
        "_ended",
        "_error",
        "_fails_with_jobs",
        "_is_fresh",
        "_jobs",
        "_kinds",
        "_lock",
        "_manager",
        "_noted",
        "_open",
        "_queued",
        "_reserved",
        "_scope",
        "_sealed",
        "_turn_ns",
        "_unstepped",
    )

    def __init__(
        self,
        manager: CallbackManager,
        runner: str,
        first: object,
        total: int | None,
        parent: Event | None,
        *,
        fails_with_jobs: bool = False,
        limit: int | None = None,
        is_sealed: bool = False,
        at_once: bool = False,
    ) -> None:
        name = name_of(first) or "job"
        self._manager = manager
        self._jobs = self._reserved = self._begun = self._ended = 0
        self._open: dict[int, JobEvent] = {}
        self._queued: dict[int, JobEvent] = {}
        self._sealed = is_sealed
        self._is_fresh = False
        self._noted = 0
        self._turn_ns: int | None = None
        self._chunk: list[JobEvent] | None = None
        # Chunks whose first steps are to come. Whether a job has to wait for a slot shows in that step, and those
        # before it may block the loop for long: until then it is neither open nor started.
        self._unstepped: list[list[JobEvent]] = []
        self._error: BaseException | None = None
        self._fails_with_jobs = fails_with_jobs
        self._lock = threading.Lock()
        current = manager.current
        outer = current.get()
        current.set(parent)
        try:
            self._scope = BatchScope.open(
                manager,
                name,
                self,
                total=total,
                payload={keys.RUNNER: runner, keys.LIMIT: limit},
                job_name=name,
                ready_at_once=at_once,
                always=True,
            )
        finally:
            current.set(outer)
        self._kinds = Kinds(self._family, _itself)

    @property
    def _family(self) -> JobFamily:
        family = self._scope.family
        assert family is not None  # noqa: S101 -- `always`
        return family

    # for the events ---------------------------------------------------------------------------------

    @property
    def started(self) -> int:
        return self._begun - len(self._queued) - sum(map(len, self._unstepped.copy()))

    def __len__(self) -> int:
        return self.started - self._ended

    def open_jobs(self, since_ns: int = 0, until_ns: int | None = None) -> list[JobEvent]:
        opened, queued = self._open, self._queued
        found = newest(opened, _start_of, since_ns, until_ns) if since_ns else opened.copy().values()
        return [record for record in found if record.start_ns >= since_ns and record.index not in queued]

    # for whoever starts jobs ------------------------------------------------------------------------

    @property
    def event(self) -> Event:
        """The batch's own event."""
        return self._scope.event

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._jobs < 0

    @property
    def tells_starts(self) -> bool:
        """Whether handlers are told of starts: they may set variables of the context that a job runs in."""
        return self._scope.starts is not None

    def reserve(self) -> int | None:
        """Expect one more job, and return its index: the batch does not end before it. ``None`` if it is over."""
        with self._lock:
            if self._jobs < 0:
                return None
            self._jobs += 1
            index = self._reserved
            self._reserved = index + 1
            return index

    def enter(self, context: Context, job: object, call_soon: Callable[..., object] | None) -> JobEvent:
        """Expect one more job, and start its event in the context that it will run in.

        Args:
            context: The context.
            job: To take a name from.
            call_soon: The loop's, if the job takes its first step in the next turn of that: its start is then moved
                there. ``None`` if it starts now.
        """
        kinds, now = self._kinds, monotonic_ns()
        family = self._family if type(job) is CoroutineType and job.cr_code is kinds.code else kinds.of(job)
        detail = JobDetail(ready_ns=now) if family.ready_ns is None else None
        with self._lock:
            index = self._reserved
            self._reserved = index + 1
            self._jobs += 1
            self._begun += 1
            record = JobEvent(family, index, now, None, detail)
            if call_soon is None:
                self._open[index] = record
        context.run(self._manager.current.set, record)
        if self._scope.starts is not None:
            context.run(self._scope.starts, record)
        if call_soon is not None:
            chunk = self._chunk
            if chunk is None or len(chunk) == CHUNK:
                self._chunk = chunk = []
                self._unstepped.append(chunk)
                call_soon(self._take_first_steps, chunk, call_soon)
            chunk.append(record)
        return record

    def drop(self, record: JobEvent) -> None:
        """Forget a job that could not be started."""
        with self._lock:
            if self._open.pop(record.index, None) is None:
                self._unstep(record)
            self._begun -= 1
        self._count(jobs=-1)

    def done(self, record: JobEvent, task: asyncio.Future[Any]) -> None:
        """End the event of a job that is a task; with `record` bound, its done-callback."""
        self.end(record, error_of(task))

    def id_of(self, index: int) -> int:
        """Return the event id that the job of that index has, or will have."""
        return self._family.id_at(index)

    def begin(self, index: int, job: object, ready_ns: int) -> JobEvent:
        """Start the event of a job that was expected, in the context that it runs in.

        Args:
            index: What `reserve` returned.
            job: To take a name from.
            ready_ns: Since when it could have run.
        """
        family = self._kinds.of(job)
        detail = JobDetail(ready_ns=ready_ns)
        record = JobEvent(family, index, monotonic_ns(), None, detail)
        with self._lock:
            self._open[index] = record
            self._begun += 1
        self._manager.current.set(record)
        if self._scope.starts is not None:
            self._scope.starts(record)
        return record

    def end(self, record: JobEvent, error: BaseException | None) -> None:
        """End the event of a job; the last one ends the batch if that is sealed.

        Args:
            record: What `begin` has returned.
            error: What ended the job.
        """
        if self._open.pop(record.index, None) is None and not self._unstep(record):
            return
        # A task is done before the turn of the loop that says so: before the jobs that have got their slots in that.
        ended_ns = monotonic_ns() if self._turn_ns is None else self._turn_ns
        if self._queued.pop(record.index, None) is not None:  # it has never had its slot
            write_event(record, "start_ns", ended_ns)
        scope = self._scope
        if error is not None:
            if self._fails_with_jobs and self._error is None and not isinstance(error, CancelledError):
                self._error = error
            end_record(record, scope, None, error, ended_ns=ended_ns)
        else:
            write_event(record, "end_ns", ended_ns)
            if scope.deliver is not None:
                scope.deliver(record)
            if scope.deliver_too is not None:
                scope.deliver_too(record)
        self._count(ended=1)
        if not record.index & LOOK_MASK:
            scope.let_in()

    def _unstep(self, record: JobEvent) -> bool:
        """Forget that a job's first step is to come; return whether it was."""
        for chunk in self._unstepped:
            for at, other in enumerate(chunk):
                if other is record:
                    del chunk[at]
                    return True
        return False

    def never_began(self) -> None:
        """Expect one job less: one that was reserved and has not begun."""
        self._count(jobs=-1)

    def seal(self, error: BaseException | None = None) -> None:
        """Say that no more jobs will be expected.

        Args:
            error: What ended the call that runs the batch.
        """
        if not self._sealed:
            self._error = self._error or error
            self._sealed = True
            self._count()

    def _count(self, jobs: int = 0, ended: int = 0) -> None:
        """Count, and end the batch if that was the last."""
        with self._lock:
            self._jobs += jobs
            self._ended += ended
            if not self._sealed or self._ended != self._jobs or self._begun != self._jobs:
                return
            self._scope.counts.total = self._jobs
            self._jobs = -1
        error, self._error = self._error, None
        self._scope.close(error)

    def __del__(self) -> None:
        """End the batch and its open jobs: the loop was dropped or closed with their tasks in it."""
        if sys.is_finalizing() or getattr(self, "_kinds", None) is None or self._jobs < 0:
            return  # it has never begun, or has ended
        with self._lock:
            self._jobs = self._begun  # jobs that were only expected will not come any more
            for chunk in self._unstepped:
                self._open.update((record.index, record) for record in chunk)
            self._unstepped.clear()
        for record in list(self._open.values()):
            self.end(record, CancelledError())
        self.seal(CancelledError())

    # the queue --------------------------------------------------------------------------------------

    def _take_first_steps(self, chunk: list[JobEvent], call_soon: Callable[..., object]) -> None:
        now = monotonic_ns()
        for record in chunk:
            write_event(record, "start_ns", now)
            self._open[record.index] = record
        self._unstepped.remove(chunk)
        if self._chunk is chunk:
            self._chunk = None
        self.take_first_step(call_soon)

    def take_first_step(self, call_soon: Callable[..., object]) -> None:
        """Note that a job takes its first step next, in this turn of the loop.

        What is called soon from here is called before anything that the step leads to.
        """
        if not self._is_fresh:
            self.begin_first_steps()
            call_soon(self.end_first_steps)

    def begin_first_steps(self) -> None:
        """Note that jobs take their first steps from now on."""
        self._is_fresh = True
        self._noted = self._scope.event.trace.scopes()
        _FRESH.batches[self._scope.event.event_id] = self

    def end_first_steps(self) -> None:
        """Note that they have taken them."""
        self._is_fresh = False
        _FRESH.batches.pop(self._scope.event.event_id, None)

    def wait(self, record: JobEvent) -> bool:
        """Note that a job waits for a slot in its first step: it is queued until it goes on.

        Returns:
            False if it has opened another event before: then it has started; else its start would be later than
            that of an event inside of it.
        """
        # First steps are taken one after another: what has been noted before the last wait is of no later job.
        trace, noted = record.trace, self._noted
        self._noted = trace.scopes()
        if self._noted > noted and trace.has_child(record.event_id, noted):
            return False
        self._queued[record.index] = record
        return True

    def go_on(self, record: JobEvent, call_soon: Callable[..., object]) -> None:
        """Note that a waiting job has got its slot: it starts now.

        Args:
            record: The job.
            call_soon: The loop's.
        """
        if self._queued.pop(record.index, None) is None:
            return
        now = monotonic_ns()
        write_event(record, "start_ns", now)
        if self._open.pop(record.index, None) is not None:
            self._open[record.index] = record  # behind those that started before: see `open_jobs`
        if self._turn_ns is None:
            self._turn_ns = now
            call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn_ns = None


def _start_of(record: JobEvent) -> int:
    return record.start_ns


def _itself(job: object) -> object:
    return job


def error_of(future: asyncio.Future[Any]) -> BaseException | None:
    """Return the exception of a done `future` without retrieving it.

    After ``exception()``, asyncio would no longer report that nobody has retrieved it.
    """
    if future.cancelled():
        return CancelledError()
    error: BaseException | None = getattr(future, "_exception", None)
    return error
