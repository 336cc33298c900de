"""From a runner's arguments to a run: the batch's scope around the engine, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.batch import BatchScope
from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.registry import load_handler
from spanloom.concurrency.busy import BusyMeter
from spanloom.concurrency.limits import Limiter, check_count
from spanloom.concurrency.sink import Sink
from spanloom.concurrency.source import Source, name_of
from spanloom.concurrency.window import Window
from spanloom.concurrency.workers import Workers
from spanloom.events import keys
from spanloom.events.event import Event

__all__ = ["Isolation", "Run"]

Isolation = Literal["task", "context"]


class Run:
    """One batch: what it runs, how it is bounded, what it is called.

    Args:
        runner: Name of the public function.
        source: The input.
        sink: Takes the results.
        limit: Number of slots, a limiter, or ``None``.
        what: What the caller's parameter for `limit` is called.
        call: Makes the awaitable of an item; ``None`` if the item is it.
        function: What to take the jobs' name from, if not from the first item.
        desc: Name of the batch; by default the jobs' name.
        isolation: ``"task"`` or ``"context"``. The latter is a permission: where the fast lane does
            not apply (a limiter, no limit, an async input), jobs have tasks of their own, too.
        show_progress: Show a progress bar, unless a handler shows one already.
        chunked, quota, backlog: See `Window`.

    Raises:
        ValueError: a number is out of range, or `isolation` is not one of the two.
        TypeError: `limit` is neither a number nor a limiter.
    """

    __slots__ = ("_desc", "_job_name", "_limit", "_runner", "_show_progress", "_source", "engine")

    def __init__(
        self,
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
        chunked: bool = False,
        quota: int | None = None,
        backlog: Callable[[], int] | None = None,
    ) -> None:
        limiter: Limiter | None = None
        if limit is None or isinstance(limit, int):
            size = None if limit is None else check_count(limit, what)
        elif isinstance(limit, Limiter):
            size, limiter = None, limit
        else:
            raise TypeError(f"{what} must be an int, a limiter or None, not {type(limit).__name__}")
        if isolation not in ("task", "context"):
            raise ValueError(f"isolation must be 'task' or 'context' (got {isolation!r})")
        self._runner = runner
        self._source = source
        self._limit = size if limiter is None else repr(limiter)
        self._desc = desc
        self._job_name = name_of(source.first if function is None else function)
        self._show_progress = show_progress
        self.engine: Window | Workers
        if (
            isolation == "context"
            and size is not None
            and source.sync is not None
            and not chunked
            and quota is None
        ):
            self.engine = Workers(source, sink, limit=size, call=call, backlog=backlog)
        else:
            self.engine = Window(
                source,
                sink,
                limit=size,
                call=call,
                limiter=limiter,
                chunked=chunked,
                quota=quota,
                backlog=backlog,
            )

    async def run(self, *, always: bool = False) -> None:
        """Run it under the ambient manager.

        Args:
            always: Make job events even if nobody listens; the sink wants them.

        Raises:
            BaseException: what ended the batch early; every started job has ended by then.
        """
        manager = get_callback_manager()
        label = self._desc or self._job_name or self._runner
        payload: dict[str, object] = {keys.RUNNER: self._runner, keys.LIMIT: self._limit}
        scope = manager.batch(label, self.engine, total=self._source.total, payload=payload)
        scope.open(
            job_name=self._job_name or "", ready_at_once=self._source.asynchronous is None, always=always
        )
        error: BaseException | None = None
        busy: BusyMeter | None = None
        progress: _Progress | None = None
        try:
            if manager.deep and scope.family is not None:
                busy = BusyMeter.attach(manager.current, asyncio.get_running_loop())
            if self._show_progress:
                progress = _Progress.of(manager, scope)
            await self.engine.run(scope, manager.current.set, busy)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if busy is not None:
                busy.detach()
            scope.close(error)
            if progress is not None:
                progress.end()
            error = None


class _Progress:
    """A progress bar for one batch, where the user has set up none."""

    def __init__(self, manager: CallbackManager, event: Event) -> None:
        self._guard = manager.guard(load_handler("progress")())
        self._event = event
        self._guard.start(event)

    @classmethod
    def of(cls, manager: CallbackManager, scope: BatchScope) -> _Progress | None:
        if scope.event is None or any(
            getattr(handler, "shows_progress", False) for handler in manager.handlers
        ):
            return None
        return cls(manager, scope.event)

    def end(self) -> None:
        self._guard.end(self._event)
        self._guard.close(1.0)
