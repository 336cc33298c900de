"""`stream`: outcomes one by one, as jobs end."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from spanloom import CallbackManager, RateLimiter, RetryPolicy, async_map, stream, use_callback_manager
from spanloom.testing import capture_events, virtual_clock
from tests.virtual import in_virtual_time

isolations = pytest.mark.parametrize("isolation", ["task", "context"])


async def double(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError(number)
    return 2 * number


@isolations
async def test_outcomes_come_in_order_of_their_end_and_carry_their_index(isolation: Any) -> None:
    """A quick job's outcome comes before that of a slow one that started earlier."""

    async def turns(number: int) -> str:
        for _ in range(number):
            await asyncio.sleep(0)
        return f"{number} turns"

    async with stream(turns, [9, 3, 6], limit=3, isolation=isolation) as outcomes:
        found = [(outcome.index, outcome.unwrap(), outcome.ok) async for outcome in outcomes]
    assert found == [(1, "3 turns", True), (2, "6 turns", True), (0, "9 turns", True)]


@isolations
def test_an_outcome_is_delivered_when_its_job_ends(isolation: Any) -> None:
    """The consumer has each outcome at the moment of its job's end, not when the batch is through."""

    async def main() -> list[tuple[int, float]]:
        loop = asyncio.get_running_loop()
        async with stream(asyncio.sleep, [3, 1, 50, 2], limit=4, isolation=isolation) as outcomes:
            return [(outcome.index, round(loop.time())) async for outcome in outcomes]

    with virtual_clock() as runner:
        assert runner.run(main()) == [(1, 1), (3, 2), (0, 3), (2, 50)]


@isolations
def test_outcomes_that_nobody_has_taken_hold_a_slot(isolation: Any) -> None:
    """A consumer that has stopped stops the jobs: at `limit` outcomes."""
    most = 3
    started: list[int] = []

    async def job(number: int) -> int:
        started.append(number)
        await asyncio.sleep(1)
        return number

    async def main() -> None:
        async with stream(job, iter(range(10**9)), limit=3, isolation=isolation) as outcomes:
            await asyncio.sleep(1000)
            assert started == list(range(most))
            for _ in range(most):
                await anext(outcomes)
            await asyncio.sleep(1000)
            assert started == list(range(2 * most))

    with virtual_clock() as runner:
        runner.run(main())


def test_a_slot_is_free_as_soon_as_its_outcome_is_taken() -> None:
    """The next job starts while the consumer is still busy with the outcome, though others wait."""

    async def job(number: int) -> float:
        start = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        return start

    async def main() -> list[float]:
        async with stream(job, range(4), limit=2) as outcomes:
            starts = []
            async for outcome in outcomes:
                starts.append(round(outcome.unwrap()))
                await asyncio.sleep(10)
            return starts

    with virtual_clock() as runner:
        assert runner.run(main()) == [0, 0, 1, 11]


@isolations
async def test_leaving_early_cancels_what_runs_and_starts_no_more(isolation: Any) -> None:
    """After the block no job runs, and those of a list that never started are closed."""
    ended: list[int] = []

    async def job(number: int) -> int:
        try:
            await asyncio.sleep(0 if number == 0 else 5)
        finally:
            await asyncio.sleep(0)
            ended.append(number)
        return number

    jobs = [job(number) for number in range(9)]
    async with stream(jobs, limit=3, isolation=isolation) as outcomes:
        assert (await anext(outcomes)).value == 0
    assert len(asyncio.all_tasks()) == 1
    assert sorted(ended)[:3] == [0, 1, 2]
    assert all(job.cr_frame is None for job in jobs)


@isolations
async def test_the_error_of_the_body_is_raised_when_the_jobs_have_ended(isolation: Any) -> None:
    """An exception of the consumer's own comes out as it is."""
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with stream(asyncio.sleep, [5, 5], limit=2, isolation=isolation):
            await asyncio.sleep(0)
            raise mine
    assert caught.value is mine
    assert len(asyncio.all_tasks()) == 1


@isolations
async def test_failures_are_outcomes_by_default(isolation: Any) -> None:
    """on_error="return": the outcome has the very exception, and unwrap raises it."""
    async with stream(double, [1, -1, 2], limit=1, isolation=isolation) as outcomes:
        found = [outcome async for outcome in outcomes]
    assert [(outcome.index, outcome.value, str(outcome.status)) for outcome in found] == [
        (0, 2, "ok"),
        (1, None, "error"),
        (2, 4, "ok"),
    ]
    error = found[1].error
    with pytest.raises(ValueError, match="-1") as caught:
        found[1].unwrap()
    assert caught.value is error


@isolations
async def test_a_failure_can_end_the_stream_after_the_outcomes_before_it(isolation: Any) -> None:
    """on_error="raise": the iteration gives what came before, and then raises."""
    found: list[int] = []
    with pytest.raises(ValueError, match="-1"):
        async with stream(
            double, [1, 2, -1, 3, 4], limit=1, on_error="raise", isolation=isolation
        ) as outcomes:
            async for outcome in outcomes:
                found.append(outcome.unwrap())  # noqa: PERF401 -- what came before the failure is to be kept
    assert found == [2, 4]


@isolations
async def test_failures_can_be_left_out(isolation: Any) -> None:
    """on_error="skip": only good outcomes come, with their own indexes."""
    async with stream(double, [-1, 1, -1, 2], limit=2, on_error="skip", isolation=isolation) as outcomes:
        assert [(outcome.index, outcome.value) async for outcome in outcomes] == [(1, 2), (3, 4)]


def test_an_outcome_tells_times_attempts_and_time_outs() -> None:
    """Attempts count retries, a time-out has its status, and run and queue time are not negative."""
    calls = 0

    async def flaky(number: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError
        await asyncio.sleep(number)
        return number

    async def main() -> list[Any]:
        policy = RetryPolicy(attempts=2, base_delay=0.1)
        async with stream(flaky, [1, 99], limit=1, timeout=5, retry=policy) as outcomes:
            return [outcome async for outcome in outcomes]

    with virtual_clock() as runner:
        good, late = runner.run(main())
    assert (good.value, good.attempts, good.status) == (1, 2, "ok")
    assert (type(late.error), late.attempts, late.status) == (TimeoutError, 1, "timeout")
    assert all(
        outcome.run_ns > 0 and outcome.queue_ns >= 0 and outcome.busy_ns is None for outcome in (good, late)
    )


async def test_outcomes_are_measured_without_anyone_listening() -> None:
    """With the recorder off and no handler outcomes still tell their times."""
    with use_callback_manager(CallbackManager(recorder=0)):
        async with stream(double, [1]) as outcomes:
            assert (await anext(outcomes)).run_ns > 0


async def test_a_stream_of_awaitables_or_functions_needs_no_items() -> None:
    """Without items the first argument is an input as for `run_jobs`, also an async one."""

    async def jobs() -> AsyncIterator[Any]:
        yield double(1)
        yield lambda: double(2)

    for source in ([double(1), lambda: double(2)], jobs()):
        async with stream(source) as outcomes:
            assert sorted([outcome.unwrap() async for outcome in outcomes]) == [2, 4]


async def test_a_job_cancelled_by_itself_ends_the_stream() -> None:
    """The iteration raises CancelledError, whatever on_error is."""

    async def job(number: int) -> None:
        raise asyncio.CancelledError

    async with stream(job, [1], on_error="skip") as outcomes:
        with pytest.raises(asyncio.CancelledError):
            await anext(outcomes)


@in_virtual_time
async def test_a_cancelled_consumer_waits_for_its_jobs() -> None:
    """A cancel of the task that iterates ends the jobs before the block is left."""
    ended: list[int] = []

    async def job(number: int) -> None:
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001), stream(job, [1, 2, 3], limit=2) as outcomes:
            async for _ in outcomes:
                pass
    assert ended == [1, 2]


def test_a_stream_under_a_rate_starts_at_that_rate() -> None:
    """A RateLimiter as limit spreads the starts."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()

        async def job(number: int) -> int:
            return round(loop.time())

        limiter = RateLimiter(2, 10, clock=loop.time)
        async with stream(job, range(5), limit=limiter) as outcomes:
            return [outcome.unwrap() async for outcome in outcomes]

    with virtual_clock() as runner:
        assert runner.run(main()) == [0, 0, 10, 10, 20]


async def test_a_stream_is_a_batch_with_its_jobs() -> None:
    """The batch event is open while the block is, and ends with it."""
    with capture_events() as captured:
        async with stream(double, [1, -1], limit=1, desc="doubling") as outcomes:
            async for _ in outcomes:
                pass
    assert captured.tree() == "batch doubling ok\n  job double #0 ok\n  job double #1 error ValueError"


async def test_a_stream_is_entered_once_and_used_inside() -> None:
    """Using it in another way is an error that says how it is meant."""
    outcomes = stream(double, [1])
    with pytest.raises(RuntimeError, match="a stream must be used as an async context manager"):
        await anext(outcomes)
    async with outcomes:
        pass
    with pytest.raises(RuntimeError, match="a stream can be entered only once"):
        async with outcomes:
            pass


def test_bad_arguments_are_refused_at_the_call() -> None:
    """The call itself raises, not the iteration."""
    with pytest.raises(TypeError, match=r"stream\(function\) lacks the items"):
        stream(double)
    with pytest.raises(TypeError, match="stream takes a function first"):
        stream([1], [2])
    with pytest.raises(ValueError, match=r"limit must be at least 1 \(got 0\)"):
        stream(double, [1], limit=0)
    with pytest.raises(ValueError, match="on_error must be one of"):
        stream(double, [1], on_error="drop")


@isolations
def test_memory_of_a_stream_is_flat(isolation: Any) -> None:
    """100 times as many jobs over an iterator take no more memory."""

    async def peak(jobs: int) -> int:
        tracemalloc.start()
        try:
            with use_callback_manager(CallbackManager(recorder=64)):
                async with stream(double, iter(range(jobs)), limit=16, isolation=isolation) as outcomes:
                    async for _ in outcomes:
                        pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async def main() -> tuple[int, int]:
        await peak(200)
        return await peak(200), await peak(20_000)

    few, many = asyncio.run(main())
    assert many < few + 20_000


def test_memory_of_a_map_over_an_async_iterator_is_its_results() -> None:
    """An async input is not collected: 8 bytes a job for the list of results."""

    async def items(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number % 100

    async def peak(jobs: int) -> int:
        tracemalloc.start()
        try:
            with use_callback_manager(CallbackManager(recorder=64)):
                await async_map(double, items(jobs), limit=16)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async def main() -> float:
        await peak(100)
        return (await peak(6000) - await peak(1000)) / 5000

    assert asyncio.run(main()) < 24


@isolations
@pytest.mark.parametrize("iterated", [True, False])
async def test_an_error_is_freed_when_nobody_has_it(iterated: bool, isolation: Any) -> None:
    """Neither the iteration nor the end of the block keeps an error that it raised alive."""

    class OwnError(Exception):  # a built-in one cannot be referred to weakly
        pass

    async def fail(number: int) -> None:
        raise OwnError(number)

    async def failing() -> weakref.ref[BaseException]:
        try:
            async with stream(fail, [1], limit=1, isolation=isolation, on_error="raise") as outcomes:
                await asyncio.sleep(0.001)
                if iterated:
                    await anext(outcomes)
        except OwnError as error:
            return weakref.ref(error)
        raise AssertionError("it did not fail")

    gc.collect()
    gc.disable()
    try:
        error = await failing()
        await asyncio.sleep(0)  # its tasks have callbacks to come
        assert error() is None
    finally:
        gc.enable()


@in_virtual_time
async def test_looking_now_and_then_leaves_nothing_behind() -> None:
    """A consumer that waits for a second at a time, while a job takes an hour, keeps no memory of each time."""

    async def slow(number: int) -> int:
        await asyncio.sleep(3600)
        return number

    waits = 0
    async with stream(slow, [7]) as outcomes:
        while True:
            try:
                async with asyncio.timeout(1):
                    outcome = await anext(outcomes)
            except TimeoutError:
                waits += 1
                assert len(outcomes._sink._waiters) == 0
            else:
                break
    assert (outcome.value, waits > 3000) == (7, True)
