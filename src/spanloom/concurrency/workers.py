"""The fast lane: `limit` worker tasks that take jobs from the input in turns.

A job has no task of its own here: ``current_task()`` is the worker, which runs many jobs one after
the other. Still, what a job sets in its context is invisible to all other jobs: if a job has changed
the context of its worker (see `spanloom.concurrency.isolation`), a fresh worker replaces it. So it is
with a worker whose task was cancelled. Variables that a handler sets anew at the start of every job do
not count as changes, as long as it does so.

Code of the input runs in a copy of the caller's context, and in a worker's task.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from gc import get_referents
from types import CoroutineType
from typing import Any, Final, cast

from spanloom.concurrency import awaited_by
from spanloom.concurrency.call import start
from spanloom.concurrency.ending import end_record
from spanloom.concurrency.engine import Engine
from spanloom.concurrency.isolation import differ, in_context, is_quiet
from spanloom.concurrency.kinds import Kinds
from spanloom.concurrency.names import name_family
from spanloom.concurrency.pace import Pace
from spanloom.concurrency.sink import MISSING, Sink
from spanloom.concurrency.source import Source
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent, JobFamily, write_event

__all__ = ["Workers"]

PREPARED: Final = 100_000
"""Longest list of results that is allocated in advance: 1 ms."""
HIRE_SLICE: Final = 256
"""Workers started between two turns of the loop: 2 ms."""
LOOK_EVERY: Final = 32
"""Jobs after which one of the workers checks the handlers' backlog."""


class _Worker(asyncio.Task[Any]):
    """A worker's task; remembers a cancel, even one that its job takes back.

    Attributes:
        marked: Whether it was ever cancelled.
    """

    __slots__ = ("marked",)

    marked: bool

    def cancel(self, msg: Any | None = None) -> bool:
        requested = super().cancel(msg)
        if requested:
            self.marked = True
        return requested


def _itself(item: object) -> object:
    return item


class Workers(Engine):
    """An engine whose jobs share tasks. See `Engine` for the arguments.

    Needs a synchronous input and a number of slots; for anything else the runner uses a `Window`.
    """

    __slots__ = (
        "_context",
        "_exhausted",
        "_growing",
        "_kinds",
        "_pace",
        "_pairs",
        "_quiet",
        "_running",
        "_slots",
        "_started",
        "_waiting",
        "_woken",
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
        super().__init__(source, sink, limit=limit, call=call, backlog=backlog)
        self._slots: dict[int, JobEvent] = {}
        self._started = 0
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._woken = 0
        self._pairs: Iterator[tuple[int, object]] = iter(())
        self._quiet = False
        self._exhausted = False
        self._growing: list[object] | None = None
        self._pace = Pace()
        self._kinds: Kinds | None = None

    # for the events ---------------------------------------------------------------------------------

    @property
    def started(self) -> int:
        indexes = [record.index for record in self._slots.copy().values()]
        return max(self._started, max(indexes, default=-1) + 1)

    def __len__(self) -> int:
        return len(self.open_jobs())

    def open_jobs(self, since_ns: int = 0, until_ns: int | None = None) -> list[JobEvent]:
        slots = self._slots.copy().values()
        return [record for record in slots if record.start_ns >= since_ns and record.end_ns is None]

    # workers ------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Wake `run`, and as many of the workers that wait for room as there is room for."""
        waiting, backlog = self._waiting, self._backlog
        if waiting and backlog is not None:
            room = cast("int", self._limit) - self._running - self._woken - backlog()
            while waiting and room > 0:
                waiter = waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    self._woken += 1
                    room -= 1
        super().wake()

    async def _work_off(self) -> None:
        self._context = context = copy_context()
        source, values, family = self._source, self._sink.values, self._scope.family
        if family is not None and source.jobs:
            self._kinds = Kinds(family, _itself)
        iterator = cast("Iterator[object]", source.sync)
        self._quiet = source.quiet or is_quiet(iterator)
        self._pairs = enumerate(iterator if self._quiet else in_context(iterator, context.copy()))
        total = cast("int", source.total) if source.fixed else None
        self._growing = values
        if values is not None and total is not None and total <= PREPARED:
            values.extend([MISSING] * total)
            self._growing = None
        limit = cast("int", self._limit)
        for slot in range(limit if total is None else min(limit, total)):
            if slot and slot % HIRE_SLICE == 0:
                await asyncio.sleep(0)  # lets the workers so far run, which may exhaust the input
            if self._stopping or self._exhausted:
                break
            self._hire(slot)
        while self._alive and not self._stopping:
            await self._wait()

    def _hire(self, slot: int) -> None:
        context = self._context.copy()
        work = self._work_unheard(slot) if self._scope.family is None else self._work(slot)
        worker = _Worker(work, loop=asyncio.get_running_loop(), name=self._scope.job_name, context=context)
        worker.marked = False
        self._alive[slot] = worker
        if awaited_by.TELL is not None:
            awaited_by.TELL(worker, self._caller)
        worker.add_done_callback(lambda task: self._retired(slot, task))

    def _retired(self, slot: int, worker: asyncio.Task[Any]) -> None:
        """Handle the end of a worker: start a fresh one if it asks for that, or stop the batch if it raised."""
        del self._alive[slot]
        if awaited_by.UNTELL is not None:
            awaited_by.UNTELL(worker, self._caller)
        if worker.cancelled():
            self.stop(CancelledError())
        elif (error := worker.exception()) is not None:
            self.stop(error)
        elif worker.result() and not self._stopping:
            self._hire(slot)
        if not self._alive:
            self.wake()

    # the hot path: a call per step would cost more than the step, and so would a variable of an outer scope

    async def _work_unheard(self, slot: int) -> bool:  # noqa: C901 -- see above
        """Run jobs without events, with all results kept, until there are none.

        Returns:
            True if a fresh worker should go on.
        """
        call, pace, growing = self._call, self._pace, self._growing
        values = cast("list[object]", self._sink.values)
        worker = cast("_Worker", asyncio.current_task())
        if self._stopping:
            return False
        before = copy_context()
        (untouched,) = get_referents(before)
        tainted = False
        for index, item in self._pairs:
            if growing is not None:
                growing.append(MISSING)
            try:
                if call is not None:
                    value = await call(item)
                else:
                    value = await (item if type(item) is CoroutineType else start(item))
                if worker.marked:
                    tainted = True
                    await asyncio.sleep(0)  # delivers a cancel that the job did not wait for
                (variables,) = get_referents(copy_context())
                if variables is not untouched:
                    tainted = tainted or differ(before, copy_context())
                    untouched = variables
            except BaseException as error:
                self._failed(index, None, error)
                if not isinstance(error, (Exception, CancelledError)):
                    raise
                return True
            values[index] = value
            if tainted:
                return True
            if pace.last != slot and not pace.over:
                pace.last = slot
            elif pace.over or monotonic_ns() > pace.until_ns:
                await pace.turn()
            if self._stopping:
                return False
        self._exhausted = True
        return False

    async def _work(self, slot: int) -> bool:  # noqa: C901 -- see above
        """Run jobs with events until there are none.

        Returns:
            True if a fresh worker should go on.
        """
        call, pace, growing, quiet = self._call, self._pace, self._growing, self._quiet
        set_current, busy, backlog = self._current, self._busy, self._backlog
        sink, values, slots = self._sink, self._sink.values, self._slots
        starts, deliver, deliver_too = self._scope.starts, self._scope.deliver, self._scope.deliver_too
        binders = self._scope.binders
        family = cast("JobFamily", self._scope.family)
        kinds, own, code = self._kinds, family, None
        limit = cast("int", self._limit)
        look_at = 0
        worker = cast("_Worker", asyncio.current_task())
        if backlog is not None and backlog() + self._running >= limit:
            await self._wait_for_room(backlog)
        if self._stopping:
            return False
        now = monotonic_ns()
        record: JobEvent | None = None
        before = copy_context()
        tainted = False
        for index, item in self._pairs:
            if growing is not None:
                growing.append(MISSING)
            if not quiet:
                now = monotonic_ns()  # the pull was not the job's
            if index >= look_at:
                look_at = self._look(slot, index, item)
                now = monotonic_ns()  # nor was the wait for a handler's thread
            if kinds is not None and (type(item) is not CoroutineType or item.cr_code is not code):
                own, code = kinds.of(item), getattr(item, "cr_code", None)
            slots[slot] = record = JobEvent(own, index, now)
            set_current(record)
            if busy is not None:
                busy.begin(record)
            if not binders:
                before = copy_context()
            if backlog is not None:
                self._running += 1
            try:
                if starts is not None:
                    if starts(record):
                        tainted = True
                    if binders:
                        before = copy_context()  # ignore what this start has set: the next sets it anew
                if call is not None:
                    value = await call(item)
                else:
                    value = await (item if type(item) is CoroutineType else start(item))
                if worker.marked:
                    tainted = True
                    await asyncio.sleep(0)  # delivers a cancel that the job did not wait for
                if busy is not None:
                    busy.split(record)
                now = monotonic_ns()
                write_event(record, "end_ns", now)
                if deliver is not None:
                    deliver(record)
                if deliver_too is not None:
                    deliver_too(record)
                untouched, variables = get_referents(before, copy_context())
                if variables is not untouched and differ(before, copy_context()):
                    tainted = True
            except BaseException as error:
                self._failed(index, record, error)
                if not isinstance(error, (Exception, CancelledError)):
                    raise
                tainted = True
                break
            if values is not None:
                values[index] = value
            else:
                self._running -= 1
                if sink.ok(index, record, value):
                    self.stop(None)
                    break
            if tainted:
                break
            if pace.last != slot and not pace.over:
                pace.last = slot
            elif pace.over or now > pace.until_ns:
                await pace.turn()
                now = monotonic_ns()
            if backlog is not None and backlog() + self._running >= limit:
                await self._wait_for_room(backlog)
                now = monotonic_ns()
            if self._stopping:
                break
            for guard in binders:
                if guard.lapsed:
                    tainted = True
            if tainted:
                break
        else:
            self._exhausted = True
        if record is not None:
            self._started = max(self._started, record.index + 1)
            del slots[slot]
        return tainted

    def _look(self, slot: int, index: int, item: object) -> int:
        """Do what need not be done for every job: name the jobs after the first one, and check the handlers' backlog.

        Returns:
            The index of the job from which on this worker should look again. The workers take turns, so that together
            they look at every `LOOK_EVERY`th job.
        """
        if not index:
            name_family(cast("JobFamily", self._scope.family), item)
        self._pace.relieve(self._scope.relief_s())
        turn = LOOK_EVERY * cast("int", self._limit)
        return (index // turn + 1) * turn + slot * LOOK_EVERY

    async def _wait_for_room(self, backlog: Callable[[], int]) -> None:
        """Wait until running jobs and results that are not yet taken are fewer than the slots."""
        limit = cast("int", self._limit)
        while backlog() + self._running >= limit:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                if not waiter.cancelled():
                    self._woken -= 1

    def _failed(self, index: int, record: JobEvent | None, error: BaseException) -> None:
        """End a job that raised."""
        harm = end_record(record, self._scope, self._busy, error)
        if issubclass(type(error), GeneratorExit):  # closed, perhaps with its loop: nothing is left to stop
            return
        if harm is not None:
            self.stop(harm)
        elif not isinstance(error, Exception):
            self.stop(error)
        elif self._stopping:
            self._sink.late(error)
        elif self._sink.failed(index, record, error):
            self.stop(error)
        if self._backlog is not None:
            self._running -= 1
            self.wake()  # a skipped failure makes room, without a consumer to wake us
