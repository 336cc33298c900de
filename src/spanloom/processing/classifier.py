"""Which errors are worth another attempt, and which of them say that a server is asked too often."""

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
"""One of these in the text of an exception, in any case, and it is a rate limit."""
SUGGESTED_WAIT_S: Final = 300.0
"""What a rate limit suggests; the rate-limit strategy decides."""
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
"""Errors of a program: the next attempt would fail in the same way."""


@dataclass
class ErrorInfo:
    """What an error means for the item that it struck.

    Attributes:
        is_retryable: Whether another attempt makes sense.
        is_rate_limit: Whether all calls should pause.
        is_timeout: Whether something took too long.
        error_category: What statistics and guard rails call it.
        suggested_wait: Seconds, at least, until the next attempt; ``None`` for no opinion. For a rate limit the
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

    In this order: a text that speaks of a rate limit is a ``rate_limit``; our own timeout is a
    ``framework_timeout``, another one an ``api_timeout``; what speaks of a connection is a
    ``connection_error``; pydantic's ``ValidationError`` is a ``validation_error``: all of these are worth
    another attempt. ``ValueError``, ``TypeError`` and their like are ``logic_error`` and are not. All else is
    ``unknown`` and is.
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
    """Return what an exception means of which no text has told anything."""
    if is_validation_error(exception):
        return ErrorInfo(True, False, False, "validation_error")
    if isinstance(exception, LOGIC_ERRORS):
        return ErrorInfo(False, False, False, "logic_error")
    return ErrorInfo(True, False, False, "unknown")


def is_validation_error(exception: BaseException) -> bool:
    """Tell whether it is a ``ValidationError`` of pydantic, which has raised none if it is not loaded."""
    kind = getattr(sys.modules.get("pydantic_core"), "ValidationError", None)
    return isinstance(kind, type) and isinstance(exception, kind)
