"""`gather` and `batch_gather`: all at once, and chunk after chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, Final, Literal, TypeVar, cast, overload

from spanloom._numbers import check_count
from spanloom.callbacks.standing import StallAfter
from spanloom.concurrency.runner import Run
from spanloom.concurrency.sink import ListSink, OnError, check_on_error
from spanloom.concurrency.source import Source

__all__ = ["batch_gather", "gather"]

T = TypeVar("T")

COMPARED: Final = 10_000
"""Awaitables checked for duplicates between two turns of the loop: 1 ms."""


@overload
async def gather(*aws: Awaitable[T], return_exceptions: Literal[False] = False) -> list[T]: ...


@overload
async def gather(*aws: Awaitable[T], return_exceptions: bool) -> list[T | Exception]: ...


async def gather(*aws: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
    """Run awaitables all at once and return their results in order, as ``asyncio.gather`` does.

    Unlike there, no task outlives the call: the first failure cancels the others, and is raised
    when all of them have ended. An awaitable that is given twice runs once.

    Args:
        aws: Coroutines, tasks, futures or other awaitables.
        return_exceptions: Return an ``Exception`` in place of the result instead of raising it.

    Raises:
        Exception: the first failure, the same object.
        asyncio.CancelledError: if this call or one of the awaitables is cancelled; it is never a
            result, not even with `return_exceptions`.
        TypeError: one of them is not awaitable; this is its failure, like any other.
    """
    sink = ListSink("return" if return_exceptions else "raise")
    if len(aws) <= COMPARED:
        distinct = len(set(map(id, aws)))
    else:
        distinct = await _count(aws, sink)
    unique = aws if distinct == len(aws) else tuple({id(aw): aw for aw in aws}.values())
    await Run.unbounded("gather", unique, sink).run()
    if unique is aws:
        return sink.results()
    places = {id(aw): index for index, aw in enumerate(unique)}
    results = sink.results()
    return [results[places[id(aw)]] for aw in aws]


async def _count(aws: tuple[Awaitable[Any], ...], sink: ListSink) -> int:
    """Return the number of distinct awaitables, without blocking the loop for long."""
    seen: set[int] = set()
    try:
        for start in range(0, len(aws), COMPARED):
            seen.update(map(id, aws[start : start + COMPARED]))
            await asyncio.sleep(0)
    except asyncio.CancelledError as error:
        # They will not be started. A batch that is stopped before it begins closes them, and raises.
        run = Run.unbounded("gather", aws, sink)
        run.engine.stop(error)
        await run.run()
    return len(seen)


@overload
async def batch_gather(
    aws: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]]
    | AsyncIterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    batch_size: int = 10,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
) -> list[T]: ...


@overload
async def batch_gather(
    aws: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]]
    | AsyncIterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    batch_size: int = 10,
    *,
    on_error: Literal["return"],
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
) -> list[T | Exception]: ...


async def batch_gather(
    aws: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]]
    | AsyncIterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    batch_size: int = 10,
    *,
    on_error: OnError = "raise",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
) -> list[T] | list[T | Exception]:
    """Run awaitables chunk after chunk: a chunk starts when all of the chunk before it have ended.

    For servers that take work in waves. `run_jobs`, which keeps `workers` slots busy, is faster.

    Args:
        aws: Awaitables or functions that return one, as for `run_jobs`.
        batch_size: Awaitables per chunk, at least 1.
        on_error: ``"raise"``, ``"return"`` or ``"skip"``, as for `run_jobs`.
        show_progress: Show a progress bar, unless a handler shows one already.
        desc: Name of the batch; by default the name of the awaitables' function.
        stall_after: As for `run_jobs`.

    Returns:
        The results in input order.

    Raises:
        Exception, asyncio.CancelledError, TypeError: as `run_jobs` does.
        ValueError: `batch_size` is below 1; nothing has been consumed.
    """
    sink = ListSink(check_on_error(on_error))
    run = Run.bounded(
        "batch_gather",
        Source.of(aws, "aws"),
        sink,
        limit=check_count(batch_size, "batch_size"),
        what="batch_size",
        desc=desc,
        stall_after=stall_after,
        show_progress=show_progress,
        chunked=True,
    )
    await run.run()
    return cast("list[T]", sink.results())
