"""When a row is tried again, unless somebody says otherwise."""

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
"""What an OSError may be about that another attempt could do away with; a file that is not there is none of them."""
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
"""By package, the base classes of its errors of the connection. By name: none of them needs to be installed."""


def is_connection_error(error: Exception) -> bool:
    """Tell whether a connection failed, or timed out: Python's own errors, and those of well-known clients.

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
"""Three attempts, for errors of the connection only; pauses double, up to half of one being chance."""


def check_retries(retries: object) -> None:
    """Make sure that `retries` is something that `policy_of` takes.

    Raises:
        TypeError: it is not.
    """
    if not _is_blocking(retries):
        compose(None, timeout=None, retry=retries)


def policy_of(retries: Any) -> object:  # Any: tenacity is no dependency of ours
    """Return the policy for the rows of one run.

    Args:
        retries: A `RetryPolicy`; tenacity's ``AsyncRetrying``, or its ``Retrying``, whose rules are taken and whose
            blocking sleep is not; ``None`` for `DEFAULT_RETRIES`.

    Returns:
        A policy that raises what the row itself has raised in the end, and not tenacity's ``RetryError``.
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
