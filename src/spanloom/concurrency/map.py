"""`async_map`: one function over many items."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Literal, TypeVar, cast, overload

from spanloom.callbacks.standing import StallAfter
from spanloom.concurrency.call import compose
from spanloom.concurrency.checkpoint import Checkpointing
from spanloom.concurrency.functions import check_function
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.names import name_of
from spanloom.concurrency.runner import Isolation, Run, list_sink
from spanloom.concurrency.sink import OnError
from spanloom.concurrency.source import Source

__all__ = ["async_map"]

T = TypeVar("T")
R = TypeVar("R")


@overload
async def async_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    with_index: Literal[False] = False,
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    checkpoint: Checkpointing | None = None,
) -> list[R]: ...


@overload
async def async_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter | None = None,
    on_error: Literal["return"],
    with_index: Literal[False] = False,
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    checkpoint: Checkpointing | None = None,
) -> list[R | Exception]: ...


@overload
async def async_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    with_index: Literal[True],
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    checkpoint: Checkpointing | None = None,
) -> list[tuple[int, R]]: ...


@overload
async def async_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter | None = None,
    on_error: Literal["return"],
    with_index: Literal[True],
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    checkpoint: Checkpointing | None = None,
) -> list[tuple[int, R | Exception]]: ...


async def async_map(
    func: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | Limiter | None = None,
    on_error: OnError = "raise",
    with_index: bool = False,
    timeout: float | None = None,
    retry: object = None,
    isolation: Isolation = "task",
    show_progress: bool = False,
    desc: str | None = None,
    stall_after: StallAfter = "default",
    checkpoint: Checkpointing | None = None,
) -> list[R] | list[R | Exception] | list[tuple[int, R]] | list[tuple[int, R | Exception]]:
    """Run ``await func(item)`` for every item, and return the results in input order.

    `func` is called inside the job, so what it does before its first await is part of the job, too.
    See `run_jobs` for how the input is pulled and what `isolation` means.

    Args:
        func: Takes one item and returns an awaitable.
        items: Any iterable, iterator, async iterable or async iterator.
        limit: How many run at once, at least 1, or a limiter; ``None`` runs all items at once.
        on_error: ``"raise"``, ``"return"`` or ``"skip"``, as for `run_jobs`.
        with_index: Return pairs ``(index, result)``, with the index in the input from 0; useful with
            ``on_error="skip"``.
        timeout: Seconds for each item, attempts and back-offs included.
        retry: `RetryPolicy` or tenacity ``AsyncRetrying`` for each item.
        isolation: ``"task"`` or ``"context"``.
        show_progress: Show a progress bar, unless a handler shows one already.
        desc: Name of the batch; by default the name of `func`.
        stall_after: As for `run_jobs`.
        checkpoint: A `Checkpoint`: `func` is not called with an item whose result it has, and a job ends only when
            its result is stored.

    Returns:
        The results, or with `with_index` pairs ``(index, result)``, in input order.

    Raises:
        Exception, CheckpointError, asyncio.CancelledError, KeyboardInterrupt, ValueError, TypeError: as `run_jobs`.
    """
    check_function(func, "async_map")
    sink = list_sink(on_error, checkpoint)
    call = compose(func, timeout=timeout, retry=retry, name=name_of(func), limit=limit)
    run = Run.bounded(
        "async_map",
        Source.of(items, "items", jobs=False),
        sink,
        limit=limit,
        call=call,
        function=func,
        desc=desc,
        stall_after=stall_after,
        isolation=isolation,
        show_progress=show_progress,
    )
    try:
        await run.resume(checkpoint, func)
    except TypeError as error:
        note_not_awaitable(error, func)
        raise
    if with_index:
        return cast("list[tuple[int, R]]", sink.pairs())
    return cast("list[R]", sink.results())


def note_not_awaitable(error: TypeError, func: Callable[..., object]) -> None:
    """Add a note with advice to `error`, if Python raised it here because the result of `func` cannot be awaited."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None or "await" not in str(error) or at.tb_frame.f_globals.get("__package__") != __package__:
        return  # raised in func or in what it calls
    name = name_of(func)
    error.add_note(
        f"`{name}` has to return an awaitable: make it an `async def` or, if it blocks, "
        f"give functools.partial(asyncio.to_thread, {name})"
    )
