"""What both lanes share: how a run begins, stops early, cleans up, and lets go of everything."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from spanloom import (
    CallbackManager,
    FixedLimiter,
    HandlerError,
    RateLimiter,
    RetryPolicy,
    async_map,
    fill_batch,
    gather,
    race,
    run_jobs,
    stream,
    use_callback_manager,
)
from spanloom.callbacks import traces
from spanloom.events.trace import Trace
from spanloom.testing import virtual_clock

isolations = pytest.mark.parametrize("isolation", ["task", "context"])


class Value:
    """A result that a weak reference can point to."""


class KeptError(Exception):
    """A failure that a weak reference can point to."""


async def make() -> Value:
    await asyncio.sleep(0)
    return Value()


async def fail() -> Value:
    await asyncio.sleep(0)
    raise KeptError


@contextmanager
def without_collector() -> Iterator[None]:
    """Only reference counts free anything in this block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@isolations
async def test_results_and_errors_are_freed_without_the_collector(isolation: Any) -> None:
    """A batch is no reference cycle: what it returned goes when its caller lets go of it."""
    with without_collector():
        results: list[Any] = await run_jobs([make, make], isolation=isolation)
        value = weakref.ref(results[0])
        del results
        await asyncio.sleep(0)
        assert value() is None

        results = await run_jobs([make, fail], on_error="return", isolation=isolation)
        value, error = weakref.ref(results[0]), weakref.ref(results[1])
        del results
        await asyncio.sleep(0)
        assert (value(), error()) == (None, None)


@isolations
async def test_the_error_of_a_job_that_was_retried_is_freed_without_the_collector(isolation: Any) -> None:
    """What the last attempt raised is in no reference cycle with the task that made the attempts."""
    policy = RetryPolicy(attempts=2, base_delay=0)
    with without_collector():
        results: list[Any] = await run_jobs([fail], on_error="return", retry=policy, isolation=isolation)
        error = weakref.ref(results[0])
        del results
        await asyncio.sleep(0)
        assert error() is None


async def test_the_errors_of_a_race_and_of_a_filled_batch_are_freed_without_the_collector() -> None:
    """Runners that keep errors while they run let go of them when they return or raise."""
    calls = iter([fail, make, make])

    async def next_of(number: int) -> Value:
        return await next(calls)()

    with without_collector():
        errors: list[weakref.ref[BaseException]] = []
        try:
            await race(fail(), fail(), first="success")
        except ExceptionGroup as group:
            errors = [weakref.ref(error) for error in group.exceptions]
        results = await fill_batch(next_of, range(9), 2)
        value = weakref.ref(results[0])
        del results
        await asyncio.sleep(0)
        assert [error() for error in errors] == [None, None]
        assert value() is None


@isolations
async def test_a_batch_leaves_nothing_behind_but_what_is_remembered_on_purpose(
    isolation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand batches at the root leave as many traces in memory as the manager promises to know."""
    monkeypatch.setattr(traces, "KEPT_TRACES", 3)
    with use_callback_manager(CallbackManager(recorder=10)), without_collector():
        before = sum(type(thing) is Trace for thing in gc.get_objects())
        for _ in range(1000):
            await run_jobs([make], isolation=isolation)
        after = sum(type(thing) is Trace for thing in gc.get_objects())
    assert after - before <= 10


@isolations
async def test_a_handler_that_is_to_be_felt_ends_the_batch(isolation: Any) -> None:
    """With raise_handler_errors, a hook that raises at the end of a failed job ends the batch with its error."""

    class Raises:
        def on_event_end(self, event: Any) -> None:
            if event.type == "job":
                raise RuntimeError(event.name)

    manager = CallbackManager([Raises()], raise_handler_errors=True)
    with use_callback_manager(manager):
        async with asyncio.timeout(5):
            with pytest.raises(HandlerError):
                await run_jobs([fail, make], isolation=isolation)
    assert manager.in_flight() == []


class HasArgsError(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]  # as an author may who does not know that it is taken
        raise LookupError("no arguments")


class HasNoClassError(TimeoutError):
    @property  # type: ignore[misc]  # it can be done
    def __class__(self) -> Any:
        raise LookupError("no class")


@isolations
@pytest.mark.parametrize("retry", [None, RetryPolicy(attempts=2, base_delay=0)])
async def test_an_exception_that_cannot_be_looked_at_ends_its_job(isolation: Any, retry: Any) -> None:
    """Whatever its properties raise, the batch does not wait for a job that has ended, and no event stays open."""
    manager = CallbackManager()

    def job_of(kind: type[Exception]) -> Any:
        async def job() -> None:
            raise kind

        return job

    with use_callback_manager(manager):
        async with asyncio.timeout(5):
            for kind in (HasArgsError, HasNoClassError):
                jobs = [job_of(kind), make]
                failed, _ = await run_jobs(jobs, on_error="return", isolation=isolation, retry=retry)
                assert type(failed) is kind
                with pytest.raises(kind):
                    await run_jobs(jobs, isolation=isolation, retry=retry)
    assert manager.in_flight() == []
    assert manager.stats().open == 0


@isolations
@pytest.mark.parametrize("by_input", [False, True])
async def test_a_cancel_that_comes_after_a_failure_is_raised_all_the_same(
    isolation: Any, by_input: bool
) -> None:
    """While the others are waited for, after a job or the input has failed: who cancels has to see it."""
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaning.set()
            await cleaned.wait()

    async def fails() -> None:
        raise KeptError

    def jobs() -> Iterator[Any]:
        yield slow
        yield make
        if by_input:
            raise KeptError
        yield fails

    batch = asyncio.create_task(run_jobs(jobs(), workers=2, isolation=isolation))
    await cleaning.wait()
    batch.cancel()
    await asyncio.sleep(0)
    assert not batch.done()
    cleaned.set()
    with pytest.raises(asyncio.CancelledError):
        await batch


async def test_jobs_of_a_batch_whose_bar_cannot_be_shown_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With raise_handler_errors that ends the batch before its first job, and no coroutine is left unawaited."""
    monkeypatch.setattr("sys.stderr", closed := io.StringIO())
    closed.close()
    jobs = [make(), make()]
    manager = CallbackManager(raise_handler_errors=True)
    with use_callback_manager(manager), pytest.raises(HandlerError, match=r"ProgressHandler\.on_event_start"):
        await run_jobs(jobs, show_progress=True)
    assert [inspect.getcoroutinestate(job) for job in jobs] == [inspect.CORO_CLOSED] * 2
    assert manager.in_flight() == []


async def test_a_slot_is_not_taken_to_find_that_there_is_no_more_work() -> None:
    """A batch whose last job has ended does not wait for a slot of a limiter that others hold."""
    limiter = FixedLimiter(1)
    done = asyncio.Event()

    async def first() -> None:
        await run_jobs([make], workers=limiter)
        done.set()

    async with asyncio.timeout(5):
        await limiter.acquire()
        tasks = [asyncio.create_task(first()), asyncio.create_task(run_jobs([done.wait], workers=limiter))]
        await asyncio.sleep(0)
        limiter.release()
        await asyncio.wait(tasks)
    assert limiter.in_use == 0


async def test_a_slot_that_comes_in_spite_of_the_stop_is_given_back() -> None:
    """A limiter whose wait swallows the cancel that breaks it off does not lose the slot by that."""

    class Stubborn:
        held = 0

        def try_acquire(self) -> bool:
            if self.held:
                return False
            self.held += 1
            return True

        async def acquire(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.held += 1

        def release(self) -> None:
            self.held -= 1

    limiter = Stubborn()
    with pytest.raises(KeptError):
        await run_jobs([fail, make, make], workers=limiter)
    assert limiter.held == 0


def test_the_end_of_a_batch_costs_no_start_of_a_rate_limiter() -> None:
    """As many jobs as one period allows end in that period."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        limiter = RateLimiter(5, 60.0, clock=loop.time)
        await run_jobs((make for _ in range(5)), workers=limiter)
        return loop.time() - started

    with virtual_clock() as runner:
        assert runner.run(main()) == 0


@pytest.mark.parametrize("given_first", [True, False])
async def test_a_task_that_was_given_has_ended_when_the_race_is_over(given_first: bool) -> None:
    """A loser that is a task of the caller's is cancelled and awaited, whether it was started or not."""
    given = asyncio.create_task(asyncio.sleep(30))
    await asyncio.sleep(0)
    entries: list[Any] = [given, asyncio.sleep(0, "won")]
    assert await race(*(entries if given_first else reversed(entries))) == "won"
    assert given.cancelled()


async def test_a_task_that_was_given_has_ended_when_gather_raises() -> None:
    """The siblings of a failure are awaited, tasks of the caller's among them."""
    given = asyncio.create_task(asyncio.sleep(30))
    await asyncio.sleep(0)

    async def at_once() -> None:
        raise KeptError

    with pytest.raises(KeptError):
        await gather(at_once(), given)
    assert given.cancelled()


async def test_the_failure_of_a_job_is_not_replaced_by_noise_of_the_input() -> None:
    """An async iterator that raises when it is interrupted does not hide what it was interrupted for."""

    async def source() -> AsyncIterator[int]:
        yield 0
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("noise")

    async def job(number: int) -> None:
        await asyncio.sleep(0)
        raise KeptError

    with pytest.raises(KeptError):
        await async_map(job, source(), limit=2)


async def test_the_queue_time_of_an_async_item_counts_from_its_arrival() -> None:
    """An item that came by itself has waited since it came, not since the batch began."""
    manager = CallbackManager()
    arrived_ns: list[int] = []
    began_ns: list[int] = []

    async def source() -> AsyncIterator[int]:
        for number in range(2):
            await asyncio.sleep(0.02)
            arrived_ns.append(time.perf_counter_ns())
            yield number

    limiter = FixedLimiter(1)

    async def job(number: int) -> None:
        began_ns.append(time.perf_counter_ns())
        while len(arrived_ns) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)

    with use_callback_manager(manager):
        await async_map(job, source(), limit=limiter)
    assert manager.recorder is not None
    first, second = (event.queue_ns or 0 for event in manager.recorder.ended() if event.type == "job")
    assert first <= began_ns[0] - arrived_ns[0]
    assert 99_000_000 < second <= began_ns[1] - arrived_ns[1]


@isolations
async def test_closing_the_call_itself_is_quiet(isolation: Any) -> None:
    """A runner's coroutine that is closed while it waits cancels its jobs and does not wait for them."""
    call = run_jobs([asyncio.Event().wait, asyncio.Event().wait], isolation=isolation)
    call.send(None)
    call.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_loop_that_is_closed_in_the_middle_holds_no_slots() -> None:
    """When its tasks are collected, a batch whose loop is gone gives back its slots and ends its events."""
    limiter = FixedLimiter(2)
    manager = CallbackManager()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # it says of each task that it was pending

    async def main() -> None:
        with use_callback_manager(manager):
            await run_jobs([asyncio.Event().wait] * 4, workers=limiter)

    task = loop.create_task(main())
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert len(manager.in_flight()) > 2
    loop.close()
    del task
    assert not limiter.try_acquire()  # but it lets go of who waits for it in a loop that is gone
    gc.collect()
    assert limiter.in_use == 0
    assert manager.in_flight() == []


@isolations
async def test_two_consumers_share_a_stream(isolation: Any) -> None:
    """Each outcome goes to one of those who wait, and the end of the stream to all."""
    async with asyncio.timeout(5), stream([make] * 9, limit=2, isolation=isolation) as outcomes:

        async def consume() -> list[int]:
            return [outcome.index async for outcome in outcomes]

        first, second = await asyncio.gather(consume(), consume())
    assert sorted(first + second) == list(range(9))


@isolations
async def test_the_counts_of_a_batch_are_right_if_only_batches_are_wanted(isolation: Any) -> None:
    """A handler of batches, with the recorder off, sees how the jobs ended."""
    ended: list[Any] = []

    class Batches:
        wants = frozenset({"batch"})

        def on_event_end(self, event: Any) -> None:
            ended.append(event.counts)

    with use_callback_manager(CallbackManager([Batches()], recorder=0)):
        await run_jobs([make, fail, make], on_error="skip", isolation=isolation)
    assert [(counts.ok, counts.failed, counts.ended) for counts in ended] == [(2, 1, 3)]


@isolations
async def test_stopping_many_jobs_lets_the_loop_turn_meanwhile(isolation: Any) -> None:
    """Ten thousand jobs are cancelled in slices: other tasks run between the first cancel and the last."""
    cancelled: list[int] = []
    seen: list[int] = []
    failing = asyncio.Event()

    async def job(number: int) -> None:
        if number == 9_999:  # the others have started: they started before
            failing.set()
        if number == 0:
            await failing.wait()
            raise KeptError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async def watch() -> None:
        while len(cancelled) < 9_999:
            seen.append(len(cancelled))
            await asyncio.sleep(0)

    async def begin() -> None:
        await failing.wait()
        await watch()

    watcher = asyncio.create_task(begin())
    with pytest.raises(KeptError):
        await async_map(job, range(10_000), limit=10_000, isolation=isolation)
    await watcher
    assert len({count for count in seen if 0 < count < 9_999}) >= 3


@pytest.mark.parametrize("limit", [1, 2])
@isolations
async def test_a_job_that_raises_what_closes_generators_ends_its_batch(limit: int, isolation: Any) -> None:
    """`GeneratorExit` out of a running job is an exception like any: nobody has closed it."""
    raised = GeneratorExit("thrown into a generator of the job's own")

    async def job(number: int) -> int:
        await asyncio.sleep(0)
        if number == 1:
            raise raised
        return number

    batch = asyncio.create_task(async_map(job, range(4), limit=limit, isolation=isolation))
    for _ in range(100):
        await asyncio.sleep(0)
    assert batch.done()
    assert batch.exception() is raised


@isolations
async def test_a_limit_may_be_any_number_from_one(isolation: Any) -> None:
    """Also one that is larger than what C code counts with."""
    async with asyncio.timeout(10):
        assert await async_map(value_of, range(3), limit=2**70, isolation=isolation) == [0, 1, 2]
        assert await fill_batch(value_of, range(3), 2**70) == [0, 1, 2]


async def value_of(number: int) -> int:
    return number
