"""The ``Retry-After`` that an exception carries, as RFC 9110, section 10.2.3, defines it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["attribute_of", "parse_retry_after", "retry_after_of"]

MAX_S: Final = 7 * 86_400.0
"""Seconds, a week; a ``Retry-After`` that is not below (infinity and not-a-number included) is ignored."""


def retry_after_of(error: BaseException, *, now: datetime | None = None) -> float | None:
    """Return the seconds that the server asked to wait, at least 0; ``None`` if it did not ask.

    Looks, in this order, at ``error.retry_after`` (a number of seconds, a date or a header's text),
    ``error.headers`` and ``error.response.headers`` (httpx, aiohttp, requests, openai, anthropic,
    botocore's dict are all found this way). Never raises: a header that makes no sense is ignored.

    Args:
        error: What the attempt raised.
        now: The present time, for dates; by default the system clock's.
    """
    for value in _candidates(error):
        seconds = parse_retry_after(value, now=now)
        if seconds is not None:
            return seconds
    return None


def parse_retry_after(value: object, *, now: datetime | None = None) -> float | None:
    """Return a ``Retry-After`` value as seconds from `now`, at least 0; ``None`` if it is not valid.

    Args:
        value: Seconds as a number or as text, a `datetime`, or an HTTP-date; text may be bytes.
        now: The present time, for dates; by default the system clock's.
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
            return _sane(float(text))  # the RFC allows only whole seconds; several providers send fractions
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
    """Return `seconds`, at least 0; ``None`` if it is not below `MAX_S`."""
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
    """Return attribute `name` of `owner`; ``None`` if it is missing, or if reading it raises."""
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001 -- a foreign property, such as one that needs a response that never came
        return None


def _header(headers: object) -> object:
    get: Any = attribute_of(headers, "get")
    if get is None:
        return None
    try:
        return get("retry-after") or get("Retry-After")
    except Exception:  # noqa: BLE001 -- a foreign mapping; without the header we still retry
        return None
