"""The fast lane: `limit` worker tasks that take jobs from the input in turns.

A job has no task of its own here: ``current_task()`` is the worker, which runs many jobs one after
the other. What a job sets in its context still reaches no other job: if a job has left something
behind in the context of its worker, that retires in favour of a fresh one. So does a worker whose
task was cancelled.

How a worker knows: a context keeps its variables in an immutable map, which a set replaces. The map
is all that a copied `Context` refers to, so ``gc.get_referents`` returns the map itself, and while
it is the same one nothing was set (tests/concurrency/test_workers.py holds this to be so). Else the
values are compared one by one, by identity: equality of contexts would run code of the user's, and
take a list for an equal other list.

Code of the input runs in a copy of the caller's context, and on a worker's task.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from functools import partial
from gc import get_referents
from types import CoroutineType
from typing import Any, Final, cast

from spanloom.concurrency.call import start
from spanloom.concurrency.ending import end_record
from spanloom.concurrency.engine import SLICE_NS, Engine
from spanloom.concurrency.sink import MISSING, Sink
from spanloom.concurrency.source import Source, name_family
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent, complete_job

__all__ = ["Workers"]

PREPARED: Final = 100_000
"""Longest list of results that is made beforehand: 1 ms."""

_cancelled: ContextVar[bool] = ContextVar("spanloom_worker_cancelled", default=False)


class _Worker(asyncio.Task[Any]):
    """A worker's task; a cancel leaves a mark in its context, where the worker will find it."""

    __slots__ = ("context",)

    context: Context

    def cancel(self, msg: Any | None = None) -> bool:
        requested = super().cancel(msg)
        if requested:
            try:
                self.context.run(_cancelled.set, True)
            except RuntimeError:  # entered: we are called from within one of its own steps
                _cancelled.set(True)
        return requested


def _differ(before: Context, after: Context) -> bool:
    """Tell whether a variable is bound to another object than before: a set that was undone is none."""
    return len(before) != len(after) or any(
        after.get(key, MISSING) is not value for key, value in before.items()
    )


def _in_context(iterator: Iterator[object], context: Context) -> Iterator[object]:
    """Return an iterator over the same items whose code runs in `context`; itself it is all C."""
    return iter(partial(context.run, next, iterator), MISSING)


class Workers(Engine):
    """An engine whose jobs share tasks. See `Engine` for the arguments.

    Needs a synchronous input and a number of slots; the runner takes a `Window` for anything else.
    """

    __slots__ = ("_context", "_pairs", "_room", "_slots", "_started", "_work")

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        limit: int,
        call: Callable[[Any], Awaitable[Any]] | None = None,
        backlog: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(source, sink, limit=limit, call=call, backlog=backlog)
        self._slots: list[JobEvent | None] = [None] * limit
        self._started = 0
        self._room: asyncio.Future[None] | None = None
        self._pairs: Iterator[tuple[int, object]] = iter(())

    # for the events ---------------------------------------------------------------------------------

    @property
    def started(self) -> int:
        indexes = [record.index for record in list(self._slots) if record is not None]
        return max(self._started, max(indexes, default=-1) + 1)

    def __len__(self) -> int:
        return len(self.open_jobs())

    def open_jobs(self) -> list[JobEvent]:
        return [record for record in list(self._slots) if record is not None and record.end_ns is None]

    # workers ------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Let `run` and the workers that wait for room look again."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        super().wake()

    async def _work_off(self) -> None:
        self._context = context = copy_context()
        iterator = cast("Iterator[object]", self._source.sync)
        self._pairs = enumerate(iterator if self._source.quiet else _in_context(iterator, context.copy()))
        self._work = self._work_body()
        total = self._source.total if self._source.fixed else None
        for slot in range(len(self._slots) if total is None else min(len(self._slots), total)):
            if not self._stopping:
                self._hire(slot)
        while self._alive and not self._stopping:
            await self._wait()

    def _forget(self) -> None:
        self._work = cast("Any", None)

    def _hire(self, slot: int) -> None:
        context = self._context.copy()
        worker = _Worker(
            self._work(slot), loop=asyncio.get_running_loop(), name=self._scope.job_name, context=context
        )
        worker.context = context
        self._alive[slot] = worker
        worker.add_done_callback(lambda task: self._retired(slot, task))

    def _retired(self, slot: int, worker: asyncio.Task[Any]) -> None:
        """Take the end of a worker: hire another, or note what it died of."""
        del self._alive[slot]
        if worker.cancelled():
            self.stop(CancelledError())
        elif (error := worker.exception()) is not None:
            self.stop(error)
        elif worker.result() and not self._stopping:
            self._hire(slot)
        if not self._alive:
            self.wake()

    async def _wait_for_room(self) -> None:
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._room)

    def _work_body(  # noqa: C901 -- the hot path: a call per step would cost more than the step
        self,
    ) -> Callable[[int], Coroutine[Any, Any, bool]]:
        pairs, slots, sink, scope, busy = self._pairs, self._slots, self._sink, self._scope, self._busy
        call, set_current, backlog = self._call, self._current, self._backlog
        values, family, starts, deliver = sink.values, scope.family, scope.starts, scope.deliver
        growing, limit, quiet = values, len(self._slots), self._source.quiet
        if values is not None and self._source.fixed and cast("int", self._source.total) <= PREPARED:
            values.extend([MISSING] * cast("int", self._source.total))
            growing = None
        yield_at = monotonic_ns() + SLICE_NS
        alive = 0

        async def work(slot: int) -> bool:  # noqa: C901 -- see above
            """Run jobs until there are none; return True if a fresh worker should go on instead."""
            nonlocal yield_at, alive
            while backlog is not None and backlog() + alive >= limit:
                await self._wait_for_room()
            now = monotonic_ns()
            record: JobEvent | None = None
            tainted = False
            before = copy_context()
            for index, item in pairs:
                if growing is not None:
                    growing.append(MISSING)
                if family is not None:
                    if not quiet:
                        now = monotonic_ns()  # the pull was not the job's
                    if not index:
                        name_family(family, item)
                    slots[slot] = record = JobEvent(family, index, now)
                    set_current(record)
                    before = copy_context()
                if backlog is not None:
                    alive += 1
                try:
                    if starts is not None and record is not None:
                        starts(record)
                    if call is not None:
                        value = await call(item)
                    else:
                        value = await (item if type(item) is CoroutineType else start(item))
                    after = copy_context()
                    was, is_now = get_referents(before, after)
                    if was is not is_now and _differ(before, after):
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
                    alive -= 1
                    self._failed(index, record, error)
                    if not isinstance(error, (Exception, CancelledError)):
                        raise
                    tainted = True
                    break
                if values is not None:
                    values[index] = value
                else:
                    alive -= 1
                    if sink.ok(index, record, value):
                        self.stop(None)
                        break
                if tainted:
                    break
                if now > yield_at:
                    yield_at = now + SLICE_NS  # at once, or every worker of this turn would yield
                    await asyncio.sleep(0)
                    now = monotonic_ns()
                if backlog is not None and backlog() + alive >= limit:
                    while backlog() + alive >= limit:
                        await self._wait_for_room()
                    now = monotonic_ns()
            if record is not None:
                self._started = max(self._started, record.index + 1)
                slots[slot] = None
            return tainted

        return work

    def _failed(self, index: int, record: JobEvent | None, error: BaseException) -> None:
        """Take the end of a job that raised."""
        harm = end_record(record, self._scope, self._busy, error)
        if isinstance(error, GeneratorExit):  # closed, perhaps with its loop: nobody is left to be told
            return
        if harm is not None:
            self.stop(harm)
        elif not isinstance(error, Exception) or (
            not self._stopping and self._sink.failed(index, record, error)
        ):
            self.stop(error)
        if self._backlog is not None:
            self.wake()  # a failure that is skipped makes room, and no consumer will say so
