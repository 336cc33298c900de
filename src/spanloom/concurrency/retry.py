"""Retrying: attempts, and the pauses between them."""

from __future__ import annotations

import functools
import inspect
import math
import random
from asyncio import current_task
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import msgspec

from spanloom._numbers import check_count, check_number, own_number
from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.attempts import first_failed, make_attempts, make_retry, try_again
from spanloom.concurrency.functions import check_awaitable
from spanloom.concurrency.names import name_of
from spanloom.concurrency.retry_after import retry_after_of

__all__ = ["RetryPolicy", "retry"]

P = ParamSpec("P")
T = TypeVar("T")

Classify = Callable[[Exception], bool | float | None]

_random = random.Random()  # noqa: S311 -- jitter, not crypto


class RetryPolicy(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """When to try again, and after what pause. Stateless: share one among any number of calls.

    The pause after failed attempt k (from 1) is::

        pause = min(max_delay, base_delay * multiplier ** (k - 1)) * (1 - jitter * u)
        pause = max(pause, Retry-After)

    with u uniform in [0, 1): exponential back-off with jitter as M. Brooker describes it in
    *Exponential Backoff and Jitter* (AWS Architecture Blog, 2015). The jitter is subtracted, so that
    `max_delay` holds and calls that reached it still spread out. ``jitter=0.5`` is his "equal jitter",
    ``jitter=1`` his "full jitter". A ``Retry-After`` of the exception (RFC 9110, 10.2.3; seconds or
    HTTP-date, in ``error.retry_after``, ``error.headers`` or ``error.response.headers``) is a minimum,
    and may exceed `max_delay`.

    If the pause would end after the task's deadline (anyio's effective deadline, ``asyncio.timeout``,
    the ``timeout`` of a runner), there is no pause: the attempt's own exception is raised at once,
    which says more than the timeout that would follow.

    Args:
        attempts: Most attempts, at least 1.
        base_delay: Pause after the first failure, in seconds, 0 or more.
        max_delay: Longest pause in seconds, 0 or more.
        multiplier: Factor from one pause to the next, at least 1.
        jitter: Largest share of the pause that is subtracted at random, from 0 to 1.
        retry_on: Exception classes to retry; others are raised at once.
        classify: Called with the exception of each attempt but the last: ``True`` retries it, ``False``
            raises it, a number retries it after at least that many seconds, ``None`` leaves it to `retry_on`.
            An exception of its own is raised, with the attempt's exception as its ``__context__``.
        attempt_timeout: Seconds that one attempt may take before it fails with ``TimeoutError``;
            ``None`` for no bound.

    Raises:
        ValueError: a number is out of range.
        TypeError: `attempts` is not an int, another one is not a number, or `retry_on` holds anything but subclasses
            of `Exception`.
    """

    attempts: int = 3
    base_delay: float = 0.1
    max_delay: float = 2.0
    multiplier: float = 2.0
    jitter: float = 0.1
    retry_on: tuple[type[Exception], ...] | type[Exception] = (Exception,)
    classify: Classify | None = None
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        check_count(self.attempts, "attempts")
        for name, low, high in (
            ("base_delay", 0.0, math.inf),
            ("max_delay", 0.0, math.inf),
            ("multiplier", 1.0, math.inf),
            ("jitter", 0.0, 1.0),
        ):
            if not low <= self._number(name) <= high:
                bound = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
                raise ValueError(f"{name} must be {bound} (got {getattr(self, name)!r})")
        if self.attempt_timeout is not None and not self._number("attempt_timeout") > 0:
            raise ValueError(
                f"attempt_timeout must be above 0 seconds, or None (got {self.attempt_timeout!r})"
            )
        kinds = self.retry_on if isinstance(self.retry_on, tuple) else (self.retry_on,)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"retry_on must be exception classes (got {kind!r})")
            if not issubclass(kind, Exception):
                raise TypeError(
                    f"retry_on cannot hold {kind.__name__}: a cancel or an exit is never retried; "
                    f"give subclasses of Exception"
                )

    def _number(self, name: str) -> float:
        """Return a field as an int or float, and store it so."""
        given = getattr(self, name)
        number = check_number(given, name)
        if number is not given:
            msgspec.structs.force_setattr(self, name, number)
        return number

    def delay(self, attempt: int) -> float:
        """Return the pause in seconds after failed attempt `attempt` (from 1), without Retry-After."""
        try:
            delay = min(self.max_delay, self.base_delay * self.multiplier ** (attempt - 1))
        except OverflowError:
            delay = self.max_delay if self.base_delay else 0.0
        return delay * (1 - self.jitter * _random.random())

    def pause_after(self, error: Exception, attempt: int) -> float | None:
        """Return the pause in seconds before the next attempt; ``None`` to raise `error` instead."""
        if attempt >= self.attempts:
            return None
        verdict = None if self.classify is None else self.classify(error)
        if verdict is None:
            verdict = isinstance(error, self.retry_on)
        if verdict is False:
            return None
        pause = self.delay(attempt)
        if verdict is not True:
            seconds = own_number(verdict)
            if seconds is None:
                raise TypeError(
                    f"classify must return True, False, a number of seconds or None (got {verdict!r}, "
                    f"{type(verdict).__name__})"
                )
            pause = max(pause, seconds)
        return max(pause, retry_after_of(error) or 0.0)

    def attempt(
        self, call: Callable[[], Awaitable[T]], name: str, *, deadline: float = math.inf
    ) -> Coroutine[Any, Any, T]:
        """Return a coroutine that makes attempts until one succeeds or the policy gives up; for runners.

        Each attempt and each pause is an event named `name`.

        Args:
            call: Makes the awaitable of one attempt.
            name: Name of the events.
            deadline: On the loop's clock, if the caller knows one.
        """
        return make_attempts(call, name, self.pause_after, self.attempt_timeout, deadline)

    def retrying(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Decorate a coroutine function so that each call retries by this policy.

        Returns:
            A coroutine function with the signature of `fn`.

        Raises:
            TypeError: `fn` is not callable, or is a generator function.
        """
        given: object = fn
        if not callable(given):
            raise TypeError(f"retrying decorates functions, not {type(given).__name__}")
        check_awaitable(fn, "retrying")
        name = name_of(fn) or "retry"
        pause_after, attempt_timeout = self.pause_after, self.attempt_timeout
        if attempt_timeout is not None:

            @functools.wraps(fn)
            async def call_in_time(*args: P.args, **kwargs: P.kwargs) -> T:
                return await make_retry(
                    functools.partial(fn, *args, **kwargs), name, pause_after, attempt_timeout
                )

            return call_in_time

        @functools.wraps(fn)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            # As in make_retry, inlined to save a coroutine: nearly every call succeeds at once.
            manager = get_callback_manager()
            task = current_task()
            cancels = 0 if task is None else task.cancelling()
            del task  # else it and this frame might keep each other alive
            begun = manager.begin_retry(name) if manager.active else None
            try:
                value = await fn(*args, **kwargs)
            except BaseException as error:
                failed = first_failed(manager, begun, error, cancels, pause_after)
                if failed is None:
                    raise
            else:
                if begun is not None:
                    manager.end_retry(begun)
                return value
            return await try_again(failed, functools.partial(fn, *args, **kwargs), name, pause_after, None)

        return call


_DEFAULTS = (3, 0.1, 2.0, 2.0, 0.1, (Exception,), None, None)
_DEFAULT_POLICY = RetryPolicy()


async def retry(
    fn: Callable[[], Awaitable[T]],
    *,
    attempts: int = 3,
    base_delay: float = 0.1,
    max_delay: float = 2.0,
    multiplier: float = 2.0,
    jitter: float = 0.1,
    retry_on: tuple[type[Exception], ...] | type[Exception] = (Exception,),
    classify: Classify | None = None,
    attempt_timeout: float | None = None,
) -> T:
    """Call `fn` until it succeeds, with pauses in between; return its result.

    The pause after failed attempt k is ``min(max_delay, base_delay * multiplier ** (k - 1))``, less a
    random share of up to `jitter`, and at least the ``Retry-After`` of the exception. See `RetryPolicy`
    for the whole formula, its source, and the other arguments.

    Emits one event of type ``retry`` around events of the types ``attempt`` and ``backoff``.

    Args:
        fn: Called without arguments for each attempt; returns an awaitable.

    Returns:
        What the first successful attempt returned.

    Raises:
        Exception: what the last attempt raised, the same object: when attempts are used up, when it
            is not to be retried, or when the next pause would end after the deadline.
        asyncio.CancelledError: as soon as the task is cancelled; a cancel is never retried.
        ValueError: an argument is out of range; `fn` has not been called.
        TypeError: `fn` is not callable, or an argument is of the wrong type; `fn` has not been called.
    """
    options = (attempts, base_delay, max_delay, multiplier, jitter, retry_on, classify, attempt_timeout)
    if options == _DEFAULTS:
        policy = _DEFAULT_POLICY
    else:
        policy = RetryPolicy(
            attempts=attempts,
            base_delay=base_delay,
            max_delay=max_delay,
            multiplier=multiplier,
            jitter=jitter,
            retry_on=retry_on,
            classify=classify,
            attempt_timeout=attempt_timeout,
        )
    if not callable(fn):
        hint = "; give the function itself: a coroutine runs only once" if inspect.isawaitable(fn) else ""
        raise TypeError(f"retry needs a function to call for each attempt, not {type(fn).__name__}{hint}")
    return await make_retry(fn, "", policy.pause_after, policy.attempt_timeout)
