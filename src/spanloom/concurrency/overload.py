"""Which exceptions mean that a server is overloaded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from spanloom.concurrency.retry_after import attribute_of, retry_after_of

__all__ = ["Judge", "is_rate_limit", "status_code_of"]

TOO_MANY_REQUESTS: Final = 429
UNAVAILABLE: Final = 503
_NAMES: Final = frozenset({"RateLimitError", "TooManyRequests", "TooManyRequestsError", "ResourceExhausted"})
"""Exception classes of clients that keep no status code."""

_logger = logging.getLogger("spanloom.concurrency")


class Judge:
    """Asks the user's function whether an exception counts. Never raises: the exception itself is being raised.

    Args:
        counts: The function.
        name: Name of the limiter, for the log.
    """

    def __init__(self, counts: Callable[[Exception], bool], name: str) -> None:
        self._counts = counts
        self._name = name
        self._has_failed = False

    def __call__(self, error: Exception) -> bool:
        """Return the function's verdict; False if it raises, which is logged once."""
        try:
            return bool(self._counts(error))
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                with suppress(Exception):  # a log that fails, or an exception that cannot be shown
                    _logger.exception(
                        "%s: the function that tells which exceptions count has failed on a %s, "
                        "which does not count then",
                        self._name,
                        type(error).__name__,
                    )
            return False


def is_rate_limit(error: BaseException) -> bool:
    """Tell whether a server refused a call because of a rate limit.

    That is HTTP status 429 (RFC 6585, section 4), 503 with a ``Retry-After`` (RFC 9110, section 15.6.4), and, without a
    status, exceptions whose class, or a base of it, is named like those of openai's, anthropic's and google's clients.
    """
    code = status_code_of(error)
    if code is not None:
        return code == TOO_MANY_REQUESTS or (code == UNAVAILABLE and retry_after_of(error) is not None)
    return any(kind.__name__ in _NAMES for kind in type(error).__mro__)


def status_code_of(error: BaseException) -> int | None:
    """Return the HTTP status that `error` carries, as those of httpx, aiohttp, requests and openai; else ``None``."""
    response = attribute_of(error, "response")
    for owner in (error, response):
        for name in ("status_code", "status", "code"):
            code = attribute_of(owner, name)
            if isinstance(code, int) and not isinstance(code, bool):
                if 100 <= code <= 599:
                    return code
                break  # not a status: the other names would be no better, and aiohttp warns about one of them
    return None
