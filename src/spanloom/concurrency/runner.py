"""A run of a batch, made from a runner's arguments: the batch's events around its engine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import msgspec

from spanloom._numbers import check_count
from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.batch import BatchScope
from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.registry import load_handler
from spanloom.callbacks.standing import STALL_AFTER, StallAfter, check_stall_after
from spanloom.callbacks.watchdog import WATCHDOG, LoopTimer
from spanloom.concurrency.busy import BusyMeter
from spanloom.concurrency.checkpoint import Checkpointing, check_checkpoint
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.names import name_of
from spanloom.concurrency.resume import ResumedSink, ResumedWindow
from spanloom.concurrency.sink import ListSink, OnError, Sink, check_on_error
from spanloom.concurrency.source import Source
from spanloom.concurrency.window import Window
from spanloom.concurrency.workers import Workers
from spanloom.events import keys
from spanloom.events.event import Event

__all__ = ["Isolation", "Run", "list_sink"]

Isolation = Literal["task", "context"]


class Run(msgspec.Struct, eq=False):
    """One batch: what it runs, its bound, its name. Made by `bounded` or `unbounded`.

    Attributes:
        runner: Name of the public function.
        source: The input.
        engine: Runs the jobs.
        limit: The bound as the batch's event shows it.
        job_name: The jobs' name, if it is known before the first job.
        desc: Name of the batch; by default the jobs' name.
        show_progress: Show a progress bar, unless a handler shows one already.
        stall_after: Seconds without progress after which the batch is reported; ``None`` for never, ``"default"`` for
            the stall time of the process.
    """

    runner: str
    source: Source
    engine: Window | Workers
    limit: int | str | None
    job_name: str | None
    desc: str | None = None
    show_progress: bool = False
    stall_after: StallAfter = "default"

    @classmethod
    def unbounded(cls, runner: str, aws: tuple[Any, ...], sink: Sink) -> Run:
        """Return a run of awaitables given as arguments, all of them at once.

        Args:
            runner: Name of the public function.
            aws: The awaitables, each of them once.
            sink: Takes the results.
        """
        source = Source.together(aws)
        return cls(runner, source, Window(source, sink, limit=None), None, name_of(source.first))

    @classmethod
    def bounded(
        cls,
        runner: str,
        source: Source,
        sink: Sink,
        *,
        limit: int | Limiter | None,
        what: str = "limit",
        call: Callable[[Any], Awaitable[Any]] | None = None,
        function: object = None,
        desc: str | None = None,
        isolation: Isolation = "task",
        show_progress: bool = False,
        stall_after: StallAfter = "default",
        chunked: bool = False,
        quota: int | None = None,
        backlog: Callable[[], int] | None = None,
    ) -> Run:
        """Return a run.

        Args:
            runner: Name of the public function.
            source: The input.
            sink: Takes the results.
            limit: Number of slots, a limiter, or ``None``.
            what: Name of the caller's parameter for `limit`, for error messages.
            call: Makes the awaitable of an item; ``None`` if the item is the job.
            function: Gives the jobs' name; ``None`` to take it from the first item.
            desc: Name of the batch; by default the jobs' name.
            isolation: ``"task"`` or ``"context"``. The latter only permits the fast lane: where that does not apply (a
                limiter, no limit, an async input, a checkpoint, `chunked`, `quota`), jobs have tasks of their own.
            show_progress: Show a progress bar, unless a handler shows one already.
            stall_after: Seconds without progress, above 0, after which the batch is reported; ``None`` for never,
                ``"default"`` for the stall time of the process.
            chunked, quota, backlog: See `Window`.

        Raises:
            ValueError: a number is out of range, or `isolation` is not one of the two.
            TypeError: `limit` is neither a number nor a limiter.
        """
        limiter: Limiter | None = None
        if limit is None or isinstance(limit, int):
            # At most what a list can hold: C code that counts jobs takes no larger number.
            size = None if limit is None else min(check_count(limit, what), sys.maxsize)
        elif isinstance(limit, Limiter):
            size, limiter = None, limit
        else:
            raise TypeError(
                f"{what} must be an int, a limiter or None, not {type(limit).__name__}; "
                "give the number, or FixedLimiter(number) where several batches share it"
            )
        if isolation not in ("task", "context"):
            raise ValueError(f"isolation must be 'task' or 'context' (got {isolation!r})")
        if stall_after != "default":
            check_stall_after(stall_after)
        engine: Window | Workers
        if isinstance(sink, ResumedSink):
            engine = ResumedWindow(source, sink, limit=size, call=call, limiter=limiter)
        elif (
            isolation == "context"
            and size is not None
            and source.sync is not None
            and not chunked
            and quota is None
        ):
            engine = Workers(source, sink, limit=size, call=call, backlog=backlog)
        else:
            engine = Window(
                source,
                sink,
                limit=size,
                call=call,
                limiter=limiter,
                chunked=chunked,
                quota=quota,
                backlog=backlog,
            )
        job_name = name_of(source.first if function is None else function)
        shown = size if limiter is None else repr(limiter)
        return cls(runner, source, engine, shown, job_name, desc, show_progress, stall_after)

    async def run(self, *, always: bool = False) -> None:
        """Run the batch under the ambient manager.

        Args:
            always: Make job events even if nobody listens, because the sink needs them.

        Raises:
            BaseException: what ended the batch early; every started job has ended by then.
        """
        manager, source, job_name = get_callback_manager(), self.source, self.job_name
        try:
            scope = BatchScope.open(
                manager,
                self.desc or job_name or self.runner,
                self.engine,
                total=source.total,
                payload={keys.RUNNER: self.runner, keys.LIMIT: self.limit},
                job_name=job_name or "",
                ready_at_once=source.asynchronous is None,
                always=always or self.show_progress,  # a bar shows the numbers that records make
            )
        except BaseException as harm:  # raise_handler_errors
            await self.engine.give_up(harm)
            raise
        error: BaseException | None = None
        busy: BusyMeter | None = None
        progress: _Progress | None = None
        timer: LoopTimer | None = None
        if self.stall_after != "default":
            timer = self._guard(scope)
        elif WATCHDOG.is_needed and scope.family is not None:
            timer = WATCHDOG.batch_began()
        try:
            try:
                if manager.deep and scope.family is not None:
                    busy = BusyMeter.attach(manager.current, asyncio.get_running_loop())
                if self.show_progress:
                    progress = _Progress.of(manager, scope)
            except BaseException as harm:  # a bar that cannot be shown, and raise_handler_errors
                await self.engine.give_up(harm)
                raise
            await self.engine.run(scope, manager.current.set, busy)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if busy is not None:
                busy.detach()
            scope.close(error)
            if timer is not None:
                timer.leave()
            if self.stall_after != "default":
                STALL_AFTER.pop(scope.event.event_id, None)
            if progress is not None:
                progress.end()
            error = None

    def _guard(self, scope: BatchScope) -> LoopTimer | None:
        """Have `WATCHDOG` watch the batch with its own stall time, unless that is never."""
        if self.stall_after != "default":
            STALL_AFTER[scope.event.event_id] = self.stall_after
        if scope.family is None or self.stall_after is None:  # nobody listens, or never
            return None
        return WATCHDOG.batch_began()

    async def resume(self, checkpoint: Checkpointing | None, function: object = None) -> None:
        """Run the jobs whose results a checkpoint does not have yet; all if there is no checkpoint.

        Args:
            checkpoint: Has the results of earlier runs, and stores those of this one.
            function: What is called with the items; ``None`` if they are jobs.

        Raises:
            BaseException: what ended the batch early; all results returned by its jobs are stored by then.
        """
        if checkpoint is None:
            await self.run()
            return
        engine = cast("ResumedWindow", self.engine)
        try:
            engine.log = log = await checkpoint.open(function, self.source.total)
        except BaseException as error:
            await engine.give_up(error)
            raise
        engine.grace_s = checkpoint.grace_s
        try:
            await self.run(always=True)
        except GeneratorExit:
            log.abandon()
            raise
        except BaseException as error:
            try:
                await log.close()
            except asyncio.CancelledError:
                if isinstance(error, Exception):
                    raise
            raise
        await log.close()


def list_sink(on_error: str, checkpoint: object) -> ListSink:
    """Return the sink that collects the results of a batch.

    Args:
        on_error: The caller's argument.
        checkpoint: The caller's argument.

    Raises:
        ValueError: `on_error` is not one of the three.
        TypeError: `checkpoint` is neither a checkpoint nor ``None``.
    """
    checked: OnError = check_on_error(on_error)
    check_checkpoint(checkpoint)
    return ListSink(checked) if checkpoint is None else ResumedSink(checked)


class _Progress:
    """A progress bar for one batch, if no handler shows one."""

    def __init__(self, manager: CallbackManager, event: Event) -> None:
        self._guard = manager.guard(load_handler("progress")())
        self._event = event
        self._guard.start(event)

    @classmethod
    def of(cls, manager: CallbackManager, scope: BatchScope) -> _Progress | None:
        if any(getattr(handler, "shows_progress", False) for handler in manager.handlers):
            return None
        return cls(manager, scope.event)

    def end(self) -> None:
        self._guard.end(self._event)
        self._guard.close(1.0)
