"""When a row is tried again: the default, and what may be given instead."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any, Final

from spanloom.concurrency.call import compose
from spanloom.concurrency.retry import RetryPolicy

__all__ = ["DEFAULT_RETRIES", "check_retries", "is_connection_error", "policy_of"]

_NETWORK: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)
"""Numbers of the OSErrors of a network that another attempt may cure; a missing file is not among them."""
_CLIENTS: Final = {
    "aiohttp": {"ClientConnectionError", "ClientPayloadError"},
    "anthropic": {"APIConnectionError"},
    "botocore": {"HTTPClientError"},
    "httpcore": {"NetworkError", "ProtocolError", "TimeoutException"},
    "httpx": {"TransportError"},
    "openai": {"APIConnectionError"},
    "requests": {"ChunkedEncodingError", "ConnectionError", "Timeout"},
    "urllib3": {"MaxRetryError", "NewConnectionError", "ProtocolError", "TimeoutError"},
}
"""Base classes of connection errors, by package. Names, so that no package needs to be installed."""


def is_connection_error(error: Exception) -> bool:
    """Return whether a connection failed or timed out: Python's own errors, and those of well-known clients.

    Args:
        error: What an attempt raised.
    """
    if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, socket.herror)):
        return True
    if isinstance(error, OSError) and (
        error.errno in _NETWORK or (type(error) is OSError and error.errno is None)
    ):
        return True
    return any(
        base.__name__ in _CLIENTS.get(base.__module__.partition(".")[0], ()) for base in type(error).__mro__
    )


DEFAULT_RETRIES: Final = RetryPolicy(
    attempts=3, base_delay=1.0, max_delay=30.0, multiplier=2.0, jitter=0.5, classify=is_connection_error
)
"""Three attempts, for connection errors only. Pauses double from 1 s; jitter takes off up to half of each."""


def check_retries(retries: object) -> None:
    """Check that `retries` is something that `policy_of` accepts.

    Raises:
        TypeError: it is not.
    """
    if not _is_blocking(retries):
        compose(None, timeout=None, retry=retries)


def policy_of(retries: Any) -> object:  # Any: tenacity is no dependency of ours
    """Return the policy for the rows of one run.

    Args:
        retries: A `RetryPolicy`; tenacity's ``AsyncRetrying``, or its ``Retrying``, of which all rules are used but
            the blocking sleep; ``None`` for `DEFAULT_RETRIES`.

    Returns:
        A policy that finally raises the row's own exception, not tenacity's ``RetryError``.
    """
    if retries is None:
        return DEFAULT_RETRIES
    if isinstance(retries, RetryPolicy):
        return retries
    if _is_blocking(retries):
        rules = ("stop", "wait", "retry", "before", "after", "before_sleep", "retry_error_callback")
        given = {rule: getattr(retries, rule) for rule in rules}
        retries = sys.modules["tenacity"].AsyncRetrying(**given)
    return retries.copy(reraise=True)


def _is_blocking(retries: object) -> bool:
    return any(
        base.__name__ == "Retrying" and base.__module__.startswith("tenacity")
        for base in type(retries).__mro__
    )
