"""`stream`: the outcomes of jobs, one by one, as they end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast, overload

from spanloom.callbacks.standing import StallAfter
from spanloom.concurrency import awaited_by
from spanloom.concurrency.call import check_jobs, compose
from spanloom.concurrency.functions import check_function
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.names import name_of
from spanloom.concurrency.outcome import Outcome
from spanloom.concurrency.runner import Isolation, Run
from spanloom.concurrency.sink import OnError, Sink, check_on_error
from spanloom.concurrency.source import Source
from spanloom.events.event import JobEvent
from spanloom.events.types import OK

__all__ = ["OutcomeStream", "StreamSink", "stream"]

T = TypeVar("T")
R = TypeVar("R")


class StreamSink(Sink):
    """Turns the ends of jobs into outcomes, and wakes the consumers."""

    def __init__(self, on_error: OnError) -> None:
        self.ready: deque[Outcome[Any]] = deque()
        self._on_error = on_error
        self._waiters: list[asyncio.Future[None]] = []

    def ok(self, index: int, record: JobEvent | None, value: object) -> bool:
        job = cast("JobEvent", record)  # the stream runs with `always`
        detail = job.detail
        run_ns = cast("int", job.end_ns) - job.start_ns
        if detail is None:
            self.ready.append(Outcome(index, value, None, OK, 1, job.queue_ns, run_ns))
        else:
            self.ready.append(
                Outcome(index, value, None, OK, detail.attempt or 1, job.queue_ns, run_ns, detail.busy_ns)
            )
        if self._waiters:
            self.notify()
        return False

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        if self._on_error == "return":
            job = cast("JobEvent", record)
            run_ns = cast("int", job.end_ns) - job.start_ns
            status = cast("str", job.status)
            self.ready.append(
                Outcome(index, None, error, status, job.attempt or 1, job.queue_ns, run_ns, job.busy_ns)
            )
            self.notify()
        return self._on_error == "raise"

    def notify(self) -> None:
        """Wake all who wait in `wait`."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for the next `notify`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:  # else a consumer that polls with a timeout would leave one each time
                self._waiters.remove(waiter)


class OutcomeStream(Generic[R]):
    """The outcomes of a batch, as its jobs end. Made by `stream`; see there."""

    def __init__(self, run: Run, sink: StreamSink) -> None:
        self._run = run
        self._sink = sink
        self._pump: asyncio.Task[None] | None = None
        self._consumer: asyncio.Task[Any] | None = None
        self._entered = False
        self._raised = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a stream can be entered only once; call stream(...) again")
        self._entered = True
        self._pump = asyncio.create_task(self._run.run(always=True), name="spanloom-stream")
        self._pump.add_done_callback(lambda _: self._sink.notify())
        self._consumer = asyncio.current_task()
        if awaited_by.TELL is not None and self._consumer is not None:
            awaited_by.TELL(self._pump, self._consumer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pump = self._pump
        if pump is None:
            return
        self._run.engine.stop(None)
        self._run.engine.wake()
        cancelled: asyncio.CancelledError | None = None
        while not pump.done():
            try:
                await asyncio.wait([pump])
            except asyncio.CancelledError as outside:
                cancelled = outside
        self._pump = None
        if awaited_by.UNTELL is not None and self._consumer is not None:
            awaited_by.UNTELL(pump, self._consumer)
        self._consumer = None
        self._sink.ready.clear()
        failure = asyncio.CancelledError() if pump.cancelled() else pump.exception()
        try:
            if cancelled is not None:
                raise cancelled
            if failure is not None and error is None and not self._raised:
                raise failure
        finally:
            del pump, failure, cancelled  # else an error and this frame would keep each other alive

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[R]:
        sink = self._sink
        ready = sink.ready
        while not ready:
            pump = self._pump
            if pump is None:
                raise RuntimeError(
                    "a stream must be used as an async context manager: async with stream(...) as s:"
                )
            if pump.done():
                if pump.cancelled():
                    self._raised = True
                    raise asyncio.CancelledError
                if (error := pump.exception()) is not None:
                    self._raised = True
                    try:
                        raise error
                    finally:
                        del pump, error  # else it and this frame would keep each other alive
                raise StopAsyncIteration
            await sink.wait()
        outcome = ready.popleft()
        self._run.engine.wake()
        return outcome


@overload
def stream(
    jobs: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter | None = None,
    on_error: OnError = "return",
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
) -> OutcomeStream[R]: ...


@overload
def stream(
    jobs: Iterable[Awaitable[R] | Callable[[], Awaitable[R]]]
    | AsyncIterable[Awaitable[R] | Callable[[], Awaitable[R]]],
    items: None = None,
    *,
    limit: int | Limiter | None = None,
    on_error: OnError = "return",
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
) -> OutcomeStream[R]: ...


def stream(
    jobs: Any,
    items: Any = None,
    *,
    limit: int | Limiter | None = None,
    on_error: OnError = "return",
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
) -> OutcomeStream[Any]:
    """Run jobs, and yield the outcome of each as soon as it has ended, in completion order.

    ::

        async with stream(fetch, urls, limit=10) as outcomes:
            async for outcome in outcomes:
                ...

    Jobs run while the body of the loop is busy, up to `limit` outcomes ahead: an outcome that is not
    yet taken counts against `limit`, so memory stays bounded however slow the consumer is. Leaving the
    block cancels the running jobs and waits for them; jobs that have not started never start. A failure
    under ``on_error="raise"`` that the loop has not reached is raised on leaving, unless the body raised.
    The input is pulled by a task of the stream's own, in a copy of the caller's context.

    Args:
        jobs: A function of one item, together with `items`; or awaitables, or functions that
            return one, as for `run_jobs`.
        items: What to call the function with: any iterable or async iterable.
        limit: How many run at once, at least 1, or a limiter; ``None`` for no bound.
        on_error: ``"return"``: a failure is an outcome with its ``error``. ``"raise"``: the first
            failure cancels the other jobs and is raised by the iteration, after the outcomes
            before it. ``"skip"``: failures are left out.
        timeout, retry, isolation, show_progress, desc, stall_after: As for `run_jobs`.

    Returns:
        An async context manager that is an async iterator of `Outcome`.

    Raises:
        ValueError, TypeError: an argument is wrong; nothing has been consumed.
        RuntimeError: by iterating outside the ``async with`` block, or by entering it twice.
        asyncio.CancelledError: by iterating, if a job was cancelled by itself or by other code.
    """
    sink = StreamSink(check_on_error(on_error))
    if items is None:
        if callable(jobs) and not hasattr(jobs, "__iter__"):
            raise TypeError("stream(function) lacks the items: stream(function, items, limit=...)")
        source, name, function = Source.of(jobs), None, None
        call = None
        check_jobs(jobs, retry=retry)
    else:
        check_function(jobs, "stream")
        source, name, function = Source.of(items, "items", jobs=False), name_of(jobs), jobs
        call = jobs
    ready = sink.ready
    run = Run.bounded(
        "stream",
        source,
        sink,
        limit=limit,
        call=compose(call, timeout=timeout, retry=retry, name=name, limit=limit),
        function=function,
        desc=desc,
        stall_after=stall_after,
        isolation=isolation,
        show_progress=show_progress,
        backlog=ready.__len__,
    )
    return OutcomeStream(run, sink)
