"""Running numbers of a batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from spanloom.processing.result import WorkItemResult

__all__ = ["ProcessingStats", "error_type_of"]


@dataclass
class ProcessingStats:
    """Counts of a batch so far.

    Attributes:
        total: Items added.
        processed: Items that have ended.
        succeeded, failed: How many of them did.
        start_time: When it began, in seconds since the epoch; ``None`` before that.
        error_counts: How many items failed with each type of error.
        rate_limit_count: Attempts that were refused by a rate limit.
        total_input_tokens, total_output_tokens, total_tokens: Sums over all attempts of the items that have ended.
        cached_input_tokens, total_cached_tokens: Input tokens that came from a cache; both are the same number.
    """

    total: int = 0
    processed: int = 0
    succeeded: int = 0
    failed: int = 0
    start_time: float | None = None
    error_counts: dict[str, int] = field(default_factory=dict)
    rate_limit_count: int = 0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_tokens: int = 0
    cached_input_tokens: int = 0
    total_cached_tokens: int = 0

    def count(self, result: WorkItemResult[Any, Any]) -> None:
        """Count the end of an item."""
        self.processed += 1
        if result.success:
            self.succeeded += 1
        else:
            self.failed += 1
            kind = error_type_of(result)
            self.error_counts[kind] = self.error_counts.get(kind, 0) + 1
        usage = result.token_usage
        self.total_input_tokens += usage.get("input_tokens", 0)
        self.total_output_tokens += usage.get("output_tokens", 0)
        self.total_tokens += usage.get("total_tokens", 0)
        self.cached_input_tokens += usage.get("cached_input_tokens", 0)
        self.total_cached_tokens = self.cached_input_tokens

    def copy(self) -> dict[str, Any]:
        """Return the numbers as they are now, by name."""
        return asdict(self)


def error_type_of(result: WorkItemResult[Any, Any]) -> str:
    """Return the error type of a failed item, as statistics name it."""
    error: object = result.error  # a middleware may have put the exception itself there
    if isinstance(error, BaseException):
        return type(error).__name__
    return str(error or "unknown").partition(":")[0]
