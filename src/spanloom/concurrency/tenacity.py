"""Policies of tenacity, wherever spanloom takes a policy. tenacity itself is never imported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

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

        async def sleep(pause: float) -> None:
            failed = attempt.retry_state
            error = failed.outcome.exception() if failed.outcome.failed else None
            reason = "unwanted result" if error is None else type(error).__name__
            await back_off(manager, name, failed.attempt_number, pause, reason)

        value: T
        async for attempt in self._retrying.copy(sleep=sleep):
            fatal: BaseException | None = None
            with attempt:
                try:
                    with manager.attempt(EventType.ATTEMPT, name, attempt.retry_state.attempt_number):
                        value = await call()
                except Exception:
                    raise
                except BaseException as error:  # noqa: BLE001 -- raised below, past tenacity
                    fatal = error
            if fatal is not None:
                try:
                    raise fatal
                finally:
                    fatal = None
            if not attempt.retry_state.outcome.failed:
                attempt.retry_state.set_result(value)
        return value
