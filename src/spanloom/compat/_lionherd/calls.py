"""Calls between sync and async code, and `sleep`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
from anyio import current_time

from spanloom.concurrency.names import name_of
from spanloom.concurrency.sync import run_in_thread

__all__ = ["current_time", "is_coro_func", "run_async", "run_sync", "sleep"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def run_async(coro: Awaitable[T]) -> T:
    """Run an awaitable to its end on a new loop in a new thread, from sync code.

    Blocks this thread, with or without a running loop in it. The trace continues inside.

    Args:
        coro: A coroutine, or another awaitable that belongs to no loop yet.

    Returns:
        What it returns.

    Raises:
        BaseException: what it raises, the same object.
        spanloom.NestedLoopError: it waits for something that belongs to the loop that this call blocks.
    """

    async def waiting() -> T:
        return await coro

    waiting.__qualname__ = name_of(coro) or waiting.__qualname__  # what it is, not how it was called
    return run_in_thread(waiting())


async def run_sync(func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that blocks, in a thread, while the loop goes on.

    The function sees a copy of the caller's context. A cancel waits until it has returned.

    Returns:
        What `func` returns.
    """
    return await anyio.to_thread.run_sync(functools.partial(func, *args, **kwargs))


def is_coro_func(func: Callable[..., object]) -> bool:
    """Return whether `func`, or the function inside a ``functools.partial``, is an ``async def``."""
    while isinstance(func, functools.partial):
        func = func.func
    return inspect.iscoroutinefunction(func)


async def sleep(seconds: float) -> None:
    """Pause this task for that many seconds."""
    await anyio.sleep(seconds)
