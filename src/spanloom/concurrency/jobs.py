"""`run_jobs`: run awaitables, a few at a time, with results in input order."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Literal, TypeVar, cast, overload

from spanloom.callbacks.standing import StallAfter
from spanloom.concurrency.call import check_jobs, compose
from spanloom.concurrency.checkpoint import Checkpointing
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.runner import Isolation, Run, list_sink
from spanloom.concurrency.sink import OnError
from spanloom.concurrency.source import Source

__all__ = ["run_jobs"]

T = TypeVar("T")


@overload
async def run_jobs(
    jobs: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]]
    | AsyncIterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    *,
    workers: int | Limiter = 4,
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    on_error: Literal["raise", "skip"] = "raise",
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    checkpoint: Checkpointing | None = None,
) -> list[T]: ...


@overload
async def run_jobs(
    jobs: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]]
    | AsyncIterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    *,
    workers: int | Limiter = 4,
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    on_error: Literal["return"],
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    checkpoint: Checkpointing | None = None,
) -> list[T | Exception]: ...


async def run_jobs(
    jobs: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]]
    | AsyncIterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    *,
    workers: int | Limiter = 4,
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    on_error: OnError = "raise",
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    checkpoint: Checkpointing | None = None,
) -> list[T] | list[T | Exception]:
    """Run jobs, at most `workers` at a time, and return their results in input order.

    The input is pulled lazily: a generator makes a job when a slot is free for it. With
    ``isolation="task"`` the input is pulled in the caller's task, and each job runs in a task of its
    own with a copy of the caller's context. ``isolation="context"`` costs a third: jobs share worker
    tasks, and so ``current_task()``, and a worker may pull the input. What a job sets in its context is
    still invisible to all others.

    Args:
        jobs: Coroutines, other awaitables, or functions without arguments that return one;
            any iterable, iterator or async iterator of them.
        workers: How many run at once, at least 1, or a limiter.
        show_progress: Show a progress bar, unless a handler shows one already.
        desc: Name of the batch; by default the name of the jobs' function.
        stall_after: Seconds, above 0, in which no job starts, ends or is retried, after which a diagnosis is logged and
            sent to every handler. ``None`` for never; ``"default"`` for the stall time of the process: 30 s, or
            ``SPANLOOM_STALL_AFTER``.
        on_error: ``"raise"``: the first failure cancels the other jobs, and is raised when they
            have ended. ``"return"``: the exception takes the place of the result. ``"skip"``: the
            failed job is left out of the list.
        timeout: Seconds for each job, attempts and back-offs included; then it fails with
            ``TimeoutError``.
        retry: `RetryPolicy` or tenacity ``AsyncRetrying`` for each job; jobs must be functions then.
        isolation: ``"task"`` or ``"context"``. With a limiter, a checkpoint or an async input, jobs have tasks
            of their own in either case.
        checkpoint: A `Checkpoint`: a job whose result it has does not run, and a job ends only when its
            result is stored. Jobs then need keys: by its ``key``, or by being ``functools.partial`` objects.

    Returns:
        The results; ``None`` is a result like any other.

    Raises:
        Exception: the first failure, the same object, with ``on_error="raise"``.
        CheckpointError: the checkpoint cannot be read or written, whatever `on_error` is.
        KeyboardInterrupt: Ctrl-C was pressed, with a checkpoint: raised when the running jobs have ended. See
            `partial_outcomes`.
        asyncio.CancelledError: if this call or one of the jobs is cancelled, whatever `on_error` is;
            all jobs have ended by then. The same holds for ``KeyboardInterrupt`` and ``SystemExit``.
        ValueError: an argument is out of range; nothing has been consumed.
        TypeError: an argument is of the wrong type; nothing has been consumed.
    """
    sink = list_sink(on_error, checkpoint)
    check_jobs(jobs, retry=retry)
    call = compose(None, timeout=timeout, retry=retry, limit=workers)
    source = Source.of(jobs)
    run = Run.bounded(
        "run_jobs",
        source,
        sink,
        limit=workers,
        what="workers",
        call=call,
        desc=desc,
        stall_after=stall_after,
        isolation=isolation,
        show_progress=show_progress,
    )
    await run.resume(checkpoint)
    return cast("list[T]", sink.results())
