"""Batches with a checkpoint: jobs whose result is stored are skipped, and a job ends only when its result is stored.

Theory of operation. The pump asks the checkpoint, for some items at a time, which of them are done. These become events
with the status ``skipped``, without a task. The others run as in any `Window`, but a job does not end before its result
is committed. Items are pulled ahead for the look-up only as far as the input does not notice: hundreds from a list;
from a generator as many as may start now, and more only while all of them turn out to be done. The keys of a list are
made before its first job starts: a duplicate must not be found only after thousands of calls.
"""

from __future__ import annotations

import asyncio
from array import array
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context, copy_context
from typing import Any, ClassVar, Final, cast

import msgspec

from spanloom.callbacks.batch import BatchScope
from spanloom.concurrency.busy import BusyMeter
from spanloom.concurrency.call import start
from spanloom.concurrency.checkpoint import ResultLog
from spanloom.concurrency.ctrl_c import watch
from spanloom.concurrency.interrupt import Interrupt
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.names import name_family
from spanloom.concurrency.outcome import Outcome
from spanloom.concurrency.sink import MISSING, ListSink, OnError
from spanloom.concurrency.source import Source, discard
from spanloom.concurrency.task import Job
from spanloom.concurrency.window import START_SLICE_NS, Window
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent, JobFamily, detail_of, write_event
from spanloom.events.types import ERROR, OK, TIMEOUT, EventStatus
from spanloom.exceptions import CheckpointCodecError

__all__ = ["ResumedSink", "ResumedWindow", "partial_outcomes"]

LOOKED_UP: Final = 500
"""Items looked up at once: 2 ms of the checkpoint's thread."""
LOOK_AHEAD_NS: Final = 2_000_000
"""Nanoseconds after the first item for which further items are gathered for one look-up."""
SKIPPED: Final = EventStatus.SKIPPED
_NOT_ENDED: Final = 0
_STATUSES: Final = (None, OK, SKIPPED, ERROR, TIMEOUT)
"""Statuses by the number that `ResumedSink` stores for a job."""


class ResumedSink(ListSink):
    """Results in input order, and how each job ended, for the outcomes that are left after Ctrl-C.

    Attributes:
        lenient: Whether the batch is ending anyway, so that a failure does not end it.
        broken: The exceptions of the checkpoint, after which it can store no more. Compared by identity: a job may
            raise the same class, from a batch inside it with a checkpoint of its own.
    """

    def __init__(self, on_error: OnError) -> None:
        super().__init__(on_error)
        self.values: list[object] | None = None
        self.lenient: bool = False
        self.broken: list[Exception] = []
        # Numbers, not the jobs' events: these have 120 bytes each, and a million of them would block the loop for 0.1 s
        # whenever the garbage collector scans them.
        self._statuses = bytearray()
        self._times = array("q")
        self._more: dict[int, tuple[int, int | None]] = {}

    def ok(self, index: int, record: JobEvent | None, value: object) -> bool:
        self._place(index, cast("JobEvent", record), value)
        return False

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        if any(error is each for each in self.broken):
            return True
        if self.lenient or self._on_error == "return":
            self._place(index, cast("JobEvent", record), error)
        return self._on_error == "raise" and not self.lenient

    def outcomes(self) -> list[Outcome[Any]]:
        """Return the outcomes of the jobs that have ended; call it once, instead of `results`."""
        found = [
            self._outcome(index, value)
            for index, value in enumerate(self._list)
            if self._statuses[index] != _NOT_ENDED
        ]
        self._list.clear()
        return found

    def _place(self, index: int, record: JobEvent, value: object) -> None:
        missing = index + 1 - len(self._list)
        if missing > 0:
            self._list.extend([MISSING] * missing)
            self._statuses.extend(bytes(missing))
            self._times.extend([0] * 2 * missing)
        self._list[index] = value
        self._statuses[index] = _STATUSES.index(record.status)
        self._times[2 * index] = record.queue_ns
        self._times[2 * index + 1] = cast("int", record.duration_ns)
        if record.attempt is not None or record.busy_ns is not None:
            self._more[index] = record.attempt or 1, record.busy_ns

    def _outcome(self, index: int, value: Any) -> Outcome[Any]:
        status = cast("str", _STATUSES[self._statuses[index]])
        is_value = status in (OK, SKIPPED)
        attempts, busy_ns = self._more.get(index, (1, None))
        return Outcome(
            index,
            value if is_value else None,
            None if is_value else value,
            status,
            attempts,
            self._times[2 * index],
            self._times[2 * index + 1],
            busy_ns,
        )


class _Ticket(msgspec.Struct, eq=False, gc=False):
    """An item that was pulled, with its key and the stored result, if there is one."""

    item: Any
    ready_ns: int | None
    key: Any = None
    stored: tuple[object] | None = None


class ResumedWindow(Window):
    """A window that runs the jobs whose results a checkpoint does not have. See `Window` for the arguments.

    Attributes:
        log: The stored results of this batch; set before `run`.
        grace_s: Seconds that running jobs may take to end after Ctrl-C; ``None`` not to handle Ctrl-C.
    """

    __slots__ = ("_ahead", "_context", "_draining", "_ended", "_keyed", "_make", "_reach", "grace_s", "log")

    patient: ClassVar[bool] = True

    def __init__(
        self,
        source: Source,
        sink: ResumedSink,
        *,
        limit: int | None,
        call: Callable[[Any], Awaitable[Any]] | None,
        limiter: Limiter | None,
    ) -> None:
        super().__init__(source, sink, limit=limit, call=self._run_and_store, limiter=limiter)
        self._make = start if call is None else call
        self._ahead: deque[_Ticket] = deque()
        self._ended = False
        self._reach = LOOKED_UP if source.quiet else 1
        self._draining = False
        # In dicts of some hundred: the garbage collector would scan a deque of a million, and block the loop meanwhile,
        # but it does not track dicts that hold only objects that it does not track.
        self._keyed: deque[dict[int, _Ticket]] | None = None
        self._context: Context = copy_context()
        self.log: ResultLog = cast("ResultLog", None)
        self.grace_s: float | None = None

    async def run(
        self, scope: BatchScope, current: Callable[[JobEvent], object], busy: BusyMeter | None = None
    ) -> None:
        self._context = copy_context()
        failure: BaseException | None = None
        with watch(self, self.grace_s) as watching:
            try:
                await super().run(scope, current, busy)
            except BaseException as error:  # noqa: BLE001 -- raised below
                failure = error
            interrupted = watching is not None and await watching.settle(failure)
        try:
            if interrupted:
                raise _interruption(scope, cast("ResumedSink", self._sink)) from failure
            if failure is not None:
                raise failure
        finally:
            failure = None

    # for Ctrl-C -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Start no more jobs; those that run may end."""
        self._draining = self._exhausted = True
        cast("ResumedSink", self._sink).lenient = True
        if self._interrupt is not None and not self._stopping:
            self._interrupt.fire()
        self.wake()

    def stop(self, error: BaseException | None) -> None:
        if not (
            self._draining and isinstance(error, CancelledError)
        ):  # a job was cancelled; the batch is ending anyway
            super().stop(error)

    # the pump ---------------------------------------------------------------------------------------------

    async def _work_off(self) -> None:
        await super()._work_off()
        if self._draining:
            self.stop(None)  # so that jobs that were not started are closed

    async def _fill_waiting(self) -> None:
        try:
            await self._fill_resumed()
        except BaseException as error:
            if not self._draining or self._stopping or not isinstance(error, CancelledError):
                raise
            if cast("Interrupt", self._interrupt).undo(error) is not None:
                raise

    async def _fill_resumed(self) -> None:
        """Start as many jobs as may start, and skip those before them that are done."""
        deadline = monotonic_ns() + START_SLICE_NS
        while not self._stopping and not self._draining and self._room() != 0:
            if not self._ahead:
                if self._ended:
                    self._exhausted = True
                    return
                await self._look_up()
                continue
            if (stored := self._ahead[0].stored) is not None:
                self._skip(self._ahead.popleft(), stored[0])
            elif not await self._start():
                return
            if monotonic_ns() > deadline:
                await asyncio.sleep(0)
                deadline = monotonic_ns() + START_SLICE_NS

    async def _start(self) -> bool:
        """Start the next job as soon as there is a slot; return False if the batch was stopped meanwhile."""
        limiter = self._limiter
        if limiter is not None and not limiter.try_acquire():
            await cast("Interrupt", self._interrupt).wait(limiter.acquire())
            if self._stopping or self._draining:  # we got a slot although we interrupted the wait
                limiter.release()
                return False
        ticket = self._ahead.popleft()
        if not self._started:
            name_family(cast("JobFamily", self._scope.family), ticket.item)
        self._spawn(ticket, ticket.ready_ns)
        return True

    async def _look_up(self) -> None:
        """Pull some items, and ask the checkpoint which of them are done."""
        source, log, ahead = self._source, self.log, self._ahead
        if self._keyed is None:
            self._keyed = deque()
            if source.quiet and source.sync is not None:
                await self._key_all(source.sync)
            if self._stopping or self._draining:
                return
        wait = cast("Interrupt", self._interrupt).wait
        # One at a time with an async input or a limiter: while we wait for either, earlier items must have started.
        room = 1 if self._limiter is not None or source.asynchronous is not None else self._room()
        wanted = LOOKED_UP if room is None else min(max(room, self._reach), LOOKED_UP)
        deadline: int | None = None
        while len(ahead) < wanted and (deadline is None or monotonic_ns() < deadline):
            if self._keyed:
                ahead.extend(self._keyed.popleft().values())
                continue
            ready_ns: int | None = None
            try:
                if source.asynchronous is not None:
                    item = await wait(anext(source.asynchronous))
                    ready_ns = monotonic_ns()
                else:
                    item = next(cast("Any", source.sync))
            except (StopIteration, StopAsyncIteration):
                self._ended = True
                break
            ticket = _Ticket(item, ready_ns)
            ahead.append(ticket)  # before its key is made, which may raise: so it will be closed
            ticket.key = log.key_of(item)
            if deadline is None:
                deadline = monotonic_ns() + LOOK_AHEAD_NS
        if not ahead or self._stopping or self._draining:
            return
        found = await wait(log.find([ticket.key for ticket in ahead]))
        for ticket, stored in zip(ahead, found, strict=True):
            ticket.stored = stored
        if not source.quiet and source.asynchronous is None:
            self._reach = 1 if None in found else min(2 * self._reach, LOOKED_UP)

    async def _key_all(self, items: Iterator[Any]) -> None:
        """Make the keys of all items of a list, so that no job runs if two keys are equal."""
        keyed, log = cast("deque[dict[int, _Ticket]]", self._keyed), self.log
        some: dict[int, _Ticket] = {}
        deadline = monotonic_ns() + START_SLICE_NS
        for item in items:
            if not len(some) % LOOKED_UP:
                keyed.append(some := {})
            some[len(some)] = ticket = _Ticket(item, None)
            ticket.key = log.key_of(item)
            if monotonic_ns() > deadline:
                await asyncio.sleep(0)
                if self._stopping or self._draining:
                    return
                deadline = monotonic_ns() + START_SLICE_NS

    # jobs -------------------------------------------------------------------------------------------------

    async def _run_and_store(self, ticket: _Ticket) -> Any:
        try:
            value = await self._make(ticket.item)
        except KeyboardInterrupt as error:
            if self._draining and hasattr(
                error, "outcomes"
            ):  # from a batch inside this job, which Ctrl-C has stopped, too
                raise CancelledError("Ctrl-C") from error
            raise
        try:
            await self.log.store(ticket.key, value)
        except CheckpointCodecError:
            raise
        except Exception as error:
            cast("ResumedSink", self._sink).broken.append(error)
            raise
        return value

    def _skip(self, ticket: _Ticket, value: object) -> None:
        """Emit the event of a job that is done already, and keep its value."""
        scope, index, now = self._scope, self._started, monotonic_ns()
        family = cast("JobFamily", scope.family)
        if not index:
            name_family(family, ticket.item)
        if self._kinds is not None:
            family = self._kinds.of(ticket)
        record = JobEvent(family, index, now)
        detail = detail_of(record)
        detail.status, detail.ready_ns = SKIPPED, ticket.ready_ns
        scope.counts.skipped += 1
        self._started = index + 1
        discard(ticket.item, self._adopt)
        try:
            if scope.starts is not None:
                self._context.copy().run(self._tell_start, record)  # the job's own: hooks may set variables
        finally:
            write_event(record, "end_ns", now)
            self._sink.ok(index, record, value)
        if scope.deliver is not None:
            scope.deliver(record)
        if scope.deliver_too is not None:
            scope.deliver_too(record)

    @staticmethod
    def _subject(item: Any) -> object:
        return item.item if type(item) is _Ticket else item

    def _tell_start(self, record: JobEvent) -> None:
        self._current(record)
        cast("Callable[[JobEvent], object]", self._scope.starts)(record)

    def _ended_unstarted(self, job: Job) -> None:
        if type(job.item) is _Ticket:
            job.item = job.item.item
        super()._ended_unstarted(job)

    async def _clean_up(self) -> CancelledError | None:
        for ticket in self._ahead:
            discard(ticket.item, self._adopt)
        self._ahead.clear()
        if self._keyed:
            self._source.give_back(ticket.item for some in self._keyed for ticket in some.values())
        return await super()._clean_up()

    def _forget(self) -> None:
        super()._forget()
        self._call = None
        self._keyed = None


def _interruption(scope: BatchScope, sink: ResumedSink) -> KeyboardInterrupt:
    # Not a subclass: Python ends the process by SIGINT, which a shell shows as 130, only for exactly this class.
    outcomes = sink.outcomes()
    total = scope.counts.total
    of = "" if total is None else f" of {total}"
    error = KeyboardInterrupt(f"{len(outcomes)}{of} jobs have ended; what they returned is stored")
    error.outcomes = outcomes  # type: ignore[attr-defined]  # see partial_outcomes
    return error


def partial_outcomes(error: KeyboardInterrupt) -> list[Outcome[Any]]:
    """Return the outcomes of the jobs that had ended when Ctrl-C ended their batch, in input order.

    Args:
        error: Raised by a runner with a checkpoint. Its attribute ``outcomes`` is the same list; this function exists
            because type checkers do not know the attribute.

    Returns:
        The outcomes; empty if `error` comes from somewhere else.
    """
    return list(getattr(error, "outcomes", ()))
