"""Which errors are worth another attempt, and which of them are rate limits."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from spanloom.processing.errors import FrameworkTimeoutError

__all__ = [
    "RATE_LIMIT_TEXTS",
    "SUGGESTED_WAIT_S",
    "DefaultErrorClassifier",
    "ErrorClassifier",
    "ErrorInfo",
    "classify_rest",
    "is_validation_error",
]

RATE_LIMIT_TEXTS: Final = ("429", "resource_exhausted", "quota", "rate limit")
"""An exception whose text contains one of these, in any case, is a rate limit."""
SUGGESTED_WAIT_S: Final = 300.0
"""Seconds that a rate limit suggests to wait; the rate-limit strategy decides."""
LOGIC_ERRORS: Final = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    NameError,
    ZeroDivisionError,
    AssertionError,
)
"""Programming errors: another attempt would fail in the same way."""


@dataclass
class ErrorInfo:
    """What an error means for the item that it struck.

    Attributes:
        is_retryable: Whether another attempt makes sense.
        is_rate_limit: Whether all calls should pause.
        is_timeout: Whether something took too long.
        error_category: Its kind, by which ``GuardRails.max_errors`` counts. A ``validation_error`` is tried again
            without a pause.
        suggested_wait: Least seconds until the next attempt; ``None`` for no minimum. For a rate limit the
            rate-limit strategy decides instead.
    """

    is_retryable: bool
    is_rate_limit: bool
    is_timeout: bool
    error_category: str
    suggested_wait: float | None = None


class ErrorClassifier(ABC):
    """Tells what an exception means."""

    @abstractmethod
    def classify(self, exception: Exception) -> ErrorInfo:
        """Return what `exception` means; called once for each failed attempt."""


class DefaultErrorClassifier(ErrorClassifier):
    """Classifies by type and text, without knowing any provider.

    The first category that fits counts; all but ``logic_error`` are worth another attempt:

    - ``rate_limit``: the text contains one of `RATE_LIMIT_TEXTS`;
    - ``framework_timeout``: a `FrameworkTimeoutError`, our own timeout;
    - ``api_timeout``: another ``TimeoutError``, or "timeout" in the text;
    - ``connection_error``: a ``ConnectionError``, or "connection" in the text;
    - ``validation_error``: pydantic's ``ValidationError``;
    - ``logic_error``: a ``ValueError``, ``TypeError`` or the like;
    - ``unknown``: all else.
    """

    def classify(self, exception: Exception) -> ErrorInfo:
        """Return what `exception` means."""
        text = str(exception).lower()
        if any(pattern in text for pattern in RATE_LIMIT_TEXTS):
            return ErrorInfo(True, True, False, "rate_limit", SUGGESTED_WAIT_S)
        if isinstance(exception, FrameworkTimeoutError):
            return ErrorInfo(True, False, True, "framework_timeout")
        if isinstance(exception, TimeoutError) or "timeout" in text:
            return ErrorInfo(True, False, True, "api_timeout")
        if isinstance(exception, ConnectionError) or "connection" in text:
            return ErrorInfo(True, False, False, "connection_error")
        return classify_rest(exception)


def classify_rest(exception: Exception) -> ErrorInfo:
    """Classify, by its type, an exception whose text says nothing."""
    if is_validation_error(exception):
        return ErrorInfo(True, False, False, "validation_error")
    if isinstance(exception, LOGIC_ERRORS):
        return ErrorInfo(False, False, False, "logic_error")
    return ErrorInfo(True, False, False, "unknown")


def is_validation_error(exception: BaseException) -> bool:
    """Return whether it is pydantic's ``ValidationError``; False if pydantic is not loaded."""
    kind = getattr(sys.modules.get("pydantic_core"), "ValidationError", None)
    return isinstance(kind, type) and isinstance(exception, kind)
