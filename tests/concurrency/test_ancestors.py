"""What went wrong in the systems that spanloom takes over from: none of it may be true of us.

Each test is written so that the behaviour of the system it names would fail it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from spanloom import (
    CallbackManager,
    HandlerError,
    RetryPolicy,
    async_map,
    batch_gather,
    fill_batch,
    gather,
    propagate,
    race,
    retry,
    run_jobs,
    run_sync,
    stream,
    use_callback_manager,
)
from spanloom.testing import EventCapture, capture_events, virtual_clock
from tests.virtual import in_virtual_time

variable: ContextVar[int | None] = ContextVar("variable", default=None)


async def value(number: int) -> int:
    await asyncio.sleep(0)
    return number


# LlamaIndex -----------------------------------------------------------------------------------------


async def test_llama_index_mixes_the_maps_of_two_concurrent_traces() -> None:
    """Two `as_trace` that overlap on one manager keep their events apart."""
    manager = CallbackManager()

    async def traced(name: str) -> tuple[int, int, int]:
        with manager.as_trace(name) as trace:
            await asyncio.sleep(0)
            with manager.event(name=name) as event:
                await asyncio.sleep(0)
            return trace.trace_id, trace.event_id, event.event_id

    for trace_id, root, step in await asyncio.gather(traced("a"), traced("b")):
        assert manager.trace_map(trace_id) == {root: [step]}


@pytest.mark.parametrize(
    "error", [ValueError("hook"), KeyboardInterrupt("hook"), asyncio.CancelledError("hook")]
)
async def test_llama_index_lets_a_raising_handler_break_the_users_call(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that raises, in any hook, changes no result."""

    class Broken:
        def on_event_start(self, event: Any) -> None:
            raise error

        on_event_end = on_event_start

    with use_callback_manager(CallbackManager([Broken()])) as manager:
        assert await run_jobs([value(1), value(2)]) == [1, 2]
    assert [record.message.split()[:3] for record in caplog.records] == [["handler", "Broken", "failed"]]
    assert manager.stats().handlers[0].quarantined


async def test_llama_index_replaces_the_users_exception_by_the_handlers() -> None:
    """The exception that comes out is the job's own object, though a handler raised on its end."""
    mine = KeyError("mine")

    async def fail() -> None:
        raise mine

    class Broken:
        def on_event_end(self, event: Any) -> None:
            raise RuntimeError("hook")

    with use_callback_manager(CallbackManager([Broken()])), pytest.raises(KeyError) as caught:
        await run_jobs([fail()])
    assert caught.value is mine
    assert mine.__context__ is None
    assert not hasattr(mine, "__notes__")


@in_virtual_time
async def test_llama_index_ends_cancelled_events_like_successes() -> None:
    """A cancelled job and its batch end as cancelled."""
    with capture_events() as captured, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await run_jobs([asyncio.sleep(5)])
    assert captured.tree() == (
        "batch sleep cancelled asyncio.exceptions.CancelledError\n"
        "  job sleep #0 cancelled asyncio.exceptions.CancelledError"
    )


def test_llama_index_ends_the_top_of_the_stack_instead_of_the_named_event() -> None:
    """`on_event_end` ends the event whose id it is given, whatever was started after it."""
    capture = EventCapture()
    manager = CallbackManager([capture])
    first = manager.on_event_start("step", name="first")
    second = manager.on_event_start("step", name="second")
    manager.on_event_end(first)
    assert [event.name for event in capture.events] == ["first"]
    assert [event.event_id for event in manager.in_flight()] == [second]
    manager.on_event_end(second)
    assert [event.name for event in capture.events] == ["first", "second"]


async def test_llama_index_run_jobs_makes_every_task_up_front() -> None:
    """20,000 jobs on 4 workers never are more than 4 tasks and the caller's."""
    most = 0

    async def job(number: int) -> int:
        nonlocal most
        if number % 500 == 0:
            await asyncio.sleep(0)
            most = max(most, len(asyncio.all_tasks()))
        return number

    assert await run_jobs((job(number) for number in range(20_000)), workers=4) == list(range(20_000))
    assert most <= 5


async def test_llama_index_run_jobs_lets_siblings_run_on_after_a_failure() -> None:
    """When the failure is raised, the other jobs have been cancelled and have ended."""
    ended: list[str] = []

    async def sibling() -> None:
        try:
            await asyncio.sleep(5)
            ended.append("ran on")
        finally:
            await asyncio.sleep(0)
            ended.append("ended")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError

    with pytest.raises(ValueError):
        await run_jobs([sibling(), fail(), sibling()])
    assert ended == ["ended", "ended"]
    assert len(asyncio.all_tasks()) == 1


async def test_llama_index_run_jobs_hangs_without_workers() -> None:
    """workers=0 is an error that says so, before anything is consumed."""
    jobs = iter([value(1)])
    with pytest.raises(ValueError, match=r"workers must be at least 1 \(got 0\)"):
        await run_jobs(jobs, workers=0)
    assert await next(jobs) == 1


async def test_llama_index_run_jobs_emits_nothing() -> None:
    """A batch and its jobs are events by default."""
    with capture_events() as captured:
        await run_jobs([value(1), value(2)], desc="both")
    assert captured.tree() == "batch both ok\n  job value #0 ok\n  job value #1 ok"


async def test_llama_index_batch_gather_of_size_zero_returns_nothing() -> None:
    """batch_size=0 is an error, not an empty list."""
    jobs = [value(1)]
    with pytest.raises(ValueError, match=r"batch_size must be at least 1 \(got 0\)"):
        await batch_gather(jobs, batch_size=0)
    assert await jobs[0] == 1


async def test_llama_index_sync_runner_hides_the_jobs_error_and_patches_the_loop() -> None:
    """`run_sync` on a running loop raises the coroutine's own exception, and leaves the loop as it was."""
    mine = ValueError("mine")
    loop = asyncio.get_running_loop()
    before = type(loop)._run_once, asyncio.run, asyncio.get_event_loop_policy

    async def fail() -> None:
        raise mine

    with pytest.raises(ValueError) as caught:
        run_sync(fail())
    assert caught.value is mine
    assert (type(loop)._run_once, asyncio.run, asyncio.get_event_loop_policy) == before


async def test_llama_index_loses_the_trace_in_an_executor() -> None:
    """A function under `propagate` goes on with the trace in an executor's thread."""
    with capture_events() as captured, ThreadPoolExecutor(1) as pool:
        from spanloom import get_callback_manager

        manager = get_callback_manager()

        def work() -> None:
            with manager.event(name="in thread"):
                assert threading.current_thread() is not threading.main_thread()

        with manager.as_trace("caller"):
            await asyncio.get_running_loop().run_in_executor(pool, propagate(work))
    assert captured.tree() == "trace caller ok\n  step in thread ok"


async def test_llama_index_closes_the_event_of_an_async_generator_before_its_body_runs() -> None:
    """A decorated async generator's event lasts until its last item, and encloses its body."""
    manager = CallbackManager([capture := EventCapture()])

    @manager.trace("numbers")
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            with manager.event(name=f"body {number}"):
                await asyncio.sleep(0)
            assert [event.name for event in capture.open] == ["numbers"]
            yield number

    assert [number async for number in numbers()] == [0, 1, 2]
    assert capture.tree() == "call numbers ok\n  step body 0 ok\n  step body 1 ok\n  step body 2 ok"


# lionherd -------------------------------------------------------------------------------------------


async def test_lionherd_lets_the_rest_run_on_when_a_stream_is_left_early() -> None:
    """Leaving a stream cancels what runs, waits for it, and starts no more."""
    started: list[int] = []
    ended: list[int] = []

    async def job(number: int) -> int:
        started.append(number)
        try:
            await asyncio.sleep(0 if number == 0 else 5)
        finally:
            ended.append(number)
        return number

    async with stream(job, range(100), limit=3) as outcomes:
        async for outcome in outcomes:
            assert outcome.index == 0
            break
    assert sorted(started) == sorted(ended)
    assert len(started) <= 4
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("fatal", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("runner", [gather, run_jobs], ids=["gather", "run_jobs"])
def test_lionherd_swallows_system_exit_among_returned_exceptions(fatal: BaseException, runner: Any) -> None:
    """An exit that a job raises ends the program, whatever happens to exceptions."""

    async def leave() -> None:
        await asyncio.sleep(0)
        raise fatal

    async def main() -> Any:
        if runner is gather:
            return await gather(leave(), value(1), return_exceptions=True)
        return await run_jobs([leave(), value(1)], on_error="return")

    with pytest.raises(type(fatal)) as caught:
        asyncio.run(main())
    assert caught.value is fatal


def test_lionherd_lets_the_jitter_exceed_the_longest_delay() -> None:
    """No pause is longer than max_delay, however large the jitter."""
    policy = RetryPolicy(attempts=100, base_delay=1, max_delay=2, multiplier=3, jitter=1)
    assert max(policy.delay(attempt) for attempt in range(1, 100) for _ in range(50)) <= 2


# adaptive-harmony -----------------------------------------------------------------------------------


async def test_adaptive_harmony_returns_nothing_for_a_generator() -> None:
    """A generator is an input like a list."""
    assert await async_map(value, (number for number in range(5))) == list(range(5))
    assert await fill_batch(value, (number for number in range(9)), 3) == [0, 1, 2]


@pytest.mark.parametrize(("failures", "enough"), [(2, True), (3, False)])
async def test_adaptive_harmony_is_off_by_one_at_its_failure_limit(failures: int, enough: bool) -> None:
    """max_failure_fraction=0.5 of 4 allows exactly two failures."""

    async def job(number: int) -> int:
        if number < failures:
            raise ValueError(number)
        return number

    if enough:
        assert await fill_batch(job, range(100), 4, max_failure_fraction=0.5) == [2, 3, 4, 5]
    else:
        with pytest.raises(RuntimeError, match="3 items failed") as caught:
            await fill_batch(job, range(100), 4, max_failure_fraction=0.5)
        assert isinstance(caught.value.__cause__, ValueError)


async def test_adaptive_harmony_drops_none() -> None:
    """None is a result like any other, in every runner."""

    async def nothing(item: object = None) -> None:
        return None

    assert await run_jobs([nothing(), nothing()], on_error="skip") == [None, None]
    assert await async_map(nothing, [1, 2], on_error="skip") == [None, None]
    assert await batch_gather([nothing(), nothing()], on_error="skip") == [None, None]
    assert await fill_batch(nothing, range(9), 2) == [None, None]
    assert await gather(nothing(), nothing()) == [None, None]
    assert await race(nothing()) is None
    assert await retry(nothing) is None
    async with stream(nothing, [1], on_error="skip") as outcomes:
        assert [(outcome.value, outcome.ok) async for outcome in outcomes] == [(None, True)]


# async-batch-llm ------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["task", "context"])
async def test_async_batch_llm_leaks_context_between_items_of_one_worker(isolation: Any) -> None:
    """What an item sets in its context is not there for the next item."""

    async def job(number: int) -> int | None:
        seen = variable.get()
        variable.set(number)
        return seen

    assert await async_map(job, range(6), limit=1, isolation=isolation) == [None] * 6


async def test_async_batch_llm_hangs_when_an_observer_raises_cancelled_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An observer that raises CancelledError on every event cancels nothing."""

    class Observer:
        def on_event_start(self, event: Any) -> None:
            raise asyncio.CancelledError

        on_event_end = on_event_start

    with use_callback_manager(CallbackManager([Observer()])):
        async with asyncio.timeout(5):
            assert await run_jobs([value(number) for number in range(20)]) == list(range(20))


@in_virtual_time
async def test_async_batch_llm_emits_no_end_for_a_cancelled_item_and_never_reaches_n_of_n() -> None:
    """Every job that started has an end, and the counts of a finished batch add up to its total."""

    async def job(number: int) -> int:
        if number % 3 == 1:
            raise ValueError(number)
        await asyncio.sleep(5 if number == 8 else 0)
        return number

    with capture_events() as captured:
        await run_jobs([job(number) for number in range(8)], on_error="skip")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await run_jobs([job(8), job(8)], on_error="skip")
    assert captured.open == []
    first, second = (event.counts for event in captured.events if event.type == "batch")
    assert first is not None
    assert second is not None
    assert (first.total, first.ended, first.ok, first.failed, first.cancelled) == (8, 8, 5, 3, 0)
    assert (second.total, second.ended, second.ok, second.failed, second.cancelled) == (2, 2, 0, 0, 2)


# tqdm, tenacity, OpenTelemetry ----------------------------------------------------------------------


@in_virtual_time
async def test_tqdm_gather_lets_17_of_20_tasks_run_on_after_a_failure() -> None:
    """`gather` ends all of 20 when the third fails, before it raises."""
    ended: list[int] = []

    async def job(number: int) -> None:
        try:
            await asyncio.sleep(0.001 if number == 2 else 5)
            raise ValueError(number)
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="2"):
        await gather(*[job(number) for number in range(20)])
    assert sorted(ended) == list(range(20))
    assert len(asyncio.all_tasks()) == 1


def test_tenacity_shares_the_state_of_concurrent_calls() -> None:
    """Concurrent calls under one tenacity AsyncRetrying count their attempts apart."""
    import tenacity

    policy = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(1), reraise=True
    )
    calls: dict[int, int] = {}

    async def job(number: int) -> int:
        calls[number] = calls.get(number, 0) + 1
        await asyncio.sleep(0.1 * number)
        if calls[number] <= number:
            raise ValueError(number)
        return number

    async def main() -> list[Any]:
        return await async_map(job, range(4), retry=policy, on_error="return")

    with virtual_clock() as runner:
        results = runner.run(main())
    assert results[:3] == [0, 1, 2]
    assert repr(results[3]) == "ValueError(3)"
    assert calls == {0: 1, 1: 2, 2: 3, 3: 3}
    assert policy.statistics == {}


@in_virtual_time
async def test_tenacity_swallows_a_cancel() -> None:
    """A cancel is raised at once, even if the policy says to retry on any BaseException."""
    import tenacity

    policy = tenacity.AsyncRetrying(retry=tenacity.retry_if_exception_type(BaseException))
    calls = 0

    async def job() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await run_jobs([job], retry=policy)
    assert calls == 1


async def test_opentelemetry_fails_to_detach_on_an_async_generator_closed_early(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A decorated async generator that another task closes ends its event, logs nothing, changes no context."""
    manager = CallbackManager([capture := EventCapture()])

    @manager.trace("numbers")
    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)

    async def other(generator: Any) -> None:
        with manager.event(name="closer") as closer:
            await generator.aclose()
            assert manager.current.get() is closer.event

    with manager.event(name="opener") as opener:
        generator: Any = numbers()
        assert await anext(generator) == 1
        assert manager.current.get() is opener.event
        await asyncio.create_task(other(generator))
        assert manager.current.get() is opener.event

        async for _ in (abandoned := numbers()):
            break
        del abandoned
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
    assert capture.open == []
    assert [event.name for event in capture.events] == ["numbers", "closer", "numbers", "opener"]
    assert {event.status for event in capture.events if event.name == "numbers"} == {"cancelled"}
    assert caplog.records == []


async def test_a_handler_error_is_raised_on_request() -> None:
    """With raise_handler_errors a broken handler is felt, so that tests of handlers can fail."""

    class Broken:
        def on_event_end(self, event: Any) -> None:
            raise ValueError("hook")

    manager = CallbackManager([Broken()], raise_handler_errors=True)
    with pytest.raises(HandlerError) as caught, manager.event():
        pass
    assert isinstance(caught.value.__cause__, ValueError)
