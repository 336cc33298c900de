"""backoff: calls of decorated functions are retries, and handlers get what they got."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import backoff
import pytest

from spanloom import current_event, instrument, run_jobs, uninstrument
from spanloom.testing import EventCapture
from tests.instrument.targets.flaky import Flaky, retried
from tests.instrument.targets.patching import patched

SHORT: dict[str, Any] = {"interval": 0.001, "jitter": None}


@pytest.fixture
def captured() -> Iterator[EventCapture]:
    """The events while backoff is patched."""
    with patched("backoff") as captured:
        yield captured


async def test_a_decorated_coroutine_function_is_a_retry(captured: EventCapture) -> None:
    """Each call is one event with its attempts and back-offs."""
    flaky = Flaky(3)

    @backoff.on_exception(backoff.constant, ConnectionError, **SHORT)
    async def fetch() -> int:
        return flaky()

    assert await fetch() == 3
    assert captured.tree() == retried("fetch", 2)
    backoffs = [dict(event.payload) for event in captured.events if event.type == "backoff"]
    assert backoffs == [{"delay_s": 0.001, "error": "ConnectionError"}] * 2
    assert current_event() is None


def test_a_synchronous_function_that_gives_up_has_its_error(captured: EventCapture) -> None:
    """The last attempt's own exception ends the retry, and is raised on."""
    error = ConnectionError("no")

    @backoff.on_exception(backoff.constant, ConnectionError, max_tries=2, **SHORT)
    def fetch() -> None:
        raise error

    with pytest.raises(ConnectionError) as raised:
        fetch()
    assert raised.value is error
    assert captured.tree() == retried("fetch", 1, "error ConnectionError", "error ConnectionError")


def test_a_result_may_be_the_reason(captured: EventCapture) -> None:
    """With ``on_predicate``, the attempt has ended well, and the back-off says why it is made."""
    flaky = Flaky(1)

    @backoff.on_predicate(backoff.constant, lambda number: number < 2, **SHORT)
    def poll() -> int:
        return flaky()

    assert poll() == 2
    assert (
        captured.tree() == "retry poll ok\n  attempt poll 1. ok\n  backoff poll 1. ok\n  attempt poll 2. ok"
    )
    assert [event.payload["error"] for event in captured.events if event.type == "backoff"] == [
        "unwanted result"
    ]


def test_decorators_may_be_stacked(captured: EventCapture) -> None:
    """The attempts of the outer decorator hold the retries of the inner one."""
    flaky = Flaky(2)

    @backoff.on_predicate(backoff.constant, **SHORT)
    @backoff.on_exception(backoff.constant, ConnectionError, **SHORT)
    def fetch() -> int:
        return flaky()

    assert fetch() == 2
    inner = retried("fetch", 1).replace("\n", "\n    ")
    assert captured.tree() == f"retry fetch ok\n  attempt fetch 1. ok\n    {inner}"


async def test_a_cancel_of_the_pause_ends_everything(captured: EventCapture) -> None:
    """Back-off and retry of a call that is cancelled while it pauses are cancelled."""

    @backoff.on_exception(backoff.constant, ConnectionError, interval=100, jitter=None)
    async def fetch() -> None:
        raise ConnectionError

    task = asyncio.create_task(fetch())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    status = "cancelled asyncio.exceptions.CancelledError"
    assert captured.tree() == (
        f"retry fetch {status}\n  attempt fetch 1. error ConnectionError\n  backoff fetch 1. {status}"
    )


async def test_jobs_count_their_attempts(captured: EventCapture) -> None:
    """Retries inside the jobs of a batch count as those of spanloom do."""

    @backoff.on_exception(backoff.constant, ConnectionError, **SHORT)
    async def fetch(flaky: Flaky) -> int:
        return flaky()

    assert await run_jobs([fetch(Flaky(good)) for good in (1, 2, 3)]) == [1, 2, 3]
    (batch,) = (event for event in captured.events if event.type == "batch")
    assert batch.counts is not None
    assert (batch.counts.retried, batch.counts.backing_off) == (3, 0)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_handlers_and_functions_are_as_they_were(
    captured: EventCapture, caplog: pytest.LogCaptureFixture, asynchronous: bool
) -> None:
    """Handlers see the user's own function, in the same order and number, and so does who unwraps the function."""
    seen: list[tuple[str, Any, int]] = []
    flaky = Flaky(2)

    def note(kind: str) -> Any:
        def handler(details: Any) -> None:
            seen.append((kind, details["target"], details["tries"]))

        async def async_handler(details: Any) -> None:
            handler(details)

        return async_handler if asynchronous else handler

    def call() -> int:
        """Fetch."""
        return flaky()

    async def call_async() -> int:
        """Fetch."""
        return flaky()

    target: Any = call_async if asynchronous else call
    decorate = backoff.on_exception(
        backoff.constant,
        ConnectionError,
        on_backoff=[note("backoff")],
        on_success=note("success"),
        **SHORT,
    )
    assert decorate.__name__ == "decorate"
    fetch: Any = decorate(target)
    with caplog.at_level(logging.INFO, "backoff"):
        assert (await fetch() if asynchronous else fetch()) == 2
    assert seen == [("backoff", target, 1), ("success", target, 2)]
    assert len(caplog.records) == 1
    assert (fetch.__wrapped__, fetch.__name__, fetch.__doc__) == (target, target.__name__, "Fetch.")
    assert inspect.iscoroutinefunction(fetch) is asynchronous
    assert vars(fetch).keys() == {"__wrapped__"}


def test_a_decorated_function_makes_events_until_it_does_not() -> None:
    """Functions that were decorated meanwhile make events while backoff is patched, and no others."""
    with patched("backoff") as captured:
        fetch = backoff.on_exception(backoff.constant, ConnectionError, **SHORT)(Flaky(2).__call__)
        fetch()
        assert len(captured.started) == 4
        uninstrument("backoff")
        assert fetch() == 3
        assert len(captured.started) == 4
        instrument("backoff")
        assert fetch() == 4
        assert len(captured.started) == 6


def test_a_changed_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What backoff lacks of what is known of it makes one warning, and the rest is as it was."""
    original = backoff.on_exception
    monkeypatch.delattr(backoff, "on_predicate")
    with caplog.at_level(logging.WARNING, "spanloom"):
        instrument("backoff")
        instrument("backoff")
    uninstrument("backoff")
    assert len(caplog.records) == 1
    assert "backoff is not instrumented" in caplog.text
    assert backoff.on_exception is original
