"""The ``Retry-After`` that an exception carries, as RFC 9110, section 10.2.3, defines it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["attribute_of", "parse_retry_after", "retry_after_of"]

MAX_S: Final = 7 * 86_400.0
"""A longer ``Retry-After`` (infinity and not-a-number included) is taken for nonsense."""


def retry_after_of(error: BaseException, *, now: datetime | None = None) -> float | None:
    """Return the seconds that the server asked to wait, or ``None`` if it did not say.

    Looks, in this order, at ``error.retry_after`` (a number of seconds, a date or a header's text),
    ``error.headers`` and ``error.response.headers`` (httpx, aiohttp, requests, openai, anthropic,
    botocore's dict are all found this way). Never raises: a header that makes no sense is no header.

    Args:
        error: What the attempt raised.
        now: The present, for dates; by default the clock's.
    """
    for value in _candidates(error):
        seconds = parse_retry_after(value, now=now)
        if seconds is not None:
            return seconds
    return None


def parse_retry_after(value: object, *, now: datetime | None = None) -> float | None:
    """Return what a ``Retry-After`` value means in seconds from `now`, at least 0; ``None`` if nothing.

    Args:
        value: Seconds as a number or as digits, a `datetime`, or an HTTP-date.
        now: The present, for dates; by default the clock's.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return _sane(value)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        text = value.strip()
        if text.replace(".", "", 1).isdecimal() and text.isascii():
            return _sane(float(text))  # the RFC has whole seconds; several providers send fractions
        from email.utils import parsedate_to_datetime  # 5 ms, and most servers send a number

        try:
            value = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # a year or an offset with twenty digits
            return None
    if isinstance(value, datetime):
        date = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return _sane((date - (now or datetime.now(UTC))).total_seconds())
    return None


def _sane(seconds: float) -> float | None:
    """Return `seconds` as a pause: at least 0, and nothing if no server can have meant it."""
    return float(max(0, seconds)) if seconds < MAX_S else None


def _candidates(error: BaseException) -> list[object]:
    found = [attribute_of(error, "retry_after"), _header(attribute_of(error, "headers"))]
    response = attribute_of(error, "response")
    if isinstance(response, Mapping):  # botocore's ClientError
        metadata = response.get("ResponseMetadata")
        found.append(_header(metadata.get("HTTPHeaders")) if isinstance(metadata, Mapping) else None)
    elif response is not None:
        found.append(_header(attribute_of(response, "headers")))
    return found


def attribute_of(owner: object, name: str) -> object:
    """Return what an exception, or what it carries, calls `name`; ``None`` if there is none, or it cannot be told."""
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001 -- a property of somebody else's, such as one that has no response yet
        return None


def _header(headers: object) -> object:
    get: Any = attribute_of(headers, "get")
    if get is None:
        return None
    try:
        return get("retry-after") or get("Retry-After")
    except Exception:  # noqa: BLE001 -- somebody else's mapping; without the header we still retry
        return None
