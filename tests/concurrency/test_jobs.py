"""`run_jobs`: order, bounds, lazy input, failures, cancels, bad arguments, memory."""

from __future__ import annotations

import asyncio
import functools
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from spanloom import CallbackManager, FixedLimiter, RetryPolicy, run_jobs, use_callback_manager
from spanloom.testing import capture_events, virtual_clock
from tests.virtual import in_virtual_time

isolations = pytest.mark.parametrize("isolation", ["task", "context"])


async def value(number: Any, turns: int = 1) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return number


@isolations
async def test_results_stand_in_input_order(isolation: Any) -> None:
    """However long each job takes, its result stands at its place in the input."""
    jobs = [value(number, turns=20 - number) for number in range(20)]
    assert await run_jobs(jobs, workers=7, isolation=isolation) == list(range(20))


@pytest.mark.parametrize("make", [list, tuple, iter, lambda jobs: (job for job in jobs)])
@isolations
async def test_any_iterable_of_awaitables_or_functions_will_do(make: Any, isolation: Any) -> None:
    """Coroutines, futures, tasks and functions can be mixed, in a list, a tuple or an iterator."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(1)
    jobs = make(
        [value(0), future, asyncio.create_task(value(2)), functools.partial(value, 3), lambda: value(4)]
    )
    assert await run_jobs(jobs, isolation=isolation) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("empty", [[], (), iter(()), {}])
@isolations
async def test_no_jobs_give_no_results(empty: Any, isolation: Any) -> None:
    """An empty input is not an error."""
    assert await run_jobs(empty, isolation=isolation) == []


@isolations
async def test_at_most_workers_jobs_run_at_once(isolation: Any) -> None:
    """The bound is kept, and is reached."""
    running = most = 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await run_jobs([job() for _ in range(20)], workers=3, isolation=isolation)
    assert most == 3


@isolations
async def test_a_generator_is_never_pulled_ahead_of_the_free_slots(isolation: Any) -> None:
    """Items pulled never exceed jobs ended by more than `workers`, and jobs are pulled in order."""
    pulled = ended = 0

    async def job(number: int) -> int:
        nonlocal ended
        await value(None, turns=number % 5)
        ended += 1
        return number

    def jobs() -> Iterator[Any]:
        nonlocal pulled
        for number in range(50):
            assert pulled - ended < 4
            pulled += 1
            yield job(number)

    assert await run_jobs(jobs(), workers=4, isolation=isolation) == list(range(50))
    assert (pulled, ended) == (50, 50)


@isolations
async def test_an_endless_generator_is_left_where_the_failure_was(isolation: Any) -> None:
    """A failure stops the pulling; the generator can be used on."""

    async def job(number: int) -> int:
        await asyncio.sleep(0)
        if number == 5:
            raise ValueError(number)
        return number

    numbers = iter(range(10**9))
    with pytest.raises(ValueError, match="5"):
        await run_jobs((job(number) for number in numbers), workers=2, isolation=isolation)
    assert next(numbers) <= 9


async def test_an_async_iterator_is_an_input_like_a_list() -> None:
    """Jobs are pulled from an async generator one by one, at most `workers` ahead."""
    pulled = ended = 0

    async def job(number: int) -> int:
        nonlocal ended
        await asyncio.sleep(0)
        ended += 1
        return number

    async def jobs() -> AsyncIterator[Any]:
        nonlocal pulled
        for number in range(20):
            await asyncio.sleep(0)
            assert pulled - ended < 3
            pulled += 1
            yield job(number)

    assert await run_jobs(jobs(), workers=3) == list(range(20))


async def test_a_failure_interrupts_a_blocked_async_iterator() -> None:
    """A job's failure is raised although the input would never give another item."""
    mine = ValueError("mine")
    closed: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise mine

    async def jobs() -> AsyncIterator[Any]:
        yield fail()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            closed.append("cancelled")
            raise

    with pytest.raises(ValueError) as caught:
        await run_jobs(jobs(), workers=2)
    assert caught.value is mine
    assert closed == ["cancelled"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@in_virtual_time
async def test_a_cancel_interrupts_a_blocked_async_iterator() -> None:
    """A cancel of the caller reaches the input, and the running jobs end first."""
    ended: list[str] = []

    async def job() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            ended.append("job")

    async def jobs() -> AsyncIterator[Any]:
        yield job()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run_jobs(jobs(), workers=2)
    assert ended == ["job"]


@isolations
@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
async def test_an_exception_of_the_input_is_raised_whatever_on_error_is(
    on_error: Any, isolation: Any
) -> None:
    """What the generator raises is not a job's failure: jobs that run are cancelled, and it is raised."""
    mine = KeyError("input")
    ended: list[str] = []

    async def job() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            ended.append("job")

    def jobs() -> Iterator[Any]:
        yield job()
        yield value(1)
        raise mine

    with pytest.raises(KeyError) as caught:
        await run_jobs(jobs(), workers=2, on_error=on_error, isolation=isolation)
    assert caught.value is mine
    assert ended == ["job"]


# failures -------------------------------------------------------------------------------------------


async def fail(error: BaseException, turns: int = 1) -> None:
    await value(None, turns)
    raise error


@isolations
async def test_the_first_failure_is_raised_as_the_very_object(isolation: Any) -> None:
    """on_error="raise": the first exception comes out untouched, after the siblings have ended."""
    first, second = ValueError("first"), ValueError("second")
    with pytest.raises(ValueError) as caught:
        await run_jobs([fail(second, 9), fail(first, 2), value(1, 50)], isolation=isolation)
    assert caught.value is first
    assert first.__context__ is None
    assert first.__cause__ is None
    assert not hasattr(first, "__notes__")


@isolations
async def test_failures_can_take_the_place_of_results(isolation: Any) -> None:
    """on_error="return": exceptions stand in the list, the very objects."""
    mine = ValueError("mine")
    results = await run_jobs([value(0), fail(mine), value(2)], on_error="return", isolation=isolation)
    assert results[1] is mine
    assert results[::2] == [0, 2]


@isolations
async def test_failed_jobs_can_be_left_out(isolation: Any) -> None:
    """on_error="skip": the list is shorter; None stays in it."""
    jobs = [value(0), fail(ValueError()), value(None), fail(KeyError()), value(4)]
    assert await run_jobs(jobs, on_error="skip", isolation=isolation) == [0, None, 4]


@isolations
@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
async def test_a_job_that_raises_cancelled_error_ends_the_batch(on_error: Any, isolation: Any) -> None:
    """CancelledError is never a result and never left out."""
    with pytest.raises(asyncio.CancelledError):
        await run_jobs([value(1), fail(asyncio.CancelledError())], on_error=on_error, isolation=isolation)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@isolations
@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
@pytest.mark.parametrize("fatal", [KeyboardInterrupt(), SystemExit(1)])
def test_an_exit_from_a_job_propagates(fatal: BaseException, on_error: Any, isolation: Any) -> None:
    """KeyboardInterrupt and SystemExit leave the loop, the very object."""
    with pytest.raises(type(fatal)) as caught:
        asyncio.run(run_jobs([value(1), fail(fatal)], on_error=on_error, isolation=isolation))
    assert caught.value is fatal


@isolations
async def test_a_cancel_wins_over_a_failure(isolation: Any) -> None:
    """A caller that is cancelled while siblings end after a failure gets CancelledError."""
    ending = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            ending.set()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(run_jobs([slow_to_end(), fail(ValueError())], isolation=isolation))
    await ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@isolations
async def test_a_clean_up_that_has_begun_is_left_to_end(isolation: Any) -> None:
    """Jobs are cancelled once, as by TaskGroup: further cancels are raised at the end, and break nothing off."""
    ending, cleaned = asyncio.Event(), []

    async def careful() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            ending.set()
            await asyncio.sleep(0.01)
            cleaned.append(True)

    task = asyncio.create_task(run_jobs([careful(), fail(ValueError())], isolation=isolation))
    await ending.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    assert task.cancelled()
    assert cleaned == [True]


@isolations
async def test_an_anyio_scope_leaves_shielded_clean_up_alone(isolation: Any) -> None:
    """A scope of anyio delivers a cancel anew at every turn; what a job shields from that is not hit by it."""
    begun, cleaned = [], []

    async def careful() -> None:
        begun.append(True)
        if len(begun) == 2:
            scope.cancel()
        try:
            await asyncio.sleep(5)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.02)
                cleaned.append(True)

    with anyio.CancelScope() as scope:
        await run_jobs([careful(), careful()], workers=2, isolation=isolation)
    assert cleaned == [True, True]


@isolations
async def test_coroutines_that_never_start_are_closed(
    isolation: Any, recwarn: pytest.WarningsRecorder
) -> None:
    """After a failure the unstarted coroutines of a list are closed: none is reported as never awaited."""
    jobs = [fail(ValueError(), 0), *[value(number) for number in range(9)]]
    with pytest.raises(ValueError):
        await run_jobs(jobs, workers=2, isolation=isolation)
    assert all(job.cr_frame is None for job in jobs)
    del jobs
    assert list(recwarn) == []


@isolations
async def test_a_job_of_the_wrong_type_is_a_failure_of_that_job(isolation: Any) -> None:
    """The message says what was given and what is allowed."""
    results: list[Any] = await run_jobs([value(0), 7, value(2)], on_error="return", isolation=isolation)
    assert results[::2] == [0, 2]
    assert str(results[1]) == (
        "a job must be an awaitable or a function without arguments that returns one, not int"
    )


# options --------------------------------------------------------------------------------------------


@isolations
def test_a_timeout_is_per_job(isolation: Any) -> None:
    """A slow job fails with TimeoutError, the others are not affected, and no slot is lost."""

    async def main() -> list[Any]:
        jobs = [asyncio.sleep(delay, delay) for delay in (1, 30, 2, 30, 3)]
        return await run_jobs(jobs, workers=2, timeout=10, on_error="return", isolation=isolation)

    with virtual_clock() as runner:
        results = runner.run(main())
        assert runner.get_loop().time() == pytest.approx(13)
    assert [type(result).__name__ for result in results] == [
        "int",
        "TimeoutError",
        "int",
        "TimeoutError",
        "int",
    ]


def test_a_timed_out_job_has_the_status_timeout() -> None:
    """The event of a job that ended with TimeoutError says so."""

    async def main() -> list[Any]:
        with capture_events() as captured:
            await run_jobs([asyncio.sleep(5)], timeout=1, on_error="skip")
        return captured.events

    with virtual_clock() as runner:
        events = runner.run(main())
    assert [(event.type, event.status) for event in events] == [("job", "timeout"), ("batch", "ok")]


@isolations
async def test_jobs_can_be_retried(isolation: Any) -> None:
    """With a policy each job is called anew until it succeeds, and its event counts the attempts."""
    calls = [0, 0, 0]

    def job(index: int) -> Callable[[], Any]:
        async def call() -> int:
            calls[index] += 1
            if calls[index] <= index:
                raise ConnectionError
            return index

        return call

    with capture_events() as captured:
        policy = RetryPolicy(attempts=3, base_delay=0)
        assert await run_jobs([job(0), job(1), job(2)], retry=policy, isolation=isolation) == [0, 1, 2]
    jobs = sorted(
        (event for event in captured.events if event.type == "job"), key=lambda event: event.job_index or 0
    )
    assert calls == [1, 2, 3]
    assert [event.attempt or 1 for event in jobs] == [1, 2, 3]


async def test_coroutines_cannot_be_retried() -> None:
    """A coroutine runs only once: the message says what to give instead."""
    job = value(1)
    with pytest.raises(
        TypeError, match=r"not coroutine; give functools.partial\(fetch, url\) instead of fetch\(url\)"
    ):
        await run_jobs([job], retry=RetryPolicy())
    assert await job == 1


async def test_a_limiter_can_stand_for_the_number_of_workers() -> None:
    """Two batches under one limiter share its slots, and give all of them back."""
    limiter = FixedLimiter(3)
    most = 0

    async def job() -> None:
        nonlocal most
        most = max(most, limiter.in_use)
        await asyncio.sleep(0)

    await asyncio.gather(*[run_jobs([job() for _ in range(10)], workers=limiter) for _ in range(2)])
    assert most == 3
    assert limiter.in_use == 0


# bad arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"workers": 0}, ValueError, r"workers must be at least 1 \(got 0\)"),
        ({"workers": -3}, ValueError, r"workers must be at least 1 \(got -3\)"),
        ({"workers": True}, TypeError, "workers must be an int of at least 1"),
        ({"workers": 2.5}, TypeError, "workers must be an int, a limiter or None, not float"),
        (
            {"on_error": "ignore"},
            ValueError,
            r"on_error must be one of 'raise', 'return', 'skip' \(got 'ignore'\)",
        ),
        ({"timeout": 0}, ValueError, r"timeout must be above 0 seconds, or None \(got 0\)"),
        ({"timeout": float("nan")}, ValueError, "timeout must be above 0 seconds"),
        ({"timeout": True}, TypeError, r"timeout must be a number \(got True, bool\)"),
        (
            {"retry": 3},
            TypeError,
            r"retry must be a RetryPolicy, .* not int; for example retry=RetryPolicy\(attempts=3\)",
        ),
        ({"isolation": "thread"}, ValueError, r"isolation must be 'task' or 'context' \(got 'thread'\)"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_consumed(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """The message says what was given and what is allowed, and the input is untouched."""
    jobs = iter([value(1)])
    with pytest.raises(kind, match=message):
        await run_jobs(jobs, **options)
    assert await next(jobs) == 1


async def test_something_that_is_not_iterable_is_refused() -> None:
    """A single awaitable is not a list of one, and the message tells how to make one."""
    job = value(1)
    with pytest.raises(
        TypeError, match=r"jobs must be an iterable or async iterable, not coroutine; pass a list: \[job\]"
    ):
        await run_jobs(job)
    assert await job == 1


# memory ---------------------------------------------------------------------------------------------


@isolations
def test_memory_of_a_list_is_what_its_results_take(isolation: Any) -> None:
    """A map over a generator holds 8 bytes a job for the results, and nothing else that grows."""

    async def nothing() -> None:
        await asyncio.sleep(0)

    async def peak(jobs: int) -> int:
        tracemalloc.start()
        try:
            with use_callback_manager(CallbackManager(recorder=64)):
                await run_jobs((nothing() for _ in range(jobs)), workers=16, isolation=isolation)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async def main() -> float:
        await peak(100)
        # The peak is that of the whole process: what grows with the jobs does so each time.
        return min([(await peak(6000) - await peak(1000)) / 5000 for _ in range(3)])

    assert asyncio.run(main()) < 24
