"""A client whose every call waits for a limiter."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar, cast, runtime_checkable

from spanloom.concurrency.limits import Limiter

__all__ = ["LimiterBlock", "limited"]

T = TypeVar("T")


@runtime_checkable
class LimiterBlock(Limiter, AbstractAsyncContextManager[object], Protocol):
    """A limiter for ``async with``."""


def limited(client: T, limiter: Limiter) -> T:
    """Return `client` with every asynchronous call of it under `limiter`.

    ::

        openai = limited(AsyncOpenAI(), Cooldown(AdaptiveLimiter()))
        await openai.chat.completions.create(...)  # takes a slot, gives it back

    A call takes its slot when it is awaited, and gives it back when it has ended: the slot of an async context
    manager (``async with client.stream(...)``) is held until its block ends, that of an async iterator until that is
    exhausted or closed. What a call returns is not held back any more: a stream that had to be awaited is read
    without a slot. Synchronous calls and plain values pass through, and so do names that begin with an underscore.
    Other attributes, such as ``client.chat``, are limited in turn. The limiter sees how the calls end: an
    `AdaptiveLimiter` or a `Cooldown` learns from them.

    The client itself is not changed: calls made directly on it have no limit. The result is a proxy, of the
    same class for `isinstance`.

    Args:
        client: Any object with asynchronous methods, or an asynchronous function.
        limiter: One that can be used by ``async with``, as all of spanloom's can.

    Raises:
        TypeError: `limiter` is no limiter, or cannot be used by ``async with``.
    """
    if not isinstance(limiter, LimiterBlock):
        raise TypeError(
            f"limiter must be a limiter that can be used by `async with`, not {type(limiter).__name__}; "
            f"for a number, FixedLimiter(n)"
        )
    from spanloom.instrument.proxies import limited_value  # late: wrapt takes longer to import than spanloom

    return cast("T", limited_value(client, limiter))
