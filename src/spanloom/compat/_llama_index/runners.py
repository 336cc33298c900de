"""LlamaIndex's async utilities: its names and arguments, spanloom's runners."""

from __future__ import annotations

import asyncio
import sys
import warnings
from asyncio import events
from collections.abc import Awaitable, Coroutine, Iterable, Iterator
from itertools import zip_longest
from typing import Any, Final, TypeVar

from spanloom._numbers import check_count
from spanloom.concurrency.gather import batch_gather as _batch_gather
from spanloom.concurrency.jobs import run_jobs as _run_jobs
from spanloom.concurrency.source import discard
from spanloom.concurrency.sync import run_sync
from spanloom.exceptions import NestedLoopError

__all__ = [
    "DEFAULT_NUM_WORKERS",
    "asyncio_module",
    "asyncio_run",
    "batch_gather",
    "chunks",
    "get_asyncio_module",
    "run_async_tasks",
    "run_jobs",
]

T = TypeVar("T")

DEFAULT_NUM_WORKERS: Final = 4
"""Default for the jobs that `run_jobs` runs at once."""

# Any: a coroutine may yield and be sent anything; what an awaitable returns in a list of many kinds.


def asyncio_run(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from sync code, whether an event loop is running or not.

    Uses the loop that is set for this thread if it is not running, without one a new loop. If a loop is running, a new
    loop in a new thread is used, while the running one blocks. The coroutine sees a copy of the caller's context.

    Args:
        coro: The coroutine; it is closed if it cannot be started.

    Returns:
        What the coroutine returns.

    Raises:
        BaseException: what the coroutine raises, the same object.
        NestedLoopError: (a ``RuntimeError``) it waits for something of the loop that this call blocks.
        TypeError: `coro` is not a coroutine.
    """
    loop = _idle_loop()
    if loop is not None:
        return loop.run_until_complete(coro)
    try:
        return run_sync(coro)
    except NestedLoopError as error:
        nested = error
    raise NestedLoopError(
        "Detected nested async: asyncio_run was called on a running event loop with a coroutine that waits for "
        "something of that very loop, which stands still meanwhile. Use the async entry points, `await aquery()` "
        "instead of `query()`, or create what it waits for inside the coroutine."
    ) from nested.__cause__


def _idle_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that is set for this thread if it is usable, without creating one."""
    if events._get_running_loop() is not None:  # noqa: SLF001 -- documented for event loop implementers
        return None
    if sys.version_info >= (3, 14):
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            return None
    else:
        # get_event_loop() would create a loop that nobody closes; there is no other way to ask.
        local = getattr(asyncio.get_event_loop_policy(), "_local", None)
        loop = getattr(local, "_loop", None)
    return loop if isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_closed() else None


def run_async_tasks(
    tasks: Iterable[Awaitable[T]],
    show_progress: bool = False,
    progress_bar_desc: str = "Running async tasks",
) -> list[T]:
    """Run awaitables all at once to their end, from sync code.

    Args:
        tasks: Coroutines or other awaitables.
        show_progress: Show a progress bar.
        progress_bar_desc: Name of the bar.

    Returns:
        The results in input order.

    Raises:
        BaseException: the first failure, the same object, with and without a bar; the others have been cancelled.
        NestedLoopError: as `asyncio_run` does.
    """
    jobs = list(tasks)
    desc = progress_bar_desc if show_progress else None
    run = _run_jobs(jobs, workers=max(1, len(jobs)), show_progress=show_progress, desc=desc)
    return asyncio_run(run)


async def run_jobs(
    jobs: Iterable[Awaitable[T]],
    show_progress: bool = False,
    workers: int = DEFAULT_NUM_WORKERS,
    desc: str | None = None,
) -> list[T]:
    """Run jobs, at most `workers` at a time; `spanloom.run_jobs`, which has more to offer.

    Args:
        jobs: Coroutines or other awaitables; pulled lazily, a generator makes them when there is a slot.
        show_progress: Show a progress bar.
        workers: How many run at once, at least 1.
        desc: Name of the batch and of the bar.

    Returns:
        The results in input order.

    Raises:
        Exception: the first failure, the same object; the others have been cancelled and have ended.
        ValueError: `workers` is below 1; nothing has been consumed.
    """
    return await _run_jobs(jobs, workers=workers, show_progress=show_progress, desc=desc)


async def batch_gather(tasks: Iterable[Awaitable[T]], batch_size: int = 10, verbose: bool = False) -> list[T]:
    """Run awaitables chunk after chunk: the next one starts when the last one has ended.

    Args:
        tasks: Coroutines or other awaitables.
        batch_size: Awaitables per chunk, at least 1.
        verbose: Print a line to ``sys.stdout`` after each chunk.

    Returns:
        The results in input order.

    Raises:
        Exception: the first failure, the same object; the others have been cancelled and have ended.
        ValueError: `batch_size` is below 1; nothing has been consumed.
    """
    if not verbose:
        return await _batch_gather(tasks, batch_size)
    check_count(batch_size, "batch_size")
    jobs = list(tasks)
    left = iter(jobs)
    try:
        results = await _batch_gather(_reporting(left, batch_size, len(jobs)), batch_size)
    finally:  # after a failure, the rest is never started
        futures: list[asyncio.Future[Any]] = []
        for job in left:
            discard(job, futures.append)
        for future in futures:
            future.cancel()
        if futures:
            await asyncio.wait(futures)
    _report(len(jobs), len(jobs))
    return results


def _reporting(jobs: Iterator[Awaitable[T]], batch_size: int, total: int) -> Iterator[Awaitable[T]]:
    """Yield `jobs`; when the first one of a chunk is pulled, the chunk before has ended."""
    for index, job in enumerate(jobs):
        if index and index % batch_size == 0:
            _report(index, total)
        yield job


def _report(done: int, total: int) -> None:
    sys.stdout.write(f"Completed {done} out of {total} tasks\n")
    sys.stdout.flush()


def chunks(iterable: Iterable[T], size: int) -> Iterator[tuple[T | None, ...]]:
    """Yield tuples of `size` items each, lazily; the last one is filled up with ``None``.

    Args:
        iterable: The items.
        size: Items per tuple, at least 1.

    Raises:
        ValueError: `size` is below 1.
    """
    check_count(size, "size")
    return zip_longest(*[iter(iterable)] * size)


class _WithProgress:
    """What `get_asyncio_module` returns for a progress bar: ``asyncio`` with another `gather`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def gather(self, *aws: Awaitable[T], desc: str | None = None, **kwargs: Any) -> list[T]:
        """Run awaitables all at once with a bar, and return their results in order.

        Args:
            aws: Coroutines or other awaitables.
            desc: Name of the bar.
            kwargs: Further arguments of tqdm's ``gather``; ignored.

        Raises:
            Exception: the first failure, the same object; the others have been cancelled and have ended.
        """
        return await _run_jobs(aws, workers=max(1, len(aws)), show_progress=True, desc=desc)


_WITH_PROGRESS: Final = _WithProgress()


def get_asyncio_module(show_progress: bool = False) -> Any:
    """Return ``asyncio``, or a stand-in whose ``gather`` shows a progress bar.

    Args:
        show_progress: Whether a bar is wanted.
    """
    return _WITH_PROGRESS if show_progress else asyncio


def asyncio_module(show_progress: bool = False) -> Any:
    """Do what `get_asyncio_module` does, which replaces it.

    Args:
        show_progress: Whether a bar is wanted.
    """
    warnings.warn(
        "asyncio_module() is deprecated; use get_asyncio_module()", DeprecationWarning, stacklevel=2
    )
    return get_asyncio_module(show_progress)
