"""The default lane: a bounded window that pulls jobs one by one and gives each a task of its own.

Theory of operation. `run` is awaited in the caller's task, and does the caller's part there: it pulls
the input (so the user's generator runs in the task and the context of the caller), starts tasks, and
waits. A job ends in its own task, as its last step: it passes its result to the sink, leaves the
table of live jobs and wakes the pump, once per turn of the loop however many jobs end in it. Compared
with a done-callback per task this saves a handle per job, and the end is stamped when it happens, not
a turn later.

One noun, and a little long: a job's whole way stands in one function, as a call would cost more than what it does.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from types import CoroutineType
from typing import Any, ClassVar, Final, cast

from spanloom.callbacks.open_events import newest
from spanloom.concurrency import awaited_by
from spanloom.concurrency.call import start
from spanloom.concurrency.ending import end_record
from spanloom.concurrency.engine import SLICE_NS, Engine
from spanloom.concurrency.interrupt import Interrupt
from spanloom.concurrency.kinds import Kinds
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.names import name_family
from spanloom.concurrency.sink import MISSING, Sink
from spanloom.concurrency.source import Source, discard
from spanloom.concurrency.task import Job, JobTask, is_at_work, never_started, records_of, retrieve, start_of
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent, detail_of, write_event

__all__ = ["Window"]

START_SLICE_NS: Final = SLICE_NS // 2
"""Nanoseconds for which jobs are started before the loop turns: their first steps follow in the next turn."""
LOOK_MASK: Final = 31
"""The clock and the handlers' backlog are checked when none of these bits is set in the number of started jobs."""
UNTOLD_BACKLOG: Final = 100
"""Outcomes not yet taken from which on no job starts, with a limiter that has no ``size``."""


class Window(Engine):
    """An engine whose jobs have tasks of their own. See `Engine` for the other arguments.

    Args:
        limiter: Gives a slot to each job before it is started; ``None`` for none.
        chunked: Start `limit` jobs only when none is alive.
        quota: Most jobs to start; the sink may increase it. ``None`` for no bound.
    """

    __slots__ = (
        "_chunked",
        "_exhausted",
        "_foreign",
        "_kinds",
        "_limiter",
        "_spawn",
        "_started",
        "_tainted",
        "_wake_at",
        "quota",
    )

    patient: ClassVar[bool] = False
    """Whether starting a job may have to wait, whatever the arguments are."""

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
        super().__init__(source, sink, limit=limit, call=call, backlog=backlog)
        self._limiter = limiter
        self._chunked = chunked
        self.quota: int | None = quota
        self._foreign: dict[int, Job] = {}
        self._tainted: set[asyncio.Task[Any]] = set()
        self._started = 0
        self._exhausted = False
        self._wake_at = 0
        self._kinds: Kinds | None = None

    @staticmethod
    def _subject(item: Any) -> object:
        """Return the job of an item that `spawn` takes."""
        return item

    # for the events ---------------------------------------------------------------------------------

    @property
    def started(self) -> int:
        return self._started

    def __len__(self) -> int:
        return len(self._alive)

    def open_jobs(self, since_ns: int = 0, until_ns: int | None = None) -> list[JobEvent]:
        alive = self._alive
        tasks = newest(alive, start_of, since_ns, until_ns) if since_ns else alive.copy().values()
        records = records_of(tasks)
        records += [job.record for job in self._foreign.copy().values()]
        return [record for record in records if record is not None and record.end_ns is None]

    # the pump -------------------------------------------------------------------------------------------

    def stop(self, error: BaseException | None) -> None:
        self._wake_at = 0
        super().stop(error)

    def cancel_requested(self, task: JobTask) -> None:
        """Note that ``cancel`` was called on the task of a job."""
        if never_started(task):
            task.add_done_callback(lambda _: self._ended_unstarted(task.job))
        else:
            self._tainted.add(task)

    async def _work_off(self) -> None:
        loop = asyncio.get_running_loop()
        self._spawn = self._spawner(loop)
        # With an eager task factory a job may end, and end the batch, while it is being started.
        waits = self.patient or self._limiter is not None or self._source.asynchronous is not None
        slow = waits or loop.get_task_factory() is not None
        if slow:
            self._interrupt = Interrupt(cast("asyncio.Task[Any]", asyncio.current_task()))
        while not self._stopping:
            if not self._exhausted:
                if slow:
                    await self._fill_waiting()
                else:
                    # Once per round of jobs. 0 for a handler that hangs, so that it does not slow the batch.
                    relief_s = self._scope.relief_s()
                    if self._fill() or relief_s:
                        await asyncio.sleep(relief_s)
                        continue
            if self._stopping or not (self._alive or self._backlogged()):
                return
            self._wake_at = 0 if self._exhausted or self._chunked else len(self._alive)
            self._waiter = waiter = loop.create_future()  # as in _wait, inlined to save a coroutine
            try:
                await waiter
            finally:
                self._waiter = None

    def _forget(self) -> None:
        self._spawn = cast("Any", None)

    def _room(self) -> int | None:
        """Return how many jobs may start now; ``None`` for any number."""
        live = len(self._alive)
        limit = self._limit
        if self._chunked and limit is not None:
            filled = self._started % limit  # jobs of the present chunk; it may take several rounds to fill
            return 0 if live and not filled else limit - filled
        waiting = 0 if self._backlog is None else self._backlog()
        room = None if limit is None else limit - live - waiting
        if self._limiter is not None and waiting >= getattr(self._limiter, "size", UNTOLD_BACKLOG):
            return 0
        if self.quota is not None:
            left = self.quota - self._started
            room = left if room is None else min(room, left)
        return room if room is None else max(0, room)

    def _backlogged(self) -> bool:
        return not self._exhausted and self._backlog is not None and self._backlog() > 0

    def _fill(self) -> bool:
        """Start as many jobs as may start; return True if time was up before."""
        room = self._room()
        if room == 0:
            return False
        spawn = self._spawn
        before = self._started
        deadline = monotonic_ns() + START_SLICE_NS
        for item in islice(cast("Any", self._source.sync), room):
            spawn(item)
            if not self._started & LOOK_MASK and monotonic_ns() > deadline:
                return True
        if room is None or self._started - before < room:
            self._exhausted = True
        return False

    async def _fill_waiting(self) -> None:
        """Start as many jobs as may start, waiting for items and slots if need be.

        The item first. To take a slot only to find no item would waste a start of a rate limiter, or
        wait for slots whose holders wait for the end of this batch.
        """
        limiter = self._limiter
        source = self._source
        wait = cast("Any", self._interrupt).wait
        deadline = monotonic_ns() + SLICE_NS
        while not self._stopping and self._room() != 0:
            ready_ns: int | None = None
            try:
                if source.asynchronous is not None:
                    item = await wait(anext(source.asynchronous))
                    ready_ns = monotonic_ns()
                else:
                    item = next(cast("Any", source.sync))
            except (StopIteration, StopAsyncIteration):
                self._exhausted = True
                return
            if self._stopping:  # we got an item although we interrupted the wait
                discard(item, self._adopt)
                return
            try:
                if limiter is not None and not limiter.try_acquire():
                    await wait(limiter.acquire())
            except BaseException:
                discard(item, self._adopt)
                raise
            if limiter is not None and self._stopping:  # the same, with a limiter that swallows a cancel
                limiter.release()
                discard(item, self._adopt)
                return
            self._spawn(item, ready_ns)
            relief_s = 0.0 if self._started & LOOK_MASK else self._scope.relief_s()
            # A limiter or an async iterator may never suspend, so let the loop turn.
            if relief_s or monotonic_ns() > deadline:
                await asyncio.sleep(relief_s)
                deadline = monotonic_ns() + SLICE_NS

    # jobs -----------------------------------------------------------------------------------------------

    def _spawner(self, loop: asyncio.AbstractEventLoop) -> Callable[..., None]:
        """Return the function that starts one job, with all constants bound."""
        live, family, values = self._alive, self._scope.family, self._sink.values
        name = self._scope.job_name
        run_job = self._job_body()
        kinds = self._kinds = (
            None if family is None or not self._source.jobs else Kinds(family, self._subject)
        )
        tell = awaited_by.TELL
        factory = loop.get_task_factory()
        if factory is not None:  # makes `_tainted` truthy, so that each job checks for a cancel at its end
            self._tainted.add(cast("asyncio.Task[Any]", asyncio.current_task()))

        def spawn(item: object, ready_ns: int | None = None) -> None:
            index = self._started
            if not index and family is not None:
                name_family(family, item)
            if values is not None:
                values.append(MISSING)
            own = family
            if kinds is not None and not (type(item) is CoroutineType and item.cr_code is kinds.code):
                own = kinds.of(item)
            job = Job(self, index, item, ready_ns, own)
            if factory is not None:
                self._spawn_by_factory(loop, run_job(job), job)
                return
            live[index] = task = JobTask(
                run_job(job), loop=loop, name=name if own is None or own is family else own.name
            )
            task.job = job
            if tell is not None:
                tell(task, self._caller)
            self._started = index + 1  # after `live`: else another thread could take the job for ended

        return spawn

    def _spawn_by_factory(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], job: Job
    ) -> None:
        """Start a job by the loop's task factory, which may be eager or make tasks of another class."""
        self._alive[job.index] = None
        self._foreign[job.index] = job
        self._started = job.index + 1
        try:
            family = job.family
            task = loop.create_task(coroutine, name=self._scope.job_name if family is None else family.name)
        except BaseException:
            coroutine.close()
            self._ended_unstarted(job)
            raise
        if job.index in self._alive:
            self._alive[job.index] = task
            if awaited_by.TELL is not None:
                awaited_by.TELL(task, self._caller)
            if self._busy is not None and job.record is not None:  # its first step ran within ours
                self._busy.split(job.record)
            task.add_done_callback(lambda _: self._ended_unstarted(job))
        else:  # an eager task has ended already
            del self._foreign[job.index]

    def _job_body(  # noqa: C901 -- the hot path: a call per step would cost more than the step
        self,
    ) -> Callable[[Job], Coroutine[Any, Any, Any]]:
        live, sink, scope, limiter, busy = self._alive, self._sink, self._scope, self._limiter, self._busy
        call, set_current, tainted = self._call, self._current, self._tainted
        values, starts = sink.values, scope.starts
        deliver, deliver_too = scope.deliver, scope.deliver_too
        untell = awaited_by.UNTELL

        async def run_job(job: Job) -> Any:  # noqa: C901 -- see above
            index = job.index
            record: JobEvent | None = None
            try:
                family = job.family
                if family is not None:
                    job.record = record = JobEvent(family, index, monotonic_ns())
                    set_current(record)
                    if job.ready_ns is not None:
                        detail_of(record).ready_ns = job.ready_ns
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
                    write_event(record, "end_ns", monotonic_ns())
                    if deliver is not None:
                        deliver(record)
                    if deliver_too is not None:
                        deliver_too(record)
            except BaseException as error:
                self._failed(index, record, error)
                raise
            if values is not None:
                values[index] = value
            elif sink.ok(index, record, value):
                self.stop(None)
            task = live.pop(index)
            if untell is not None and task is not None:
                untell(task, self._caller)
            if limiter is not None:
                limiter.release()
            if self._waiter is not None and len(live) <= self._wake_at:
                self.wake()
            return value

        return run_job

    async def _heed_cancel(self) -> None:
        """Deliver a cancel that was requested while the job ran its last step, as an ordinary task would."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        if task in self._tainted:
            self._tainted.discard(task)
            await asyncio.sleep(0)
        elif type(task) is not JobTask and task.cancelling():  # other task classes do not tell us
            await asyncio.sleep(0)

    def _failed(self, index: int, record: JobEvent | None, error: BaseException) -> None:
        """End a job that raised."""
        harm = end_record(record, self._scope, self._busy, error)
        kind = type(error)  # not isinstance(): that asks the exception for its class, which may raise
        if issubclass(kind, GeneratorExit) and not is_at_work(self._alive.get(index)):
            self._waiter = None  # closed, perhaps with its loop: no task is left to wake
            self._leave(index)
            return
        task = asyncio.current_task()
        if harm is not None:
            self.stop(harm)
        elif issubclass(kind, CancelledError):
            self.stop(error)  # cancelled by itself or by other code; if it was us, this has no effect
        elif not isinstance(error, Exception):
            self.stop(error)
        elif self._stopping:
            self._sink.late(error)
        elif self._sink.failed(index, record, error):
            self.stop(error)
        if task is not None:
            if not issubclass(kind, CancelledError):
                task.add_done_callback(retrieve)
            self._tainted.discard(task)
        self._leave(index)

    def _leave(self, index: int) -> None:
        task = self._alive.pop(index, None)
        if awaited_by.UNTELL is not None and task is not None:
            awaited_by.UNTELL(task, self._caller)
        if self._limiter is not None:
            self._limiter.release()
        if self._waiter is not None and len(self._alive) <= self._wake_at:
            self.wake()

    def _ended_unstarted(self, job: Job) -> None:
        """End a job whose task was cancelled before its first step."""
        self._foreign.pop(job.index, None)
        if job.index not in self._alive:
            return
        scope = self._scope
        error = CancelledError()
        if scope.family is not None:
            job.record = JobEvent(job.family or scope.family, job.index, monotonic_ns())
        harm = end_record(job.record, scope, None, error, start=True)
        self.stop(error if harm is None else harm)
        discard(job.item, self._adopt)
        self._leave(job.index)
