"""`gather`, `race`, `bounded_map`, `retry` and deadlines as lionherd's users know them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest

from spanloom import CallbackManager, FixedLimiter, HandlerError, use_callback_manager
from spanloom.compat import lionherd
from spanloom.testing import capture_events
from tests.compat.running import Jobs, run

Runner = Callable[[list[Coroutine[Any, Any, Any]]], Coroutine[Any, Any, Any]]


def gathered(jobs: list[Coroutine[Any, Any, Any]]) -> Coroutine[Any, Any, Any]:
    return lionherd.gather(*jobs)


async def mapped(jobs: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    async def call(job: Coroutine[Any, Any, Any]) -> Any:
        return await job

    try:
        return await lionherd.bounded_map(call, jobs, limit=100)
    finally:
        for job in jobs:  # an item that was not started is not the map's to close
            job.close()


async def streamed(jobs: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    async with lionherd.CompletionStream(jobs) as stream:
        return [value for _, value in sorted([pair async for pair in stream])]


together = pytest.mark.parametrize("runner", [gathered, mapped, streamed])


# what a group holds -------------------------------------------------------------------------------------------------


@together
def test_an_error_is_raised_in_a_group_and_ends_the_others(runner: Runner) -> None:
    """The group holds the very exception, directly; siblings are cancelled and have ended before it is raised."""
    jobs = Jobs()
    boom = RuntimeError("boom")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await runner([jobs.sleep(1, error=boom), jobs.sleep(10), jobs.sleep(20)])
        assert caught.value.exceptions == (boom,)
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        assert jobs.alive == 0

    run(main())
    assert jobs.cancelled == [10, 20]


@together
def test_errors_of_one_moment_are_all_in_the_group(runner: Runner) -> None:
    """Of several jobs that fail in the same turn of the loop none hides another, started or not."""
    first, second = ValueError("first"), KeyError("second")

    async def at_once(error: Exception) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await runner([at_once(first), at_once(second)])
        assert caught.value.exceptions == (first, second)
        jobs = Jobs()
        with pytest.raises(ExceptionGroup) as caught:
            await runner([jobs.sleep(1, error=first), jobs.sleep(1, error=second), jobs.sleep(2)])
        assert caught.value.exceptions == (first, second)
        assert jobs.cancelled == [2]

    run(main())


@together
def test_an_error_on_being_cancelled_is_in_the_group(runner: Runner) -> None:
    """A sibling whose clean-up fails is heard, too, after what it was cancelled for."""
    jobs = Jobs()
    first, second = ValueError("first"), OSError("cannot close")

    async def unclean() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise second

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await runner([unclean(), jobs.sleep(1, error=first)])
        assert caught.value.exceptions == (first, second)

    run(main())


@together
def test_a_failed_batch_is_an_error_to_handlers(runner: Runner) -> None:
    """The batch's event ends with the status of what is raised, also if all of its jobs fail in one turn."""

    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        with capture_events() as captured:
            with pytest.raises(ExceptionGroup):
                await runner([fail(), fail()])
            statuses = [(event.type.value, str(event.status)) for event in captured.events]
        assert sorted(statuses) == [("batch", "error"), ("job", "error"), ("job", "error")]
        assert captured.open == []

    run(main())


@together
def test_eager_tasks_fail_in_a_group_too(runner: Runner) -> None:
    """Under a task factory that starts tasks at once, a batch fails as it does otherwise."""
    boom = ValueError("no")

    async def fail() -> None:
        raise boom

    async def main() -> None:
        loop = asyncio.get_running_loop()
        factory = getattr(
            asyncio, "eager_task_factory", lambda loop, coro, **kw: asyncio.Task(coro, loop=loop, **kw)
        )
        loop.set_task_factory(factory)
        try:
            for siblings in (1, 0):
                with capture_events() as captured, pytest.raises(ExceptionGroup) as caught:
                    await runner([fail(), *(asyncio.sleep(1) for _ in range(siblings))])
                assert caught.value.exceptions == (boom,)
                assert {str(event.status) for event in captured.events if event.type == "batch"} == {"error"}
        finally:
            loop.set_task_factory(None)

    run(main())


@together
def test_cancelling_the_caller_cancels_every_job(runner: Runner) -> None:
    """A cancel from outside is raised as it is, after all jobs have ended."""
    jobs = Jobs()

    async def main() -> None:
        task = asyncio.create_task(runner([jobs.sleep(10), jobs.sleep(20)]))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert sorted(map(str, jobs.cancelled)) == ["10", "20"]


@together
def test_a_job_that_is_cancelled_by_itself_cancels_the_call(runner: Runner) -> None:
    """A cancel is no result and no member of a group."""
    jobs = Jobs()

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await runner([jobs.sleep(1, error=asyncio.CancelledError()), jobs.sleep(5, "sibling")])

    run(main())
    assert "sibling" in jobs.cancelled


@together
def test_an_exit_is_raised_as_it_is(runner: Runner) -> None:
    """`SystemExit` of a job is not wrapped and not collected."""

    async def leave() -> None:
        raise SystemExit(3)

    async def main() -> None:
        with pytest.raises(SystemExit):
            await runner([leave(), asyncio.sleep(10)])

    # The loop itself is left by an exit of a task, so that there is nothing to look for behind it.
    with pytest.raises(SystemExit):
        run(main())


@together
def test_a_handler_that_is_to_be_felt_is_no_member_of_a_group(runner: Runner) -> None:
    """Under ``raise_handler_errors`` the handler's failure is raised as it is."""

    class Broken:
        def on_event_end(self, event: object) -> None:
            raise ValueError("in the handler")

    async def main() -> None:
        with (
            use_callback_manager(CallbackManager([Broken()], raise_handler_errors=True)),
            pytest.raises(HandlerError),
        ):
            await runner([asyncio.sleep(0), asyncio.sleep(1)])

    run(main())


async def streamed_unseen(jobs: list[Coroutine[Any, Any, Any]]) -> None:
    async with lionherd.CompletionStream(jobs):
        await asyncio.sleep(1)


async def streamed_in_vain(jobs: list[Coroutine[Any, Any, Any]]) -> None:
    async with lionherd.CompletionStream(jobs) as stream:
        try:
            await anext(stream)
        except ExceptionGroup:
            pass


@pytest.mark.parametrize("runner", [gathered, mapped, streamed, streamed_unseen, streamed_in_vain])
def test_errors_are_freed_with_their_group(runner: Runner) -> None:
    """Nothing keeps an error alive when its group is gone: no cycle through frames and tracebacks."""

    class BoomError(Exception):
        pass

    async def fail() -> None:
        raise BoomError

    async def main() -> weakref.ref[BaseException]:
        try:
            await runner([fail(), asyncio.sleep(1)])
        except ExceptionGroup as group:
            return weakref.ref(group.exceptions[0])
        raise AssertionError("it did not fail")

    gc.collect()
    gc.disable()
    try:
        assert run(main())() is None
    finally:
        gc.enable()


@together
def test_none_is_a_result(runner: Runner) -> None:
    """``None`` has its place among the results."""

    async def nothing() -> None:
        return None

    assert run(runner([nothing(), Jobs().sleep(1), nothing()])) == [None, 1, None]


# gather -------------------------------------------------------------------------------------------------------------


def test_gather_returns_results_in_input_order() -> None:
    """The order is that of the arguments, not of completion; no arguments give an empty list."""
    jobs = Jobs()
    assert run(lionherd.gather(jobs.sleep(3), jobs.sleep(1), jobs.sleep(2))) == [3, 1, 2]
    assert jobs.ended == [1, 2, 3]
    assert run(lionherd.gather()) == []


def test_gather_puts_errors_in_the_place_of_results_on_request() -> None:
    """With `return_exceptions` every job runs to its end, and an error is a result: the very object."""
    jobs = Jobs()
    boom = ValueError("boom")
    found = run(
        lionherd.gather(jobs.sleep(2), jobs.sleep(1, error=boom), jobs.sleep(3), return_exceptions=True)
    )
    assert found == [2, boom, 3]


def test_gather_emits_a_batch() -> None:
    """What is gathered is a batch of jobs to handlers, under the jobs' own name."""

    async def work() -> None:
        await asyncio.sleep(0)

    async def main() -> str:
        with capture_events() as captured:
            await lionherd.gather(work(), work())
            return captured.tree()

    assert run(main()).splitlines() == ["batch work ok", "  job work #0 ok", "  job work #1 ok"]


# race ---------------------------------------------------------------------------------------------------------------


def test_race_returns_the_first_to_complete() -> None:
    """The first result wins; the others are cancelled and have ended when it is returned."""
    jobs = Jobs()

    async def main() -> None:
        assert await lionherd.race(jobs.sleep(3), jobs.sleep(1), jobs.sleep(2)) == 1
        assert jobs.alive == 0
        assert asyncio.get_running_loop().time() == pytest.approx(1)

    run(main())
    assert sorted(jobs.cancelled) == [2, 3]


def test_race_raises_the_error_of_the_first_to_complete_bare() -> None:
    """A failure that comes first wins, too, and is in no group."""
    jobs = Jobs()
    boom = ValueError("boom")

    async def main() -> None:
        with pytest.raises(ValueError) as caught:
            await lionherd.race(jobs.sleep(1, error=boom), jobs.sleep(2))
        assert caught.value is boom

    run(main())
    assert jobs.cancelled == [2]


def test_race_needs_a_runner() -> None:
    """There is no first of none."""
    with pytest.raises(ValueError, match="at least one"):
        run(lionherd.race())


# bounded_map --------------------------------------------------------------------------------------------------------


def test_bounded_map_keeps_the_limit_and_the_order() -> None:
    """Exactly `limit` run at once, and results stand in input order."""
    jobs = Jobs()
    delays = [5, 1, 4, 2, 3, 1, 2]
    assert run(lionherd.bounded_map(jobs.sleep, delays, limit=3)) == delays
    assert jobs.most == 3


def test_bounded_map_pulls_a_generator_lazily() -> None:
    """Any iterable or async iterable serves, and no more is taken of it than can run."""
    jobs = Jobs()
    pulled = 0

    def delays() -> Iterator[float]:
        nonlocal pulled
        for _ in range(6):
            pulled += 1
            assert pulled - len(jobs.ended) <= 2
            yield 1

    async def later() -> AsyncIterator[float]:
        for delay in delays():
            await asyncio.sleep(0)
            yield delay

    assert run(lionherd.bounded_map(jobs.sleep, delays(), limit=2)) == [1] * 6
    jobs.ended.clear()
    pulled = 0
    assert run(lionherd.bounded_map(jobs.sleep, later(), limit=2)) == [1] * 6


def test_bounded_map_starts_nothing_after_a_failure() -> None:
    """The first failure ends the map: running items are cancelled, waiting ones never begin."""
    jobs = Jobs()
    boom = ValueError("boom")

    async def call(number: int) -> Any:
        return await jobs.sleep(1 if number == 1 else 5, number, boom if number == 1 else None)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await lionherd.bounded_map(call, range(10), limit=2)
        assert caught.value.exceptions == (boom,)

    run(main())
    assert jobs.started == [0, 1]
    assert jobs.cancelled == [0]


def test_bounded_map_puts_errors_in_the_place_of_results_on_request() -> None:
    """With `return_exceptions` every item runs."""

    async def call(number: int) -> int:
        if number % 2:
            raise ValueError(number)
        return number

    found = run(lionherd.bounded_map(call, range(4), limit=2, return_exceptions=True))
    assert [repr(value) for value in found] == ["0", "ValueError(1)", "2", "ValueError(3)"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused_before_anything_is_consumed(limit: int) -> None:
    """The message is lionherd's, and the input is untouched."""
    items = iter([1, 2])
    with pytest.raises(ValueError, match=r"^limit must be >= 1$"):
        run(lionherd.bounded_map(Jobs().sleep, items, limit=limit))
    assert list(items) == [1, 2]
    with pytest.raises(ValueError, match=r"^limit must be >= 1$"):
        lionherd.CompletionStream([], limit=limit)


def test_bounded_map_raises_what_its_input_raises() -> None:
    """An error of the iterable is no job's, and is not wrapped; running items are cancelled."""
    jobs = Jobs()

    def delays() -> Iterator[float]:
        yield 1
        yield 5
        raise LookupError("no more")

    async def main() -> None:
        with pytest.raises(LookupError):
            await lionherd.bounded_map(jobs.sleep, delays(), limit=2)

    run(main())
    assert jobs.cancelled == [5]


def test_bounded_map_takes_a_limiter() -> None:
    """A limiter that several maps share bounds them together."""
    jobs = Jobs()
    limiter = FixedLimiter(2)

    async def main() -> list[list[Any]]:
        return await lionherd.gather(
            *(lionherd.bounded_map(jobs.sleep, [1, 2, 3], limit=limiter) for _ in range(2))
        )

    assert run(main()) == [[1, 2, 3], [1, 2, 3]]
    assert jobs.most == 2


def test_a_limiter_that_heeds_how_calls_go_sees_each_job() -> None:
    """Backing off works as in spanloom's own runners: an error of a job is one that the limiter has seen."""

    class Heeding(FixedLimiter):
        def __init__(self) -> None:
            super().__init__(2)
            self.seen: list[str] = []

        @contextlib.asynccontextmanager
        async def attempt(self) -> AsyncIterator[None]:
            try:
                yield
            except ValueError:
                self.seen.append("error")
                raise
            self.seen.append("ok")

    async def main(limiter: Heeding) -> list[str]:
        jobs = Jobs()
        errors = {2: ValueError()}

        async def call(number: int) -> Any:
            return await jobs.sleep(number, error=errors.get(number))

        with pytest.raises(ExceptionGroup):
            await lionherd.bounded_map(call, [1, 2], limit=limiter)
        await lionherd.bounded_map(call, [1, 2], limit=limiter, return_exceptions=True)
        with pytest.raises(ExceptionGroup):
            async with lionherd.CompletionStream(map(call, [1, 2]), limit=limiter) as stream:
                async for _ in stream:
                    pass
        return limiter.seen

    assert run(main(Heeding())) == ["ok", "error"] * 3


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_the_batch_of_a_map_is_called_what_its_user_called(return_exceptions: bool) -> None:
    """Its payload names the runner and the limit."""

    async def main() -> object:
        with capture_events() as captured:
            await lionherd.bounded_map(Jobs().sleep, [1], limit=3, return_exceptions=return_exceptions)
        (batch,) = [event for event in captured.events if event.type == "batch"]
        return batch.name, batch.payload["runner"], batch.payload["limit"]

    assert run(main()) == ("Jobs.sleep", "bounded_map", 3)


# retry and deadlines ------------------------------------------------------------------------------------------------


class Flaky:
    """Fails a number of times before it succeeds, and knows when it was called."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures = failures
        self.error = error
        self.calls: list[float] = []

    async def __call__(self) -> str:
        self.calls.append(asyncio.get_running_loop().time())
        if len(self.calls) <= self.failures:
            raise self.error
        return "well"


def test_retry_pauses_longer_each_time_and_never_longer_than_the_most() -> None:
    """Pauses double up to `max_delay`, which jitter never exceeds."""
    flaky = Flaky(5, ConnectionError())
    assert run(lionherd.retry(flaky, attempts=6, base_delay=1, max_delay=4, jitter=0)) == "well"
    assert flaky.calls == pytest.approx([0, 1, 3, 7, 11, 15])
    flaky = Flaky(50, ConnectionError())
    run(lionherd.retry(flaky, attempts=51, base_delay=4, max_delay=4, jitter=5))
    pauses = [after - before for before, after in zip(flaky.calls, flaky.calls[1:], strict=False)]
    assert max(pauses) <= 4
    assert min(pauses) < 3 < max(pauses)


def test_retry_raises_the_original_error() -> None:
    """What the last attempt raised is raised, the very object; other errors at once."""
    boom = ValueError("boom")
    for flaky, calls, kinds in (
        (Flaky(9, boom), 3, (Exception,)),
        (Flaky(9, boom), 1, (ConnectionError, TimeoutError)),
    ):
        with pytest.raises(ValueError) as caught:
            run(lionherd.retry(flaky, retry_on=kinds))
        assert caught.value is boom
        assert len(flaky.calls) == calls


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"attempts": 0}, ValueError),
        ({"jitter": -1}, ValueError),
        ({"retry_on": (BaseException,)}, TypeError),
    ],
)
def test_retry_refuses_what_makes_no_sense(arguments: dict[str, Any], error: type[Exception]) -> None:
    """A wrong argument is told before the first call; a cancel cannot be retried."""
    flaky = Flaky(0, ValueError())
    with pytest.raises(error):
        run(lionherd.retry(flaky, **arguments))
    assert flaky.calls == []


def test_retry_needs_a_function() -> None:
    """A coroutine runs only once, so it is refused and not retried."""

    async def main() -> None:
        coroutine = asyncio.sleep(0)
        with pytest.raises(TypeError, match="not coroutine"):
            await lionherd.retry(coroutine)
        await coroutine

    run(main())


def test_retry_respects_the_deadline_around_it() -> None:
    """A pause that would end too late is not made: the original error comes, and comes before the deadline."""
    boom = ConnectionError("refused")

    async def main() -> None:
        for scope in (lionherd.fail_after, lionherd.move_on_after):
            flaky = Flaky(99, boom)
            with pytest.raises(ConnectionError) as caught, scope(10):
                await lionherd.retry(flaky, attempts=99, base_delay=4, max_delay=4, jitter=0)
            assert caught.value is boom
            assert len(flaky.calls) == 3

    run(main())


@pytest.mark.parametrize("how", ["gather", "race", "bounded_map", "CompletionStream"])
def test_jobs_know_the_deadline_around_their_batch(how: str) -> None:
    """A retry in a job respects the scope that its batch stands in, and the batch hands it down no longer."""
    flaky = Flaky(99, ConnectionError("refused"))
    left: list[asyncio.Task[float | None]] = []

    async def work(_: object = None) -> Any:
        assert lionherd.effective_deadline() == pytest.approx(10)

        async def behind() -> float | None:
            await asyncio.sleep(12)
            return lionherd.effective_deadline()

        left.append(asyncio.create_task(behind()))
        with lionherd.move_on_after(3):
            assert lionherd.effective_deadline() == pytest.approx(3)
        assert await lionherd.shield(shielded) is None
        return await lionherd.retry(flaky, attempts=99, base_delay=4, max_delay=4, jitter=0)

    async def shielded() -> float | None:
        return lionherd.effective_deadline()

    async def batch() -> None:
        if how == "gather":
            await lionherd.gather(work())
        elif how == "race":
            await lionherd.race(work())
        elif how == "bounded_map":
            await lionherd.bounded_map(work, [1], limit=1)
        else:
            async with lionherd.CompletionStream([work()]) as stream:
                async for _ in stream:
                    pass

    async def main() -> None:
        with pytest.raises((ExceptionGroup, ConnectionError)), lionherd.fail_after(10):
            await batch()
        assert asyncio.get_running_loop().time() == pytest.approx(8)
        assert lionherd.effective_deadline() is None
        assert await left[0] is None

    run(main())
    assert len(flaky.calls) == 3


def test_a_call_that_is_closed_from_elsewhere_lets_go() -> None:
    """A coroutine that is closed in another context than it ran in leaves no error and no deadline behind."""

    async def main() -> None:
        with lionherd.move_on_after(10):
            call = lionherd.gather(asyncio.sleep(5))
            contextvars.copy_context().run(call.send, None)
            call.close()
        assert lionherd.effective_deadline() is None
        await asyncio.sleep(1)

    run(main())


def test_a_batch_without_a_deadline_hands_none_down() -> None:
    """Inside a job there is no deadline where there is none outside."""

    async def work() -> float | None:
        return lionherd.effective_deadline()

    async def main() -> None:
        assert await lionherd.gather(work()) == [None]
        async with asyncio.timeout(5):
            assert await lionherd.gather(work()) == [pytest.approx(5)]

    run(main())


def test_scopes_end_at_their_deadline() -> None:
    """`fail_*` raise, `move_on_*` go on and tell so; a time that has passed ends the block at its first await."""

    async def main() -> None:
        for scope in (lionherd.fail_after(1), lionherd.fail_at(lionherd.current_time() + 2)):
            with pytest.raises(TimeoutError), scope:
                await lionherd.sleep(10)
        with lionherd.move_on_after(1) as caught:
            await lionherd.sleep(10)
        assert caught.cancelled_caught
        with lionherd.move_on_at(lionherd.current_time() + 1) as caught:
            await lionherd.sleep(10)
        assert caught.cancelled_caught
        with pytest.raises(TimeoutError), lionherd.fail_at(lionherd.current_time() - 1):
            await lionherd.sleep(0)
        with lionherd.move_on_at(lionherd.current_time() - 1) as caught:
            await lionherd.sleep(0)
        assert caught.cancelled_caught
        with lionherd.fail_at(lionherd.current_time() + 1) as caught:
            pass
        assert not caught.cancelled_caught

    run(main())


@pytest.mark.parametrize(
    "scope", [lionherd.fail_after, lionherd.move_on_after, lionherd.fail_at, lionherd.move_on_at]
)
def test_a_scope_without_a_deadline_can_be_cancelled(scope: Any) -> None:
    """``None`` is no deadline, and no shield."""

    async def main() -> None:
        with scope(None) as inner:
            await asyncio.sleep(1)
        assert not inner.cancelled_caught
        assert isinstance(inner, lionherd.CancelScope)
        with lionherd.move_on_after(1) as outer, scope(None) as inner:
            await asyncio.sleep(10)
        assert outer.cancelled_caught
        assert not inner.cancelled_caught

    run(main())
    assert lionherd.CancelScope is anyio.CancelScope


def test_scopes_end_batches() -> None:
    """A deadline around a batch cancels its jobs, and shows itself as the scope says."""
    jobs = Jobs()

    async def main() -> None:
        with pytest.raises(TimeoutError), lionherd.fail_after(1):
            await lionherd.gather(jobs.sleep(10), jobs.sleep(20))
        with lionherd.move_on_after(1) as scope:
            await lionherd.bounded_map(jobs.sleep, [30, 40], limit=1)
        assert scope.cancelled_caught

    run(main())
    assert jobs.cancelled == [10, 20, 30]


# cancelling ---------------------------------------------------------------------------------------------------------


def test_a_shield_keeps_scopes_further_out_away() -> None:
    """What is shielded ends; its own timeouts and errors get through, arguments too."""
    jobs = Jobs()

    async def impatient() -> None:
        with lionherd.fail_after(1):
            await asyncio.sleep(10)

    async def main() -> None:
        with lionherd.move_on_after(1):
            assert await lionherd.shield(jobs.sleep, 5, name="protected") == "protected"
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        with pytest.raises(TimeoutError):
            await lionherd.shield(impatient)

    run(main())
    assert jobs.ended == ["protected"]


def test_cancels_are_told_from_errors() -> None:
    """`is_cancelled` and the splitters know the backend's cancel, and keep the shape of groups."""

    async def main() -> None:
        cancel, error = lionherd.get_cancelled_exc_class()(), ValueError()
        assert isinstance(cancel, asyncio.CancelledError)
        assert lionherd.is_cancelled(cancel)
        assert not lionherd.is_cancelled(error)
        group = BaseExceptionGroup("both", [cancel, BaseExceptionGroup("inner", [error])])
        cancels, rest = lionherd.split_cancellation(group)
        assert cancels is not None
        assert cancels.exceptions == (cancel,)
        assert rest is not None
        assert repr(rest) == repr(lionherd.non_cancel_subgroup(group))
        assert repr(rest) == "ExceptionGroup('both', [ExceptionGroup('inner', [ValueError()])])"
        assert lionherd.non_cancel_subgroup(BaseExceptionGroup("cancels", [cancel])) is None

    run(main())


# between sync and async ---------------------------------------------------------------------------------------------


def test_run_async_runs_on_a_loop_of_its_own_in_a_thread() -> None:
    """With or without a running loop in the caller's thread; the context goes along, errors come back unchanged."""
    variable = contextvars.ContextVar("variable", default="unset")
    boom = ValueError("boom")
    seen: list[tuple[threading.Thread, asyncio.AbstractEventLoop, str]] = []

    async def work() -> int:
        await asyncio.sleep(0)
        seen.append((threading.current_thread(), asyncio.get_running_loop(), variable.get()))
        return 42

    async def fail() -> None:
        raise boom

    class Awaitable:
        def __await__(self) -> Iterator[Any]:
            return work().__await__()

    def calls() -> None:
        variable.set("set")
        assert lionherd.run_async(work()) == 42
        assert lionherd.run_async(Awaitable()) == 42
        with pytest.raises(ValueError) as caught:
            lionherd.run_async(fail())
        assert caught.value is boom

    async def inside() -> asyncio.AbstractEventLoop:
        calls()
        return asyncio.get_running_loop()

    calls()
    outer = asyncio.run(inside())
    assert len(seen) == 4
    assert {value for _, _, value in seen} == {"set"}
    assert all(thread is not threading.current_thread() and loop is not outer for thread, loop, _ in seen)


async def test_run_sync_calls_a_function_in_a_thread() -> None:
    """The loop goes on meanwhile; arguments go in, results and errors come out."""
    working, ticked = threading.Event(), threading.Event()

    async def tick() -> None:
        while not working.is_set():
            await asyncio.sleep(0.001)
        ticked.set()

    def work(a: int, *, b: int) -> tuple[int, bool, bool]:
        working.set()
        return a + b, threading.current_thread() is threading.main_thread(), ticked.wait(30)

    task = asyncio.create_task(tick())
    assert await lionherd.run_sync(work, 1, b=2) == (3, False, True)
    with pytest.raises(ZeroDivisionError):
        await lionherd.run_sync(lambda: 1 / 0)
    await task


def test_a_coroutine_function_is_known_in_partials() -> None:
    """`functools.partial` is looked through, however deep."""

    async def work(a: int, b: int) -> None:
        pass

    assert lionherd.is_coro_func(work)
    assert lionherd.is_coro_func(functools.partial(functools.partial(work, 1), 2))
    assert not lionherd.is_coro_func(functools.partial(print, 1))
    assert not lionherd.is_coro_func(len)
