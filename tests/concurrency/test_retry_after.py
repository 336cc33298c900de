"""The ``Retry-After`` that an exception carries."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from spanloom.concurrency.retry_after import parse_retry_after, retry_after_of

NOW = datetime(2024, 5, 6, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0),
        (2.5, 2.5),
        (-3, 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        (b"9", 9.0),
        ("Mon, 06 May 2024 12:00:30 GMT", 30.0),
        ("Monday, 06-May-24 12:00:30 GMT", 30.0),
        ("Mon, 06 May 2024 11:00:00 GMT", 0.0),
        (datetime(2024, 5, 6, 12, 1, 0, tzinfo=UTC), 60.0),
        (datetime(2024, 5, 6, 12, 1, 0), 60.0),  # noqa: DTZ001 -- taken for UTC
        (float("nan"), None),
        (True, None),
        (None, None),
        ("", None),
        ("soon", None),
        ("1.2.3", None),
        ("٣", None),
        ([], None),
        ("Mon, 06 May 20240000000000000000 12:00:30 GMT", None),
        ("Mon, 06 May 2024 12:00:30 +99999999999999999999", None),
        (-(10**400), 0.0),
        (10**400, None),
    ],
)
def test_seconds_and_dates_are_understood_and_nothing_else(value: object, seconds: float | None) -> None:
    """Seconds, fractions, HTTP-dates and datetimes give seconds of at least 0; nonsense gives None."""
    assert parse_retry_after(value, now=NOW) == seconds


class UnansweredError(Exception):
    """What a client raises that has no response yet, and says so when it is asked for it."""

    @property
    def response(self) -> object:
        raise RuntimeError("there is no response")

    headers = retry_after = response


def test_an_exception_that_cannot_be_asked_asks_for_nothing() -> None:
    """A property that raises is no header: the exception that is being looked at would be lost to its."""
    assert retry_after_of(UnansweredError()) is None


class BrokenHeaders:
    def get(self, name: str) -> str:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        ({"retry_after": 3}, 3.0),
        ({"headers": {"Retry-After": "4"}}, 4.0),
        ({"headers": {"retry-after": "4"}}, 4.0),
        ({"response": SimpleNamespace(headers={"Retry-After": "5"})}, 5.0),
        ({"response": {"ResponseMetadata": {"HTTPHeaders": {"retry-after": "6"}}}}, 6.0),
        ({"retry_after": "nonsense", "response": SimpleNamespace(headers={"Retry-After": "7"})}, 7.0),
        ({"retry_after": 1, "headers": {"Retry-After": "4"}}, 1.0),
        ({}, None),
        ({"headers": None, "response": None}, None),
        ({"headers": BrokenHeaders()}, None),
        ({"response": {"ResponseMetadata": None}}, None),
        ({"response": SimpleNamespace()}, None),
    ],
)
def test_it_is_found_where_the_usual_clients_put_it(
    attributes: dict[str, Any], seconds: float | None
) -> None:
    """On the exception, in its headers, in its response's headers, in botocore's dict; the first that makes sense."""
    error = Exception()
    for name, value in attributes.items():
        setattr(error, name, value)
    assert retry_after_of(error, now=NOW) == seconds
