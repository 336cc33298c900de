"""`retry` and `RetryPolicy`: what is retried, how long the pauses are, and what is never retried."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from unittest.mock import AsyncMock

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom import CallbackManager, RetryPolicy, async_map, retry, use_callback_manager
from spanloom.testing import capture_events, virtual_clock

checked = settings(derandomize=True, deadline=None, database=None, print_blob=True)


class Flaky:
    """Fails with the given exceptions, one a call, and then returns; knows when it was called."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls: list[float] = []

    async def __call__(self) -> str:
        self.calls.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def run(flaky: Flaky, **options: Any) -> tuple[Any, list[float]]:
    """Return what `retry` gives or raises, and the pauses between the calls."""

    async def main() -> Any:
        try:
            return await retry(flaky, **options)
        except Exception as error:
            return error

    with virtual_clock() as runner:
        result = runner.run(main())
    return result, [
        round(later - earlier, 6) for earlier, later in zip(flaky.calls, flaky.calls[1:], strict=False)
    ]


@pytest.mark.parametrize("recorder", [0, 10])
def test_it_tries_until_it_succeeds(recorder: int) -> None:
    """The pauses grow by the multiplier up to max_delay, with or without events."""
    with use_callback_manager(CallbackManager(recorder=recorder)):
        flaky = Flaky(*[ConnectionError() for _ in range(5)])
        result, pauses = run(flaky, attempts=6, base_delay=1, multiplier=3, max_delay=10, jitter=0)
    assert (result, pauses) == ("done", [1, 3, 9, 10, 10])


def test_the_last_failure_is_raised_as_the_very_object() -> None:
    """When the attempts are used up the last exception comes out untouched."""
    errors = [ValueError(1), ValueError(2), ValueError(3), ValueError(4)]
    result, pauses = run(Flaky(*errors), base_delay=1, jitter=0)
    assert result is errors[2]
    assert pauses == [1, 2]
    assert result.__cause__ is None
    assert not hasattr(result, "__notes__")


def test_one_attempt_is_no_retry() -> None:
    """attempts=1 calls once and does not pause."""
    flaky = Flaky(ValueError())
    result, _ = run(flaky, attempts=1)
    assert isinstance(result, ValueError)
    assert len(flaky.calls) == 1


@pytest.mark.parametrize("kinds", [ConnectionError, (ConnectionError, KeyError)])
def test_only_what_is_to_be_retried_is_retried(kinds: Any) -> None:
    """Exceptions that are not in retry_on are raised at once."""
    mine = ValueError("mine")
    flaky = Flaky(ConnectionResetError(), mine)
    assert run(flaky, attempts=9, retry_on=kinds)[0] is mine
    assert len(flaky.calls) == 2


def test_classify_decides_first() -> None:
    """True retries, False raises, a number is the least pause, None leaves it to retry_on."""
    verdicts = {KeyError: True, IndexError: 7.5, TypeError: 0.25, ValueError: None, OSError: False}

    def classify(error: Exception) -> Any:
        return verdicts[type(error)]

    mine = OSError("mine")
    flaky = Flaky(KeyError(), IndexError(), TypeError(), ValueError(), mine)
    options: dict[str, Any] = {
        "attempts": 9,
        "base_delay": 1,
        "jitter": 0,
        "retry_on": ValueError,
        "classify": classify,
    }
    result, pauses = run(flaky, **options)
    assert result is mine
    assert pauses == [1, 7.5, 2, 2]


@pytest.mark.parametrize(
    "fatal", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()]
)
async def test_cancels_and_exits_are_never_retried(fatal: BaseException) -> None:
    """They are raised at once, the very object."""
    flaky = Flaky()

    async def call() -> None:
        await flaky()
        raise fatal

    with capture_events() as captured, pytest.raises(type(fatal)) as caught:
        await retry(call, attempts=9)
    assert caught.value is fatal
    assert len(flaky.calls) == 1
    assert [event.type for event in captured.events] == ["attempt", "retry"]


def test_an_exception_that_answers_a_cancel_is_not_retried() -> None:
    """Code that turns a cancel into an exception of its own is not called again: that would undo the cancel."""
    calls = 0

    async def convert() -> None:
        nonlocal calls
        calls += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("cancelled") from None

    async def main() -> None:
        async with asyncio.timeout(5):
            await retry(convert, attempts=9)

    with virtual_clock() as runner, pytest.raises(ConnectionError):
        runner.run(main())
    assert calls == 1


def test_an_attempt_can_time_out() -> None:
    """attempt_timeout bounds one attempt, and the TimeoutError is retried like any failure."""
    durations = [60.0, 60.0, 1.0]

    async def call() -> float:
        return await asyncio.sleep(durations[0], durations.pop(0))

    async def main() -> float:
        await retry(call, base_delay=1, jitter=0, attempt_timeout=10)
        return asyncio.get_running_loop().time()

    with virtual_clock() as runner:
        assert runner.run(main()) == pytest.approx(10 + 1 + 10 + 2 + 1)


# the length of the pauses ---------------------------------------------------------------------------


@checked
@given(
    base=st.floats(0, 1e6),
    longest=st.floats(0, 1e6),
    multiplier=st.floats(1, 1e6),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 10_000),
)
def test_a_pause_lies_between_its_bounds(
    base: float, longest: float, multiplier: float, jitter: float, attempt: int
) -> None:
    """The pause is at most min(max_delay, base * multiplier ** (k - 1)), and at least that less the jitter."""
    policy = RetryPolicy(base_delay=base, max_delay=longest, multiplier=multiplier, jitter=jitter)
    try:
        full = min(longest, base * multiplier ** (attempt - 1))
    except OverflowError:
        full = longest if base else 0.0
    for _ in range(3):
        assert full * (1 - jitter) - 1e-9 <= policy.delay(attempt) <= full


def test_jitter_spreads_the_pauses() -> None:
    """Half of the pauses with jitter=1 are below half of the delay."""
    policy = RetryPolicy(base_delay=1, jitter=1)
    delays = sorted(policy.delay(1) for _ in range(1000))
    assert 0.4 < delays[500] < 0.6
    assert len(set(delays)) > 990


class RefusedError(Exception):
    """Carries what a server said."""

    def __init__(self, retry_after: object) -> None:
        super().__init__("refused")
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(30, 30), ("30", 30), (0.5, 1), ("1.25", 1.25), ("soon", 1), (None, 1), (-5, 1)],
)
def test_retry_after_in_seconds_is_a_floor(retry_after: object, pause: float) -> None:
    """The server's word may exceed max_delay, and never shortens a pause."""
    assert run(Flaky(RefusedError(retry_after)), base_delay=1, max_delay=2, jitter=0) == ("done", [pause])


def test_retry_after_as_a_date_is_a_floor() -> None:
    """An HTTP-date is a pause until then."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    result, pauses = run(Flaky(RefusedError(date)), base_delay=1, max_delay=2, jitter=0)
    assert result == "done"
    assert 80 < pauses[0] <= 91


# deadlines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [asyncio.timeout, anyio.fail_after, anyio.move_on_after])
def test_it_never_sleeps_past_a_deadline(scope: Any) -> None:
    """If the pause would end too late, the attempt's own exception is raised at once."""
    mine = ConnectionError("mine")
    flaky = Flaky(ConnectionError(), mine, ConnectionError())

    async def main() -> float:
        attempts = retry(flaky, attempts=9, base_delay=2, max_delay=60, jitter=0)
        with pytest.raises(ConnectionError) as caught:
            if scope is asyncio.timeout:
                async with scope(5):
                    await attempts
            else:
                with scope(5):
                    await attempts
        assert caught.value is mine
        return asyncio.get_running_loop().time()

    with virtual_clock() as runner:
        assert runner.run(main()) == pytest.approx(2)
    assert len(flaky.calls) == 2


def test_the_timeout_of_a_runner_is_a_deadline() -> None:
    """A job's own exception is its outcome if no further pause fits into its timeout."""

    async def job(number: int) -> None:
        raise ConnectionError(number)

    async def main() -> list[Any]:
        policy = RetryPolicy(attempts=9, base_delay=2, max_delay=60, jitter=0)
        return await async_map(job, [1], timeout=5, retry=policy, on_error="return")

    with virtual_clock() as runner:
        assert repr(runner.run(main())) == "[ConnectionError(1)]"
        assert runner.get_loop().time() == pytest.approx(2)


# events ---------------------------------------------------------------------------------------------


async def test_attempts_and_pauses_are_events() -> None:
    """One retry event encloses numbered attempts and pauses; failures do not belong to the retry."""
    with capture_events() as captured:
        await retry(Flaky(ConnectionError()), base_delay=0.001, jitter=0)
    assert captured.tree() == (
        "retry Flaky ok\n"
        "  attempt Flaky 1. error ConnectionError\n"
        "  backoff Flaky 1. ok\n"
        "  attempt Flaky 2. ok"
    )
    pause = next(event for event in captured.events if event.type == "backoff")
    assert dict(pause.payload) == {"delay_s": 0.001, "error": "ConnectionError"}


# policies -------------------------------------------------------------------------------------------


async def test_a_policy_decorates_functions() -> None:
    """`retrying` keeps name and arguments, and a policy can serve any number of calls at once."""
    failed: set[int] = set()

    @RetryPolicy(attempts=2, base_delay=0).retrying
    async def once(number: int, *, factor: int) -> int:
        """Fail the first time."""
        if number not in failed:
            failed.add(number)
            await asyncio.sleep(0)
            raise ValueError(number)
        return number * factor

    assert (once.__name__, once.__doc__) == ("once", "Fail the first time.")
    assert await asyncio.gather(*[once(number, factor=10) for number in range(5)]) == [0, 10, 20, 30, 40]


def test_a_policy_has_no_state() -> None:
    """It cannot be changed."""
    with pytest.raises(AttributeError):
        RetryPolicy().attempts = 5


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"attempts": 0}, ValueError, r"attempts must be at least 1 \(got 0\)"),
        ({"attempts": 2.5}, TypeError, "attempts must be an int"),
        ({"base_delay": -1}, ValueError, r"base_delay must be at least 0 \(got -1\)"),
        ({"max_delay": math.nan}, ValueError, r"max_delay must be at least 0 \(got nan\)"),
        ({"multiplier": 0.5}, ValueError, r"multiplier must be at least 1 \(got 0.5\)"),
        ({"jitter": 1.5}, ValueError, r"jitter must be from 0 to 1 \(got 1.5\)"),
        ({"attempt_timeout": 0}, ValueError, r"attempt_timeout must be above 0 seconds, or None \(got 0\)"),
        ({"max_delay": True}, TypeError, r"max_delay must be a number \(got True, bool\)"),
        ({"retry_on": "ValueError"}, TypeError, "retry_on must be exception classes"),
        ({"retry_on": asyncio.CancelledError}, TypeError, "a cancel or an exit is never retried"),
        ({"retry_on": (ValueError, KeyboardInterrupt)}, TypeError, "retry_on cannot hold KeyboardInterrupt"),
    ],
)
async def test_bad_arguments_are_refused_before_the_first_call(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Policy and function refuse the same, and say what is allowed."""
    flaky = Flaky()
    with pytest.raises(kind, match=message):
        await retry(flaky, **options)
    with pytest.raises(kind, match=message):
        RetryPolicy(**options)
    assert flaky.calls == []


async def test_a_classify_that_fails_is_told_and_hides_no_exception() -> None:
    """What it raises, or that it returns nonsense, is raised at once, and leads to what the attempt has raised."""
    failure, mistake = ValueError("the attempt's"), KeyError("of classify")

    def fails(error: Exception) -> bool:
        raise mistake

    with pytest.raises(KeyError) as caught:
        await retry(Flaky(failure), classify=fails)
    assert caught.value is mistake
    assert caught.value.__context__ is failure
    nonsense: Any = lambda error: "yes"  # noqa: E731 -- of another type than allowed
    says = r"classify must return True, False, a number of seconds or None \(got 'yes', str\)"
    for policy in (RetryPolicy(classify=nonsense), RetryPolicy(classify=nonsense, attempt_timeout=5)):
        with pytest.raises(TypeError, match=says) as wrong:
            await policy.retrying(flaky := Flaky(failure))()
        assert wrong.value.__context__ is failure
        assert len(flaky.calls) == 1


def test_numbers_of_others_are_as_good() -> None:
    """A ``Decimal`` cannot be added to a loop's time: it becomes a number of Python's where it is given."""
    half: Any = Decimal("0.5")
    policy = RetryPolicy(
        base_delay=half, max_delay=half, multiplier=2 * half, jitter=0 * half, attempt_timeout=half
    )
    flaky = Flaky(ValueError(), ValueError())

    async def main() -> list[str]:
        return await async_map(lambda _: flaky(), [0], retry=policy, timeout=10 * half)

    with virtual_clock() as runner:
        assert runner.run(main()) == ["done"]
    assert flaky.calls == [0.0, 0.5, 1.0]


async def test_a_coroutine_cannot_be_retried() -> None:
    """The message says to give the function."""
    coroutine = Flaky()()
    with pytest.raises(
        TypeError, match="not coroutine; give the function itself: a coroutine runs only once"
    ):
        await retry(coroutine)
    assert await coroutine == "done"


# tenacity -------------------------------------------------------------------------------------------


async def test_a_policy_of_tenacity_is_taken_with_our_events() -> None:
    """AsyncRetrying decides, and attempts and pauses are events all the same."""
    import tenacity

    policy = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.001))
    flaky = Flaky(ConnectionError())
    with capture_events() as captured:
        assert await async_map(lambda _: flaky(), [1], retry=policy, desc="batch") == ["done"]
    assert [(str(event.type), event.attempt, event.status) for event in captured.events] == [
        ("attempt", 1, "error"),
        ("backoff", 1, "ok"),
        ("attempt", 2, "ok"),
        ("job", 2, "ok"),
        ("batch", None, "ok"),
    ]
    pause = captured.events[1]
    assert dict(pause.payload) == {"delay_s": 0.001, "error": "ConnectionError"}


async def test_a_policy_of_tenacity_can_retry_results_and_give_up_its_way() -> None:
    """retry_if_result is obeyed; without reraise the end is tenacity's RetryError."""
    import tenacity

    values = [None, None, 3]

    async def call(_: object) -> int | None:
        return values.pop(0)

    stop = tenacity.stop_after_attempt(3)
    unwanted = tenacity.retry_if_result(lambda value: value is None)
    assert await async_map(call, [1], retry=tenacity.AsyncRetrying(retry=unwanted, stop=stop)) == [3]
    values[:] = [None, None, None, None]
    with pytest.raises(tenacity.RetryError):
        await async_map(call, [1], retry=tenacity.AsyncRetrying(retry=unwanted, stop=stop))
    assert len(values) == 1


async def test_a_mock_is_retried_like_any_function() -> None:
    """A function that claims to have every attribute is not taken for a partial, and has its type's name."""
    flaky = AsyncMock(side_effect=[ValueError, 1])
    with capture_events() as captured:
        assert await retry(flaky, base_delay=0) == 1
    assert {event.name for event in captured.events} == {"AsyncMock"}
