"""The engine: a bounded window that pulls jobs one by one and gives each a task of its own.

Theory of operation. `run` is awaited by the runner's caller, and whatever is the caller's is done
there: pulling the input (so the user's generator runs in the task and the context of who called),
starting tasks, and waiting. A job ends in its own task, as the last thing it does: it hands its
result to the sink, leaves the table of live jobs and wakes the pump, once per turn of the loop
however many jobs end in it. Compared with a done-callback per task this saves a handle per job,
and the end is stamped when it happens, not a turn later.

Rules.
1. Whatever ends the batch early (a failure that counts, a cancel from outside, an exception of the
   input) cancels the live jobs and waits for all of them before it is raised.
2. A cancel from outside is always raised, even when it arrives while siblings are waited for.
3. The pump holds the loop for at most `SLICE_NS` at a time.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from types import CoroutineType
from typing import Any, Final, cast

from spanloom.callbacks.batch import BatchScope
from spanloom.concurrency.busy import BusyMeter
from spanloom.concurrency.call import start
from spanloom.concurrency.ending import end_record
from spanloom.concurrency.interrupt import Interrupt
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.sink import MISSING, Sink
from spanloom.concurrency.source import Source, name_family
from spanloom.concurrency.task import Job, JobTask, never_started, retrieve
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent, complete_job

__all__ = ["Window"]

SLICE_NS: Final = 5_000_000
"""How long the pump starts jobs before it lets others run: half of the 10 ms that we promise."""


class Window:
    """One run of one batch. Made by a runner, awaited once.

    Args:
        source: The input.
        sink: Takes each job's end and decides which failures end the batch.
        limit: Most jobs alive at once; ``None`` for no bound.
        call: Makes the awaitable of an item, inside the job's task; ``None`` if the item is the job.
        limiter: Gives a slot to each job before it is pulled; ``None`` for none.
        chunked: Start `limit` jobs only when none is alive.
        quota: Most jobs to start; raised by the sink. ``None`` for no bound.
        backlog: Number of results that nobody has taken yet; they count against `limit`.
    """

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_busy",
        "_call",
        "_chunked",
        "_current",
        "_error",
        "_exhausted",
        "_foreign",
        "_interrupt",
        "_limit",
        "_limiter",
        "_live",
        "_scope",
        "_sink",
        "_source",
        "_spawn",
        "_started",
        "_stopping",
        "_tainted",
        "_waiter",
        "_wake_at",
        "quota",
    )

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        limit: int | None,
        call: Callable[[Any], Awaitable[Any]] | None = None,
        limiter: Limiter | None = None,
        chunked: bool = False,
        quota: int | None = None,
        backlog: Callable[[], int] | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._limit = limit
        self._call = call
        self._limiter = limiter
        self._chunked = chunked
        self._backlog = backlog
        self.quota: int | None = quota
        self._scope: BatchScope = cast("BatchScope", None)  # given to run()
        self._current: Callable[[JobEvent], object] = cast("Any", None)  # given to run()
        self._busy: BusyMeter | None = None
        self._live: dict[int, asyncio.Task[Any] | None] = {}
        self._foreign: dict[int, Job] = {}
        self._tainted: set[JobTask] = set()
        self._started = 0
        self._exhausted = False
        self._stopping = False
        self._error: BaseException | None = None
        self._interrupt: Interrupt | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wake_at = 0

    # for the events ---------------------------------------------------------------------------------

    @property
    def started(self) -> int:
        """Jobs taken from the input so far."""
        return self._started

    def __len__(self) -> int:
        return len(self._live)

    def open_jobs(self) -> list[JobEvent]:
        """Return the events of the jobs that are alive; safe from any thread."""
        tasks = self._live.copy().values()
        jobs = [task.job for task in tasks if type(task) is JobTask and hasattr(task, "job")]
        records = [job.record for job in (*jobs, *self._foreign.copy().values())]
        return [record for record in records if record is not None and record.end_ns is None]

    # for the runner -----------------------------------------------------------------------------------

    async def run(
        self, scope: BatchScope, current: Callable[[JobEvent], object], busy: BusyMeter | None = None
    ) -> None:
        """Run all jobs; return when the last one has ended.

        Args:
            scope: The batch's events.
            current: Sets the current event of a job's context.
            busy: Measures busy time; ``None`` unless deep timing is on.

        Raises:
            BaseException: what ended the batch early; every started job has ended by then.
        """
        self._scope, self._current, self._busy = scope, current, busy
        self._spawn = self._spawner(asyncio.get_running_loop())
        owner = asyncio.current_task()
        if owner is None:
            raise RuntimeError("spanloom's runners must be awaited in a task of a running event loop")
        self._interrupt = interrupt = Interrupt(owner)
        error: BaseException | None = None
        try:
            try:
                await self._pump()
            except BaseException as raised:  # noqa: BLE001 -- raised below, when all jobs have ended
                error = raised
                if self._stopping and not interrupt.fired:
                    self._cancel_live()  # from outside, while siblings ended: passed on like any later one
            if error is not None or self._stopping:
                self.stop(None)
            cancelled = await self._join() if self._live else None
            error = await interrupt.undo(error)
            if self._stopping:
                self._source.close_unstarted()
            if cancelled is not None:
                raise cancelled
            if error is not None:
                raise error
            if self._error is not None:
                raise self._error
        finally:
            # A frame that holds an exception which holds the frame keeps all locals alive.
            error = cancelled = self._error = None
            del self._spawn

    def stop(self, error: BaseException | None) -> None:
        """Start no more jobs and cancel those that are alive; `run` then raises `error`."""
        if self._stopping:
            return
        self._stopping = True
        self._error = error
        self._wake_at = 0
        self._cancel_live()
        if self._interrupt is not None:
            self._interrupt.fire()

    def wake(self) -> None:
        """Let the pump look again, because something other than the end of a job has changed."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def cancel_requested(self, task: JobTask) -> None:
        """Take note that someone has cancelled the task of a job."""
        if never_started(task):
            task.add_done_callback(lambda _: self._ended_unstarted(task.job))
        else:
            self._tainted.add(task)

    # the pump -------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        # A task factory may be eager: a job then ends, and may end the batch, where it is started.
        waits = self._limiter is not None or self._source.asynchronous is not None
        slow = waits or loop.get_task_factory() is not None
        while not self._stopping:
            if not self._exhausted:
                if slow:
                    await self._fill_waiting()
                elif self._fill():
                    await asyncio.sleep(0)
                    continue
            if self._stopping or not (self._live or self._backlogged()):
                return
            self._wake_at = 0 if self._exhausted or self._chunked else len(self._live)
            await self._wait(loop)

    def _room(self) -> int | None:
        """Return how many jobs may start now; ``None`` for any number."""
        live = len(self._live)
        limit = self._limit
        if self._chunked and limit is not None:
            filled = self._started % limit  # of the present chunk; it may take several rounds to fill
            return 0 if live and not filled else limit - filled
        room = None if limit is None else limit - live
        if room is not None and self._backlog is not None:
            room -= self._backlog()
        if self.quota is not None:
            left = self.quota - self._started
            room = left if room is None else min(room, left)
        return room if room is None else max(0, room)

    def _backlogged(self) -> bool:
        return not self._exhausted and self._backlog is not None and self._backlog() > 0

    def _fill(self) -> bool:
        """Start as many jobs as may start; return True if time was up before that."""
        room = self._room()
        if room == 0:
            if self.quota is not None and self._started >= self.quota:
                self._exhausted = not self._live
            return False
        spawn = self._spawn
        before = self._started
        deadline = monotonic_ns() + SLICE_NS
        for item in islice(cast("Any", self._source.sync), room):
            spawn(item)
            if not self._started & 31 and monotonic_ns() > deadline:
                return True
        if room is None or self._started - before < room:
            self._exhausted = True
        return False

    async def _fill_waiting(self) -> None:
        """Start as many jobs as may start, where a slot or an item has to be waited for."""
        limiter = self._limiter
        source = self._source
        wait = cast("Interrupt", self._interrupt).wait
        deadline = monotonic_ns() + SLICE_NS
        while not self._stopping and self._room() != 0:
            if limiter is not None and not limiter.try_acquire():
                await wait(limiter.acquire())
            try:
                if source.asynchronous is not None:
                    item = await wait(anext(source.asynchronous))
                else:
                    item = next(cast("Any", source.sync))
            except BaseException as error:
                if limiter is not None:
                    limiter.release()
                if isinstance(error, (StopIteration, StopAsyncIteration)):
                    self._exhausted = True
                    return
                raise
            if self._stopping:  # the input had an item for us although we interrupted it
                if limiter is not None:
                    limiter.release()
                if asyncio.iscoroutine(item):
                    item.close()
                return
            self._spawn(item)
            if monotonic_ns() > deadline:  # neither a limiter nor an async iterator has to suspend
                await asyncio.sleep(0)
                deadline = monotonic_ns() + SLICE_NS

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiter = waiter = loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    async def _join(self) -> CancelledError | None:
        """Wait until no job is alive; pass every cancel from outside on, and return the last."""
        cancelled: CancelledError | None = None
        loop = asyncio.get_running_loop()
        self._wake_at = 0
        while self._live:
            try:
                await self._wait(loop)
            except CancelledError as error:
                cancelled = error
                self._cancel_live()
        return cancelled

    def _cancel_live(self) -> None:
        current = asyncio.current_task()
        for task in list(self._live.values()):
            if task is not None and task is not current:
                task.cancel()

    # jobs -----------------------------------------------------------------------------------------------

    def _spawner(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        """Return the function that starts one job; everything constant is bound in it."""
        live, family, values = self._live, self._scope.family, self._sink.values
        name = self._scope.job_name
        run_job = self._job_body()
        factory = loop.get_task_factory()
        if factory is not None:  # never empty then, so that each job looks for a cancel at its end
            self._tainted.add(cast("JobTask", asyncio.current_task()))

        def spawn(item: object) -> None:
            index = self._started
            if not index and family is not None:
                name_family(family, item)
            self._started = index + 1
            if values is not None:
                values.append(MISSING)
            job = Job(self, index, item)
            if factory is not None:
                self._spawn_by_factory(loop, run_job(job), job)
                return
            live[index] = task = JobTask(run_job(job), loop=loop, name=name)
            task.job = job

        return spawn

    def _spawn_by_factory(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], job: Job
    ) -> None:
        """Start a job by the loop's task factory, which may be eager or make tasks of another class."""
        self._live[job.index] = None
        self._foreign[job.index] = job
        task = loop.create_task(coroutine, name=self._scope.job_name)
        if job.index in self._live:
            self._live[job.index] = task
            task.add_done_callback(lambda _: self._ended_unstarted(job))
        else:  # an eager task has ended already
            del self._foreign[job.index]

    def _job_body(  # noqa: C901 -- the hot path: a call per step would cost more than the step
        self,
    ) -> Callable[[Job], Coroutine[Any, Any, Any]]:
        live, sink, scope, limiter, busy = self._live, self._sink, self._scope, self._limiter, self._busy
        call, set_current, tainted = self._call, self._current, self._tainted
        values, family, starts, deliver = sink.values, scope.family, scope.starts, scope.deliver

        async def run_job(job: Job) -> Any:  # noqa: C901 -- see above
            index = job.index
            record: JobEvent | None = None
            try:
                if family is not None:
                    job.record = record = JobEvent(family, index, monotonic_ns())
                    set_current(record)
                    if busy is not None:
                        busy.begin(record)
                    if starts is not None:
                        starts(record)
                item = job.item
                if call is not None:
                    value = await call(item)
                else:
                    value = await (item if type(item) is CoroutineType else start(item))
                if tainted:
                    await self._heed_cancel()
                if record is not None:
                    if busy is not None:
                        busy.split(record)
                    complete_job(record, monotonic_ns())
                    if deliver is not None:
                        deliver(record)
            except BaseException as error:
                self._failed(index, record, error)
                raise
            if values is not None:
                values[index] = value
            elif sink.ok(index, record, value):
                self.stop(None)
            del live[index]
            if limiter is not None:
                limiter.release()
            if self._waiter is not None and len(live) <= self._wake_at:
                self.wake()
            return value

        return run_job

    async def _heed_cancel(self) -> None:
        """Have a cancel delivered that the job asked for but did not wait for, as its task would."""
        task = cast("JobTask", asyncio.current_task())
        if task in self._tainted:
            self._tainted.discard(task)
            await asyncio.sleep(0)
        elif type(task) is not JobTask and task.cancelling():  # we did not hear of it
            await asyncio.sleep(0)

    def _failed(self, index: int, record: JobEvent | None, error: BaseException) -> None:
        """Take the end of a job that raised."""
        if isinstance(error, GeneratorExit):  # closed with its loop: nobody is left to be told
            self._live.pop(index, None)
            return
        scope = self._scope
        end_record(record, scope, self._busy, error)
        task = asyncio.current_task()
        if isinstance(error, CancelledError):
            self.stop(error)  # by itself or by a stranger; when it was us, this changes nothing
        else:
            if task is not None:
                task.add_done_callback(retrieve)
            if not isinstance(error, Exception) or (
                not self._stopping and self._sink.failed(index, record, error)
            ):
                self.stop(error)
        if task is not None and self._tainted:
            self._tainted.discard(cast("JobTask", task))
        self._leave(index)

    def _leave(self, index: int) -> None:
        self._live.pop(index, None)
        if self._limiter is not None:
            self._limiter.release()
        if self._waiter is not None and len(self._live) <= self._wake_at:
            self.wake()

    def _ended_unstarted(self, job: Job) -> None:
        """Take the end of a job whose task was cancelled before its first step."""
        self._foreign.pop(job.index, None)
        if job.index not in self._live:
            return
        if asyncio.iscoroutine(job.item):
            job.item.close()
        scope = self._scope
        if scope.family is not None:
            job.record = JobEvent(scope.family, job.index, monotonic_ns())
            if scope.starts is not None:
                scope.starts(job.record)
        error = CancelledError()
        end_record(job.record, scope, None, error)
        self.stop(error)
        self._leave(job.index)
