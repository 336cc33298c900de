"""Classification of Gemini's errors, without importing its client."""

from __future__ import annotations

from typing import Final

from spanloom.processing.classifier import (
    RATE_LIMIT_TEXTS,
    SUGGESTED_WAIT_S,
    ErrorClassifier,
    ErrorInfo,
    classify_rest,
)
from spanloom.processing.errors import FrameworkTimeoutError

__all__ = ["GeminiErrorClassifier"]

TIMEOUT_TEXTS: Final = ("timeout", "504", "deadline")
"""An exception whose text contains one of these is a timeout."""


class GeminiErrorClassifier(ErrorClassifier):
    """Classifies what google-genai and pydantic-ai raise, by the names of their classes and by texts.

    A client error (HTTP 4xx) is retried, as a ``rate_limit`` if its text says so; a server error (5xx) only if it
    was a timeout; a model that did not keep to the wanted form is a ``validation_error``. The rest goes by its text,
    and then as `DefaultErrorClassifier` has it.
    """

    def classify(self, exception: Exception) -> ErrorInfo:
        """Return what `exception` means."""
        if isinstance(exception, FrameworkTimeoutError):
            return ErrorInfo(True, False, True, "framework_timeout")
        text = str(exception).lower()
        refused = any(part in text for part in RATE_LIMIT_TEXTS)
        late = any(part in text for part in TIMEOUT_TEXTS)
        if _is(exception, "google.genai.errors", "ServerError"):
            return ErrorInfo(late, False, late, "server_timeout" if late else "server_error")
        if refused:
            return ErrorInfo(True, True, False, "rate_limit", SUGGESTED_WAIT_S)
        if _is(exception, "google.genai.errors", "ClientError"):
            return ErrorInfo(True, False, False, "client_error")
        if _is(exception, "pydantic_ai.exceptions", "UnexpectedModelBehavior"):
            return ErrorInfo(True, False, False, "validation_error")
        if late:
            return ErrorInfo(True, False, True, "timeout")
        return classify_rest(exception)


def _is(exception: Exception, module: str, name: str) -> bool:
    return any(kind.__module__ == module and kind.__name__ == name for kind in type(exception).__mro__)
