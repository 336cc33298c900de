"""Policies of tenacity, wherever spanloom takes a policy. tenacity itself is never imported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.attempts import back_off
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
    """A ``tenacity.AsyncRetrying`` as a policy of ours: its rules, our events.

    Each call works on a copy, because the state of an AsyncRetrying is shared by all of its calls
    (tenacity #93). Cancels and exits are raised at once, whatever its ``retry`` says.
    """

    def __init__(self, retrying: Any) -> None:  # Any: tenacity is not a dependency of ours
        self._retrying = retrying

    async def attempt(self, call: Callable[[], Awaitable[T]], name: str) -> T:
        """Call until tenacity is content or gives up; see `RetryPolicy.attempt`."""
        manager = get_callback_manager()
        task = asyncio.current_task()
        cancels = 0 if task is None else task.cancelling()
        number, reason = 1, ""
        value = cast("T", None)

        async def sleep(pause: float) -> None:  # tenacity has reset its own state by then
            await back_off(manager, name, number, pause, reason)

        async for attempt in self._retrying.copy(sleep=sleep):
            number = attempt.retry_state.attempt_number
            fatal: BaseException | None = None
            with attempt:
                try:
                    with manager.attempt(EventType.ATTEMPT, name, number):
                        value = await call()
                    reason = "unwanted result"
                except BaseException as error:
                    reason = type(error).__name__
                    # What answers a cancel is not to be retried either: see make_attempts.
                    answer = task is not None and task.cancelling() > cancels
                    if isinstance(error, Exception) and not answer:
                        raise
                    fatal = error  # raised below, past tenacity
            if fatal is not None:
                try:
                    raise fatal
                finally:
                    fatal = None
            if not attempt.retry_state.outcome.failed:
                attempt.retry_state.set_result(value)
        return value
