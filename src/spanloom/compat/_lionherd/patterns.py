"""Several awaitables at once: `gather`, `race`, `bounded_map`."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Literal, TypeVar, cast, overload

from spanloom.compat._lionherd.deadlines import HandedDown
from spanloom.compat._lionherd.failures import GroupSink, run_together
from spanloom.concurrency.call import compose
from spanloom.concurrency.functions import check_function
from spanloom.concurrency.gather import gather as own_gather
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.race import race as own_race
from spanloom.concurrency.runner import Run
from spanloom.concurrency.sink import ListSink
from spanloom.concurrency.source import Source

__all__ = ["bounded_map", "check_limit", "gather", "race"]

T = TypeVar("T")
R = TypeVar("R")


@overload
async def gather(*aws: Awaitable[T], return_exceptions: Literal[False] = False) -> list[T]: ...


@overload
async def gather(*aws: Awaitable[T], return_exceptions: bool) -> list[T | Exception]: ...


async def gather(*aws: Awaitable[T], return_exceptions: bool = False) -> list[T] | list[T | Exception]:
    """Run awaitables all at once and return their results in order.

    No task outlives the call: the first failure cancels the others, and is raised when all have ended.

    Args:
        aws: Coroutines, tasks, futures or other awaitables; none gives ``[]``.
        return_exceptions: Put an ``Exception`` in the place of its result instead of raising it.

    Raises:
        ExceptionGroup: an awaitable failed; the group has its exception, the same object, and those of others that
            failed in the same turn of the loop or while being cancelled.
        asyncio.CancelledError: if this call or one of the awaitables is cancelled; it is never a result.
    """
    handed = HandedDown()
    try:
        with handed.given():
            if return_exceptions:
                return await own_gather(*aws, return_exceptions=True)
            sink = GroupSink()
            return cast("list[T]", await run_together(Run.unbounded("gather", aws, sink), sink))
    finally:
        handed.over = True


async def race(*aws: Awaitable[T]) -> T:
    """Run awaitables at once, return the result of the first to complete, and cancel the others.

    The others have ended when this returns.

    Args:
        aws: At least one awaitable.

    Raises:
        Exception: that of the first to complete, if it failed: the same object, not in a group.
        asyncio.CancelledError: if this call, or one of them before there was a winner, is cancelled.
        ValueError: there are no awaitables.
    """
    handed = HandedDown()
    try:
        with handed.given():
            return await own_race(*aws)
    finally:
        handed.over = True


@overload
async def bounded_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter,
    return_exceptions: Literal[False] = False,
) -> list[R]: ...


@overload
async def bounded_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter,
    return_exceptions: bool,
) -> list[R | Exception]: ...


async def bounded_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter,
    return_exceptions: bool = False,
) -> list[R] | list[R | Exception]:
    """Call ``await func(item)`` for every item, at most `limit` at a time, and return the results in order.

    Args:
        func: Takes one item and returns an awaitable.
        items: Any iterable or async iterable; pulled as slots come free.
        limit: How many run at once, at least 1, or one of spanloom's limiters.
        return_exceptions: As for `gather`.

    Raises:
        ExceptionGroup, asyncio.CancelledError: as `gather`; no further item is started.
        Exception: what `items` raises, unchanged.
        ValueError: `limit` is below 1; nothing has been consumed.
    """
    check_limit(limit)
    check_function(func, "bounded_map")
    sink = ListSink("return") if return_exceptions else GroupSink()
    run = Run.bounded(
        "bounded_map",
        Source.of(items, "items", jobs=False),
        sink,
        limit=limit,
        call=compose(func, timeout=None, retry=None, limit=limit),
        function=func,
    )
    handed = HandedDown()
    try:
        with handed.given():
            if isinstance(sink, GroupSink):
                return cast("list[R]", await run_together(run, sink))
            await run.run()
            return cast("list[R | Exception]", sink.results())
    finally:
        handed.over = True


def check_limit(limit: int | Limiter | None) -> None:
    """Check that a number of slots is at least 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(limit, int) and limit < 1:
        raise ValueError("limit must be >= 1")
