"""`retry`, which respects the deadline around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from spanloom.compat._lionherd.deadlines import ambient
from spanloom.concurrency.attempts import make_retry
from spanloom.concurrency.retry import RetryPolicy

__all__ = ["retry"]

T = TypeVar("T")


async def retry(
    fn: Callable[[], Awaitable[T]],
    *,
    attempts: int = 3,
    base_delay: float = 0.1,
    max_delay: float = 2.0,
    retry_on: tuple[type[Exception], ...] = (Exception,),
    jitter: float = 0.1,
) -> T:
    """Call `fn` until it succeeds, with pauses in between; return its result.

    The pause after failed attempt k is that of `RetryPolicy`: ``min(max_delay, base_delay * 2 ** (k - 1))``,
    less a random share of up to `jitter`, so that `max_delay` is kept. A pause that would end after the deadline
    around the call (`effective_deadline`) is not made: the error is raised at once.

    Args:
        fn: Called without arguments for each attempt; returns an awaitable.
        attempts: Most attempts, at least 1.
        base_delay: Pause after the first failure, in seconds.
        max_delay: Longest pause, in seconds.
        retry_on: Exception classes to retry; others are raised at once.
        jitter: Greatest fraction of the pause that is taken off at random, 0 or more; more than 1 counts as 1.

    Returns:
        What the first successful attempt returned.

    Raises:
        Exception: what the last attempt raised, the same object.
        asyncio.CancelledError: as soon as the task is cancelled; a cancel is never retried.
        ValueError, TypeError: an argument is wrong; `fn` has not been called.
    """
    policy = RetryPolicy(
        attempts=attempts,
        base_delay=base_delay,
        max_delay=max_delay,
        jitter=min(jitter, 1.0),
        retry_on=retry_on,
    )
    if not callable(fn):
        raise TypeError(f"retry needs a function to call for each attempt, not {type(fn).__name__}")
    return await make_retry(fn, "", policy.pause_after, None, ambient())
