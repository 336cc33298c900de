"""The vocabulary's words."""

from __future__ import annotations

import asyncio

import pytest

from spanloom.events import EventStatus, EventType
from spanloom.events.types import status_of


class OwnTimeoutError(TimeoutError):
    pass


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "ok"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (TimeoutError(), "timeout"),
        (OwnTimeoutError(), "timeout"),
        (ValueError(), "error"),
        (KeyboardInterrupt(), "error"),
        (SystemExit(), "error"),
    ],
)
def test_the_status_says_what_ended_an_event(error: BaseException | None, status: str) -> None:
    """Cancelled is neither ok nor an error, and a timeout is told from other errors."""
    assert status_of(error) == status


def test_the_words_are_strings() -> None:
    """A reader needs no enum: members equal, hash and print as their values."""
    assert EventType.JOB == "job"
    assert {"job": 1}[EventType.JOB] == 1
    assert f"{EventStatus.TIMEOUT}" == "timeout"
