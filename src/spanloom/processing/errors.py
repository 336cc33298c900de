"""Exceptions of attempts that the processor raises or understands."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FrameworkTimeoutError", "TokenTrackingError"]


class TokenTrackingError(Exception):
    """A call failed that had used tokens: carries how many.

    Args:
        message: What went wrong.
        token_usage: The tokens, as in `TokenUsage`.
    """

    def __init__(self, message: str, *, token_usage: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self._failed_token_usage = {} if token_usage is None else dict(token_usage)


class FrameworkTimeoutError(TimeoutError):
    """An attempt, or an item with all its attempts, took longer than the configuration allows.

    A timeout that the provider's client raises stays what it is.

    Attributes:
        item_id: Which item.
        elapsed: Seconds that it took.
        timeout_limit: Seconds that were allowed.
    """

    def __init__(
        self,
        message: str,
        *,
        item_id: str | None = None,
        elapsed: float | None = None,
        timeout_limit: float | None = None,
    ) -> None:
        super().__init__(message)
        self.item_id = item_id
        self.elapsed = elapsed
        self.timeout_limit = timeout_limit
