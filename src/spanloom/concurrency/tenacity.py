"""Adapter for tenacity's retry policies. tenacity itself is never imported."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.attempts import back_off, too_late
from spanloom.events.types import EventType

__all__ = ["TenacityPolicy", "is_tenacity"]

T = TypeVar("T")


def is_tenacity(policy: object) -> bool:
    """Tell whether `policy` is a ``tenacity.AsyncRetrying``, without importing tenacity."""
    return any(
        base.__name__ == "AsyncRetrying" and base.__module__.startswith("tenacity")
        for base in type(policy).__mro__
    )


class TenacityPolicy:
    """A ``tenacity.AsyncRetrying`` as a policy: its rules, our events.

    Each call works on a copy, because all calls of an AsyncRetrying share its state (tenacity #93).
    Cancels and exits are raised at once, whatever its ``retry`` says.
    """

    def __init__(self, retrying: Any) -> None:  # Any: tenacity is not a dependency
        self._retrying = retrying

    async def attempt(self, call: Callable[[], Awaitable[T]], name: str, *, deadline: float = math.inf) -> T:
        """Make attempts until tenacity accepts the result or gives up; see `RetryPolicy.attempt`."""
        manager = get_callback_manager()
        task = asyncio.current_task()
        cancels = 0 if task is None else task.cancelling()
        number = 0
        last: BaseException | None = None
        fatal: BaseException | None = None

        async def once() -> T:
            nonlocal number, last, fatal
            number += 1
            last = None
            try:
                with manager.attempt(EventType.ATTEMPT, name, number):
                    return await call()
            except BaseException as error:
                last = error
                # Nor is an exception that answers a cancel retried: see `attempts._pause_s`.
                if not isinstance(error, Exception) or (task is not None and task.cancelling() > cancels):
                    fatal = error
                raise

        async def sleep(pause: float) -> None:
            if fatal is not None:
                raise fatal
            if last is not None and too_late(pause, deadline):
                raise last
            reason = "unwanted result" if last is None else type(last).__name__
            await back_off(manager, name, number, pause, reason)

        try:
            value = cast("T", None)
            try:
                value = await self._retrying.copy(sleep=sleep)(once)
            except BaseException:
                if fatal is None:
                    raise
            if fatal is not None:
                raise fatal  # even if tenacity has handled it
            return value
        finally:
            last = fatal = None
