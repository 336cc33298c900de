"""How an item becomes an awaitable: its function, its deadline, its attempts."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import CoroutineType
from typing import Any, Final, Protocol, TypeVar

import msgspec

from spanloom._numbers import check_number
from spanloom.concurrency.names import name_of
from spanloom.concurrency.rate import RateLimiter
from spanloom.concurrency.retry import RetryPolicy
from spanloom.concurrency.tenacity import TenacityPolicy, is_tenacity

__all__ = ["check_jobs", "compose", "start"]

CHECKED: Final = 1000
"""Jobs checked before anything starts: 0.5 ms. Later ones are checked when they start."""

T = TypeVar("T")
Call = Callable[[Any], Awaitable[Any]]


class _Policy(Protocol):
    def attempt(
        self, call: Callable[[], Awaitable[T]], name: str, *, deadline: float = ...
    ) -> Coroutine[Any, Any, T]: ...


def compose(
    call: Call | None,
    *,
    timeout: float | None,
    retry: object,
    name: str | None = None,
    limit: object = None,
) -> Call | None:
    """Return the function that makes the awaitable of an item, run inside the item's job.

    Args:
        call: Makes the awaitable of one attempt; ``None`` if the item is the job.
        timeout: Seconds for all attempts and back-offs of a job together, or ``None``.
        retry: A `RetryPolicy`, a tenacity ``AsyncRetrying``, or ``None``.
        name: Name of the attempts' events; by default that of each item.
        limit: The batch's limit. A `HeedfulLimiter` observes each attempt; a `RateLimiter` counts each.

    Raises:
        ValueError: `timeout` is not above 0.
        TypeError: `retry` is not a policy.
    """
    policy = _policy_of(retry)
    if timeout is not None:
        timeout = check_number(timeout, "timeout")
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, or None (got {timeout!r})")
    heed = getattr(limit, "attempt", None)
    if policy is not None:
        once = call or restart
        rate = limit if isinstance(limit, RateLimiter) else None
        if heed is not None or rate is not None:
            if isinstance(policy, RetryPolicy) and policy.attempt_timeout is not None:
                # The attempt's timeout goes inside: the limiter must see a TimeoutError, not a cancel, and a wait for
                # the limiter is no part of the attempt.
                once = _timing_out(once, policy.attempt_timeout)
                policy = msgspec.structs.replace(policy, attempt_timeout=None)
            if heed is not None:
                once = _heeded(once, heed)
        attempts = functools.partial(functools.partial, once) if rate is None else _rated(once, rate)
        return _retrying(attempts, policy, name, timeout)
    if timeout is not None:
        call = _timing_out(call, timeout)
    return call if heed is None else _heeded(call, heed)


def check_jobs(jobs: object, *, retry: object) -> None:
    """Make sure that jobs with a retry policy can be retried, as far as possible without consuming any.

    Raises:
        TypeError: one of them is a coroutine, which runs only once.
    """
    if retry is not None and isinstance(jobs, (list, tuple)):
        for job in jobs[:CHECKED]:
            _check_callable(job)


def start(job: Any) -> Awaitable[Any]:
    """Return the awaitable that `job` is, or that it returns when called.

    Raises:
        TypeError: it is neither.
    """
    if type(job) is CoroutineType or hasattr(job, "__await__"):
        return job  # type: ignore[no-any-return]  # a job may be of any type
    if not callable(job):
        unpack = (
            "; gather and race take jobs one by one: gather(*jobs)" if isinstance(job, list | tuple) else ""
        )
        raise TypeError(
            "a job must be an awaitable or a function without arguments that returns one, "
            f"not {type(job).__name__}{unpack}"
        )
    return job()  # type: ignore[no-any-return]  # a job may be of any type


def restart(job: Any) -> Awaitable[Any]:
    """Return the awaitable of one attempt of `job`, which must be a function.

    Raises:
        TypeError: it is not.
    """
    _check_callable(job)
    return job()  # type: ignore[no-any-return]  # a job may be of any type


def _check_callable(job: object) -> None:
    if inspect.isawaitable(job) or not callable(job):
        raise TypeError(
            f"a job that is to be retried must be a function that makes a fresh awaitable for each attempt, not "
            f"{type(job).__name__}; give functools.partial(fetch, url) instead of fetch(url)"
        )


def _policy_of(retry: object) -> _Policy | None:
    if retry is None or isinstance(retry, RetryPolicy):
        return retry
    if is_tenacity(retry):
        return TenacityPolicy(retry)
    raise TypeError(
        f"retry must be a RetryPolicy, a tenacity AsyncRetrying or None, not {type(retry).__name__}; "
        f"for example retry=RetryPolicy(attempts=3)"
    )


def _retrying(
    attempts: Callable[[Any], Callable[[], Awaitable[Any]]],
    policy: _Policy,
    name: str | None,
    timeout: float | None,
) -> Call:
    """Return a function that tries an item until it succeeds; `attempts(item)` returns the function for one try."""

    def retrying(item: Any) -> Awaitable[Any]:
        return policy.attempt(attempts(item), name or name_of(item) or "attempt")

    async def retrying_in_time(item: Any) -> Any:
        async with asyncio.timeout(timeout) as scope:
            deadline = scope.when() or math.inf
            return await policy.attempt(attempts(item), name or name_of(item) or "attempt", deadline=deadline)

    return retrying if timeout is None else retrying_in_time


def _rated(call: Call, rate: RateLimiter) -> Callable[[Any], Callable[[], Awaitable[Any]]]:
    """Return the `attempts` for `_retrying`: the job has acquired `rate` for its first try; each further try waits."""

    def attempts(item: Any) -> Callable[[], Awaitable[Any]]:
        starts = itertools.count()

        async def attempt() -> Any:
            if next(starts):
                await rate.acquire()
            return await call(item)

        return attempt

    return attempts


def _heeded(call: Call | None, attempt: Callable[[], AbstractAsyncContextManager[object]]) -> Call:
    """Return `call` observed by a limiter: each call runs inside ``async with attempt()``."""

    async def heeded(item: Any) -> Any:
        async with attempt():
            return await (start(item) if call is None else call(item))

    return heeded


def _timing_out(call: Call | None, timeout: float) -> Call:
    async def timing_out(item: Any) -> Any:
        async with asyncio.timeout(timeout):
            return await (start(item) if call is None else call(item))

    return timing_out
