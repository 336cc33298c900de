"""Which exceptions say that a server has too much to do."""

from __future__ import annotations

from typing import Final

from spanloom.concurrency.retry_after import retry_after_of

__all__ = ["is_rate_limit", "status_code_of"]

TOO_MANY_REQUESTS: Final = 429
UNAVAILABLE: Final = 503
_NAMES: Final = frozenset({"RateLimitError", "TooManyRequests", "TooManyRequestsError", "ResourceExhausted"})
"""What clients that keep no status code call their exceptions."""


def is_rate_limit(error: BaseException) -> bool:
    """Tell whether a server refused because it was asked too often.

    That is HTTP status 429 (RFC 6585, section 4), 503 with a ``Retry-After`` (RFC 9110, section 15.6.4), and
    exceptions whose class, or a base of it, is called like those of openai, anthropic and google's clients.
    """
    code = status_code_of(error)
    if code is not None:
        return code == TOO_MANY_REQUESTS or (code == UNAVAILABLE and retry_after_of(error) is not None)
    return any(kind.__name__ in _NAMES for kind in type(error).__mro__)


def status_code_of(error: BaseException) -> int | None:
    """Return the HTTP status that `error` carries, or ``None``: as httpx, aiohttp, requests and openai keep it."""
    response = getattr(error, "response", None)
    for owner in (error, response):
        for name in ("status_code", "status", "code"):
            code = getattr(owner, name, None)
            if isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599:
                return code
    return None
