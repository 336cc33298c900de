"""The fast lane: `limit` worker tasks that take jobs from the input in turns.

A job has no task of its own here: ``current_task()`` is the worker, which runs many jobs one after
the other. What a job sets in its context still reaches no other job: the worker compares its
context with a copy from before the job (identity of an immutable map, 30 ns) and, if the job left
something behind, retires in favour of a fresh worker. So does a worker whose task was cancelled.

Code of the input runs in a copy of the caller's context, and on a worker's task.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from functools import partial
from types import CoroutineType
from typing import Any, Final, cast

from spanloom.callbacks.batch import BatchScope
from spanloom.concurrency.busy import BusyMeter
from spanloom.concurrency.call import start
from spanloom.concurrency.ending import end_record
from spanloom.concurrency.sink import MISSING, Sink
from spanloom.concurrency.source import Source, name_family
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent, complete_job

__all__ = ["Workers"]

SLICE_NS: Final = 5_000_000
"""How long jobs that never wait may hold the loop, all workers together, before others get a turn."""

_cancelled: ContextVar[bool] = ContextVar("spanloom_worker_cancelled", default=False)


class _Worker(asyncio.Task[Any]):
    """A worker's task; a cancel leaves a mark in its context, where the worker will find it."""

    __slots__ = ("context",)

    context: Context

    def cancel(self, msg: Any | None = None) -> bool:
        requested = super().cancel(msg)
        if requested:
            if asyncio.current_task() is self:
                _cancelled.set(True)
            else:
                self.context.run(_cancelled.set, True)
        return requested


def _in_context(iterator: Iterator[object], context: Context) -> Iterator[object]:
    """Return an iterator over the same items whose code runs in `context`; itself it is all C."""
    return iter(partial(context.run, next, iterator), MISSING)


class Workers:
    """One run of one batch on shared workers. See `Window` for the arguments.

    Needs a synchronous input and a number of slots; the runner takes a `Window` for anything else.
    """

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_busy",
        "_call",
        "_context",
        "_current",
        "_error",
        "_limit",
        "_pairs",
        "_room",
        "_scope",
        "_sink",
        "_slots",
        "_source",
        "_started",
        "_stopping",
        "_waiter",
        "_work",
        "_workers",
    )

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        limit: int,
        call: Callable[[Any], Awaitable[Any]] | None = None,
        backlog: Callable[[], int] | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._limit = limit
        self._call = call
        self._backlog = backlog
        self._slots: list[JobEvent | None] = []
        self._workers: dict[int, _Worker] = {}
        self._started = 0
        self._stopping = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._pairs: Iterator[tuple[int, object]] = iter(())

    # for the events ---------------------------------------------------------------------------------

    @property
    def started(self) -> int:
        """Jobs taken from the input so far."""
        indexes = [record.index for record in list(self._slots) if record is not None]
        return max(self._started, max(indexes, default=-1) + 1)

    def __len__(self) -> int:
        return len(self.open_jobs())

    def open_jobs(self) -> list[JobEvent]:
        """Return the events of the jobs that are alive; safe from any thread."""
        return [record for record in list(self._slots) if record is not None and record.end_ns is None]

    # for the runner -----------------------------------------------------------------------------------

    async def run(
        self, scope: BatchScope, current: Callable[[JobEvent], object], busy: BusyMeter | None = None
    ) -> None:
        """Run all jobs; return when the last one has ended.

        Raises:
            BaseException: what ended the batch early; every started job has ended by then.
        """
        self._scope, self._current, self._busy = scope, current, busy
        self._context = context = copy_context()
        iterator = cast("Iterator[object]", self._source.sync)
        self._pairs = enumerate(iterator if self._source.quiet else _in_context(iterator, context.copy()))
        total = self._source.total
        size = self._limit if total is None else min(self._limit, total)
        self._slots = [None] * size
        self._work = self._work_body()
        cancelled: CancelledError | None = None
        try:
            for slot in range(size):
                self._hire(slot)
            while self._workers:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                except CancelledError as error:
                    cancelled = error
                    self._stopping = True
                    self._cancel_workers()
            if self._stopping:
                self._source.close_unstarted()
            if cancelled is not None:
                raise cancelled
            if self._error is not None:
                raise self._error
        finally:
            cancelled = self._error = None
            del self._work

    def stop(self, error: BaseException | None) -> None:
        """Start no more jobs and cancel those that are alive; `run` then raises `error`."""
        if not self._stopping:
            self._stopping = True
            self._error = error
            self._cancel_workers()

    def wake(self) -> None:
        """Let the workers look again, because something other than the end of a job has changed."""
        room = self._room
        if room is not None:
            self._room = None
            if not room.done():
                room.set_result(None)

    # workers ------------------------------------------------------------------------------------------

    def _hire(self, slot: int) -> None:
        context = self._context.copy()
        worker = _Worker(
            self._work(slot), loop=asyncio.get_running_loop(), name=self._scope.job_name, context=context
        )
        worker.context = context
        self._workers[slot] = worker
        worker.add_done_callback(lambda task: self._retired(slot, task))

    def _retired(self, slot: int, worker: asyncio.Task[Any]) -> None:
        """Take the end of a worker: hire another, or note what it died of."""
        del self._workers[slot]
        if worker.cancelled():
            self.stop(CancelledError())
        elif (error := worker.exception()) is not None:
            self.stop(error)
        elif worker.result() and not self._stopping:
            self._hire(slot)
        if not self._workers and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _cancel_workers(self) -> None:
        current = asyncio.current_task()
        for worker in list(self._workers.values()):
            if worker is not current:
                worker.cancel()

    async def _wait_for_room(self) -> None:
        backlog = cast("Callable[[], int]", self._backlog)
        while backlog() >= self._limit and not self._stopping:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    def _work_body(  # noqa: C901 -- the hot path: a call per step would cost more than the step
        self,
    ) -> Callable[[int], Coroutine[Any, Any, bool]]:
        pairs, slots, sink, scope, busy = self._pairs, self._slots, self._sink, self._scope, self._busy
        call, set_current, backlog = self._call, self._current, self._backlog
        values, family, starts, deliver = sink.values, scope.family, scope.starts, scope.deliver
        growing = values
        if values is not None and self._source.total is not None:
            values.extend([MISSING] * self._source.total)
            growing = None

        yield_at = monotonic_ns() + SLICE_NS
        limit = self._limit

        async def work(slot: int) -> bool:  # noqa: C901 -- see above
            """Run jobs until there are none; return True if a fresh worker should go on instead."""
            nonlocal yield_at
            now = monotonic_ns()
            record: JobEvent | None = None
            tainted = False
            before = copy_context()
            for index, item in pairs:
                if growing is not None:
                    growing.append(MISSING)
                if family is not None:
                    if not index:
                        name_family(family, item)
                    slots[slot] = record = JobEvent(family, index, now)
                    set_current(record)
                    before = copy_context()
                try:
                    if starts is not None and record is not None:
                        starts(record)
                    if call is not None:
                        value = await call(item)
                    else:
                        value = await (item if type(item) is CoroutineType else start(item))
                    if copy_context() != before:
                        tainted = True
                        if _cancelled.get():
                            await asyncio.sleep(0)  # delivers a cancel that the job did not wait for
                    now = monotonic_ns()
                    if record is not None:
                        if busy is not None:
                            busy.split(record)
                        complete_job(record, now)
                        if deliver is not None:
                            deliver(record)
                except BaseException as error:
                    self._failed(index, record, error)
                    if not isinstance(error, (Exception, CancelledError)):
                        raise
                    tainted = True
                else:
                    if values is not None:
                        values[index] = value
                    elif sink.ok(index, record, value):
                        self.stop(None)
                        break
                if tainted:
                    break
                if now > yield_at:
                    yield_at = now + SLICE_NS
                    await asyncio.sleep(0)
                if backlog is not None and backlog() >= limit:
                    await self._wait_for_room()
                    now = monotonic_ns()
            if record is not None:
                self._started = max(self._started, record.index + 1)
                slots[slot] = None
            return tainted

        return work

    def _failed(self, index: int, record: JobEvent | None, error: BaseException) -> None:
        """Take the end of a job that raised."""
        if isinstance(error, GeneratorExit):  # closed with its loop: nobody is left to be told
            return
        end_record(record, self._scope, self._busy, error)
        if isinstance(error, Exception):
            if not self._stopping and self._sink.failed(index, record, error):
                self.stop(error)
        else:
            self.stop(error)
