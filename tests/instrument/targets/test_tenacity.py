"""tenacity: every form of a retry is one event with its attempts and back-offs, and works as it did."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from tenacity import (
    AsyncRetrying,
    RetryError,
    Retrying,
    retry,
    retry_if_result,
    stop_after_attempt,
    wait_fixed,
    wait_none,
)

from spanloom import current_event, instrument, run_jobs, uninstrument
from spanloom.testing import EventCapture
from tests.instrument.targets.flaky import Flaky, retried
from tests.instrument.targets.patching import patched

WAIT = wait_fixed(0.001)
RESULT_OR_ERROR = tenacity.retry_any(retry_if_result(bool), tenacity.retry_if_exception_type())


@pytest.fixture
def captured() -> Iterator[EventCapture]:
    """The events while tenacity is patched."""
    with patched("tenacity") as captured:
        yield captured


async def test_a_decorated_function_is_a_retry(captured: EventCapture) -> None:
    """Each call of a coroutine function is one event with its attempts and back-offs."""
    flaky = Flaky(3)

    @retry(wait=WAIT)
    async def fetch() -> int:
        return flaky()

    assert await fetch() == 3
    assert captured.tree() == retried("fetch", 2)
    backoffs = [dict(event.payload) for event in captured.events if event.type == "backoff"]
    assert backoffs == [{"delay_s": 0.001, "error": "ConnectionError"}] * 2
    assert current_event() is None


def test_a_synchronous_function_is_a_retry(captured: EventCapture) -> None:
    """A plain function is retried under the same events."""
    flaky = Flaky(2)
    fetch = retry(wait=WAIT)(flaky.__call__)
    assert fetch() == 2
    assert captured.tree() == retried("Flaky.__call__", 1)


async def test_a_call_that_is_given_up_ends_with_what_it_raises(captured: EventCapture) -> None:
    """The retry has the error that leaves it: tenacity's own, or that of the last attempt."""

    def retrying(**options: Any) -> Any:
        return AsyncRetrying(stop=stop_after_attempt(2), wait=WAIT, **options)

    async def fetch() -> None:
        raise ConnectionError

    with pytest.raises(RetryError):
        await retrying()(fetch)
    with pytest.raises(ConnectionError):
        await retrying(reraise=True)(fetch)
    assert await retrying(retry_error_callback=lambda state: "instead")(fetch) == "instead"
    name, error = fetch.__qualname__.rpartition(".")[2], "error ConnectionError"
    assert captured.tree().splitlines() == [
        *retried(name, 1, "error tenacity.RetryError", error).splitlines(),
        *retried(name, 1, error, error).splitlines(),
        *retried(name, 1, "ok", error).splitlines(),
    ]


async def test_what_is_not_to_be_retried_is_one_attempt(captured: EventCapture) -> None:
    """An exception that the policy does not retry is raised on, the same object."""
    error = KeyError("no")

    @retry(retry=tenacity.retry_if_exception_type(OSError))
    async def fetch() -> None:
        raise error

    with pytest.raises(KeyError) as raised:
        await fetch()
    assert raised.value is error
    assert captured.tree() == "retry fetch error KeyError\n  attempt fetch 1. error KeyError"


async def test_a_result_may_be_the_reason(captured: EventCapture) -> None:
    """An attempt whose result is not wanted has ended well, and its back-off says why it is made."""
    flaky = Flaky(1)

    @retry(retry=retry_if_result(lambda number: number < 2), wait=WAIT)
    async def fetch() -> int:
        return flaky()

    assert await fetch() == 2
    assert captured.tree() == (
        "retry fetch ok\n  attempt fetch 1. ok\n  backoff fetch 1. ok\n  attempt fetch 2. ok"
    )
    assert [event.payload["error"] for event in captured.events if event.type == "backoff"] == [
        "unwanted result"
    ]


async def loop_to_the_end(flaky: Flaky) -> None:
    async for attempt in AsyncRetrying(wait=WAIT):
        with attempt:
            flaky()


async def loop_with_return(flaky: Flaky) -> int:
    async for attempt in AsyncRetrying(wait=WAIT):
        with attempt:
            return flaky()
    raise AssertionError


async def synchronous_loop(flaky: Flaky) -> int:
    for attempt in Retrying(wait=WAIT):
        with attempt:
            return flaky()
    raise AssertionError


SHARED = AsyncRetrying(wait=WAIT)


async def shared_loop(flaky: Flaky) -> int:
    async for attempt in SHARED:
        with attempt:
            return flaky()
    raise AssertionError


@pytest.mark.parametrize("loop", [loop_to_the_end, loop_with_return, synchronous_loop, shared_loop])
async def test_a_loop_over_attempts_is_a_retry(captured: EventCapture, loop: Callable[[Flaky], Any]) -> None:
    """A loop is one event, named for the function it is in, however it is left."""
    await loop(Flaky(3))
    assert captured.tree() == retried(loop.__name__, 2)
    assert current_event() is None


async def test_a_loop_may_look_at_results(captured: EventCapture) -> None:
    """A policy that looks at results goes on after an attempt that has ended well, under the same event."""
    flaky = Flaky(1)

    async def poll() -> None:
        async for attempt in AsyncRetrying(retry=retry_if_result(lambda number: number < 2), wait=WAIT):
            with attempt:
                number = flaky()
            assert current_event() is None
            attempt.retry_state.set_result(number)

    await poll()
    assert (
        captured.tree() == "retry poll ok\n  attempt poll 1. ok\n  backoff poll 1. ok\n  attempt poll 2. ok"
    )


@pytest.mark.parametrize(("good", "status"), [(1, "ok"), (2, "cancelled GeneratorExit")])
async def test_a_loop_that_is_left_without_a_word_ends(
    captured: EventCapture, good: int, status: str
) -> None:
    """A loop that nobody finishes ends its event when it goes: well if its last attempt did."""
    flaky = Flaky(good)

    async def poll() -> None:
        async for attempt in AsyncRetrying(retry=RESULT_OR_ERROR, wait=WAIT):
            if flaky.calls:
                break
            with attempt:
                flaky()
            if good == 1:
                return

    await poll()
    gc.collect()
    assert captured.tree().splitlines()[0] == f"retry poll {status}"
    assert captured.open == []


@pytest.mark.parametrize("loop", [False, True])
async def test_a_cancel_of_the_pause_ends_everything(captured: EventCapture, loop: bool) -> None:
    """Back-off and retry of a call that is cancelled while it pauses are cancelled, in each form."""
    forever = wait_fixed(100)

    @retry(wait=forever)
    async def called() -> None:
        raise ConnectionError

    async def looped() -> None:
        async for attempt in AsyncRetrying(wait=forever):
            with attempt:
                raise ConnectionError

    function: Callable[[], Any] = looped if loop else called
    task = asyncio.create_task(function())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    name, status = "looped" if loop else "called", "cancelled asyncio.exceptions.CancelledError"
    assert captured.tree() == (
        f"retry {name} {status}\n  attempt {name} 1. error ConnectionError\n  backoff {name} 1. {status}"
    )


async def test_jobs_count_their_attempts(captured: EventCapture) -> None:
    """Retries inside the jobs of a batch count as those of spanloom do, and stand under their jobs."""

    @retry(wait=WAIT)
    async def fetch(flaky: Flaky) -> int:
        return flaky()

    assert await run_jobs([fetch(Flaky(good)) for good in (1, 2, 3)]) == [1, 2, 3]
    (batch,) = (event for event in captured.events if event.type == "batch")
    assert batch.counts is not None
    assert (batch.counts.retried, batch.counts.backing_off) == (3, 0)
    jobs = {event.job_index: event for event in captured.events if event.type == "job"}
    assert [jobs[index].attempt for index in range(3)] == [None, 2, 3]
    assert all(
        event.parent_id == jobs[event.job_index].event_id
        for event in captured.events
        if event.type == "retry"
    )


async def test_many_calls_at_once_do_not_mix(captured: EventCapture) -> None:
    """Calls of one decorated function that run at the same time have complete trees of their own."""

    @retry(wait=WAIT)
    async def fetch(flaky: Flaky) -> int:
        await asyncio.sleep(0)
        return flaky()

    await asyncio.gather(*(fetch(Flaky(3)) for _ in range(50)))
    assert len({event.trace_id for event in captured.events}) == 50
    traces: dict[int, list[str]] = {}
    for event in captured.started:
        traces.setdefault(event.trace_id, []).append(f"{event.type} {event.attempt}")
    expected = ["retry None", "attempt 1", "backoff 1", "attempt 2", "backoff 2", "attempt 3"]
    assert list(traces.values()) == [expected] * 50


async def test_a_policy_that_spanloom_runs_is_seen_once(captured: EventCapture) -> None:
    """An AsyncRetrying that is a runner's policy makes the runner's events, and no others."""
    flaky = Flaky(2)

    async def fetch() -> int:
        return flaky()

    assert await run_jobs([fetch], retry=AsyncRetrying(wait=WAIT)) == [2]
    assert [event.type for event in captured.started] == ["batch", "job", "attempt", "backoff", "attempt"]


def test_a_retry_that_is_switched_off_is_none(captured: EventCapture) -> None:
    """What tenacity does not retry, because it is not enabled, makes no event."""
    assert retry(enabled=False)(lambda: 1)() == 1
    assert captured.started == []


async def test_callbacks_and_statistics_are_as_they_were() -> None:
    """The user's own callbacks see the same states in the same order with and without events."""

    async def observe() -> list[Any]:
        seen: list[Any] = []

        def note(kind: str) -> Callable[[Any], None]:
            return lambda state: seen.append(
                (kind, state.attempt_number, state.idle_for, repr(state.outcome)[-30:])
            )

        flaky = Flaky(3)

        @retry(wait=WAIT, before=note("before"), after=note("after"), before_sleep=note("sleep"))
        async def fetch() -> int:
            """Fetch."""
            return flaky()

        await fetch()
        seen.append((fetch.__doc__, inspect.iscoroutinefunction(fetch), fetch.statistics["attempt_number"]))
        return seen

    before = await observe()
    with patched("tenacity"):
        assert [item[:3] for item in await observe()] == [item[:3] for item in before]


async def test_a_function_decorated_before_is_seen_until_it_is_not() -> None:
    """A decorated function makes events while tenacity is patched, whenever it was decorated, and none after."""
    flaky = Flaky(1)
    fetch = retry(wait=wait_none())(flaky.__call__)
    with patched("tenacity") as captured:
        fetch()
        uninstrument("tenacity")
        fetch()
    assert len(captured.started) == 2
    assert type(Retrying.__dict__["__call__"]) is types.FunctionType
    assert type(tenacity.RetryCallState.__dict__["set_result"]) is types.FunctionType


def test_a_changed_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What tenacity lacks of what is known of it makes one warning, and it works as it did."""
    monkeypatch.delattr(tenacity.RetryCallState, "set_exception")
    monkeypatch.setattr(tenacity.RetryCallState, "set_result", tenacity.RetryCallState.set_result)
    with caplog.at_level(logging.WARNING, "spanloom"):
        instrument("tenacity")
        instrument("tenacity")
    uninstrument("tenacity")
    assert [record.getMessage() for record in caplog.records] == [
        "tenacity is not instrumented, because it is not as it is known (from tenacity 9.2.1): "
        "AttributeError: RetryCallState has no set_exception"
    ]
    assert type(Retrying.__dict__["__call__"]) is types.FunctionType
    assert retry(lambda: 3)() == 3
