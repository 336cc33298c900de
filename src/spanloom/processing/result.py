"""The result of an item, and of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from spanloom.processing.tokens import TokenUsage, no_tokens

__all__ = ["SKIPPED", "BatchResult", "WorkItemResult", "text_of"]

TOutput = TypeVar("TOutput")
TContext = TypeVar("TContext")

SKIPPED: Final = "Skipped by middleware"
"""The error of an item that a middleware has left out."""
MAX_TEXT: Final = 500
"""Characters of an exception's text that a result keeps."""
CACHE_DISCOUNT: Final = 0.9
"""Fraction by which a cached token is cheaper: Gemini charges a tenth."""


@dataclass
class WorkItemResult(Generic[TOutput, TContext]):
    """How one item ended.

    Attributes:
        item_id: That of the item.
        success: Whether there is an output.
        output: What the strategy returned, ``None`` included; ``None`` if the item failed.
        error: ``"TypeName: text"`` of the exception, or exactly ``"Skipped by middleware"``; ``None`` on success.
        context: That of the item.
        token_usage: Tokens of all attempts, those that failed included.
        gemini_safety_ratings: For strategies that have them; spanloom never sets it.
    """

    item_id: str
    success: bool
    output: TOutput | None = None
    error: str | None = None
    context: TContext | None = None
    token_usage: TokenUsage = field(default_factory=no_tokens)
    gemini_safety_ratings: dict[str, str] | None = None


@dataclass
class BatchResult(Generic[TOutput, TContext]):
    """How a batch ended; all numbers are computed from `results`.

    Attributes:
        results: One for each item, in the order in which they ended, or in input order if that was asked for.
        total_items: How many.
        succeeded, failed: How many of them did.
        total_input_tokens, total_output_tokens: Of all of them.
        total_cached_tokens: Those of the input tokens that came from a cache.
    """

    results: list[WorkItemResult[TOutput, TContext]]
    total_items: int = 0
    succeeded: int = 0
    failed: int = 0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_cached_tokens: int = 0

    def __post_init__(self) -> None:
        usages = [result.token_usage for result in self.results]
        self.total_items = len(self.results)
        self.succeeded = sum(result.success for result in self.results)
        self.failed = self.total_items - self.succeeded
        self.total_input_tokens = sum(usage.get("input_tokens", 0) for usage in usages)
        self.total_output_tokens = sum(usage.get("output_tokens", 0) for usage in usages)
        self.total_cached_tokens = sum(usage.get("cached_input_tokens", 0) for usage in usages)

    def cache_hit_rate(self) -> float:
        """Return the percentage, 0 to 100, of the input tokens that came from a cache."""
        if not self.total_input_tokens:
            return 0.0
        return self.total_cached_tokens / self.total_input_tokens * 100.0

    def effective_input_tokens(self) -> int:
        """Return how many uncached input tokens would have cost the same; a cached one costs a tenth."""
        return self.total_input_tokens - int(self.total_cached_tokens * CACHE_DISCOUNT)


def text_of(error: BaseException, most: int | None = MAX_TEXT) -> str:
    """Return ``"TypeName: text"`` of `error`, with at most `most` characters of the text; ``None`` for all."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 -- an exception that cannot say what it is; its type still can
        text = "(its text cannot be made)"
    return f"{type(error).__name__}: {text[:most]}"
