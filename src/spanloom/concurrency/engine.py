"""The common base of both lanes: how a run begins, ends early, and cleans up.

Rules.
1. Whatever ends a batch early (a failure that counts, a cancel from outside, an exception of the
   input) cancels all live jobs and waits for their end before it is raised.
2. Tasks are cancelled once, as by asyncio.TaskGroup. A further cancel from outside is remembered
   and raised at the end. Passed on, it would break off the jobs' own clean-up; anyio's scopes, which
   cancel anew at every turn of the loop, would do so every time.
3. A cancel from outside is always raised, even if it arrives while jobs are being awaited.
4. The loop is held for `SLICE_NS` at a time, whatever the number of jobs.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from spanloom.callbacks.batch import BatchScope
from spanloom.concurrency.busy import BusyMeter
from spanloom.concurrency.interrupt import Interrupt
from spanloom.concurrency.sink import Sink
from spanloom.concurrency.source import Source
from spanloom.events.event import JobEvent

__all__ = ["SLICE_NS", "Engine"]

SLICE_NS: Final = 5_000_000
"""Nanoseconds that the engine works before it lets the loop turn: half of the 10 ms that we promise."""
CANCEL_SLICE: Final = 1000
"""Tasks cancelled between two turns of the loop: some 2 ms."""


class Engine(ABC):
    """One run of one batch. Made by a runner, awaited once.

    Args:
        source: The input.
        sink: Takes each job's end and decides which failures end the batch.
        limit: Most jobs alive at once; ``None`` for no bound.
        call: Makes the awaitable of an item, inside its job; ``None`` if the item is the job.
        backlog: Returns the number of results not taken yet, which count against `limit`; or ``None``.
    """

    __slots__ = (
        "__weakref__",
        "_alive",
        "_backlog",
        "_busy",
        "_call",
        "_caller",
        "_current",
        "_error",
        "_interrupt",
        "_limit",
        "_scope",
        "_sink",
        "_source",
        "_stopping",
        "_uncancelled",
        "_waiter",
    )

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        limit: int | None,
        call: Callable[[Any], Awaitable[Any]] | None,
        backlog: Callable[[], int] | None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._limit = limit
        self._call = call
        self._backlog = backlog
        self._alive: dict[int, asyncio.Task[Any] | None] = {}
        self._scope: BatchScope = cast("BatchScope", None)  # given to run()
        self._current: Callable[[JobEvent], object] = cast("Any", None)  # given to run()
        self._busy: BusyMeter | None = None
        self._stopping = False
        self._uncancelled: deque[asyncio.Task[Any] | None] = deque()
        self._error: BaseException | None = None
        self._interrupt: Interrupt | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._caller: asyncio.Task[Any] = cast("Any", None)  # who awaits run()

    # for the events ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def started(self) -> int:
        """Jobs taken from the input so far."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def open_jobs(self, since_ns: int = 0, until_ns: int | None = None) -> list[JobEvent]:
        """Return the events of the jobs that are alive; safe from any thread.

        Args:
            since_ns: Jobs that started earlier may be left out, where that saves time.
            until_ns: So may jobs that started at this time or later; ``None`` for no bound.
        """

    # for the runner -----------------------------------------------------------------------------------

    async def run(
        self, scope: BatchScope, current: Callable[[JobEvent], object], busy: BusyMeter | None = None
    ) -> None:
        """Run all jobs; return when the last one has ended, or when the sink has stopped the batch.

        Args:
            scope: The batch's events.
            current: Sets the current event of a job's context.
            busy: Measures busy time; ``None`` unless deep timing is on.

        Raises:
            BaseException: what ended the batch early; every started job has ended by then.
            RuntimeError: it is not awaited in a task.
        """
        self._scope, self._current, self._busy = scope, current, busy
        caller = asyncio.current_task()
        if caller is None:
            raise RuntimeError("spanloom's runners must be awaited in a task of a running event loop")
        self._caller = caller
        error: BaseException | None = None
        cancelled: BaseException | None = None
        try:
            try:
                await self._work_off()
            except GeneratorExit:  # closed, perhaps with its loop: nothing can be awaited any more
                self._abandon()
                raise
            except BaseException as raised:  # noqa: BLE001 -- raised below, when all jobs have ended
                error = raised
            if error is not None or self._stopping:
                self.stop(None)
                cancelled = await self._clean_up()
                if (interrupt := self._interrupt) is not None:
                    if interrupt.fired and isinstance(error, Exception):
                        error = None  # of the input, which we interrupted; the job's failure is raised
                    error = interrupt.undo(error)
            for reason in (cancelled, error, self._error):
                if reason is not None:
                    raise reason
        finally:
            # An exception and a frame that refer to each other would keep all locals alive.
            error = cancelled = reason = self._error = caller = None
            self._caller = cast("Any", None)  # it may come to hold the exception, too
            self._forget()

    async def give_up(self, error: BaseException) -> None:
        """Close the input instead of `run`: the batch could not begin, because of `error`, which is not raised here."""
        self.stop(error)
        self._error = None
        try:
            cancelled = await self._clean_up()
            if cancelled is not None:
                raise cancelled
        finally:
            cancelled = None
            self._forget()

    def stop(self, error: BaseException | None) -> None:
        """Start no more jobs and cancel those that are alive; `run` then raises `error`."""
        if self._stopping:
            return
        self._stopping = True
        self._error = error
        current = asyncio.current_task()
        self._uncancelled.extend(task for task in self._alive.values() if task is not current)
        self._cancel_some()
        if self._interrupt is not None:
            self._interrupt.fire()
        if self._uncancelled:
            self.wake()

    def wake(self) -> None:
        """Let `run` look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # for the lanes ------------------------------------------------------------------------------------

    @abstractmethod
    async def _work_off(self) -> None:
        """Run all jobs; return when none is alive and none is to come, or the batch was stopped."""

    def _forget(self) -> None:  # noqa: B027 -- a lane may have nothing to drop
        """Drop references that form cycles with this object."""

    async def _wait(self) -> None:
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    async def _clean_up(self) -> CancelledError | None:
        """Cancel and close what is left, wait until no job is alive, and return the last cancel from outside."""
        cancelled: CancelledError | None = None
        done = False
        while not done:
            try:
                while self._uncancelled:
                    self._cancel_some()
                    await asyncio.sleep(0)
                while not self._source.close_some(self._adopt):  # noqa: ASYNC110 -- a pause, not a poll
                    await asyncio.sleep(0)
                while self._alive:
                    await self._wait()
                done = True
            except CancelledError as error:
                cancelled = error
        return cancelled

    def _abandon(self) -> None:
        self._stopping = True
        for task in self._alive.values():
            if task is not None and not task.get_loop().is_closed():
                task.cancel()

    def _cancel_some(self) -> None:
        tasks = self._uncancelled
        for _ in range(min(len(tasks), CANCEL_SLICE)):
            task = tasks.popleft()
            if task is not None:
                task.cancel()

    def _adopt(self, future: asyncio.Future[Any]) -> None:
        """Cancel a future of the input that was never awaited, and make `_clean_up` wait for its end."""
        key = -1 - len(self._alive)
        while key in self._alive:
            key -= 1
        self._alive[key] = None
        future.add_done_callback(lambda _: self._disown(key))
        future.cancel()

    def _disown(self, key: int) -> None:
        del self._alive[key]
        if not self._alive:
            self.wake()
