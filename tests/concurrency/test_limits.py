"""Limiters: fair, exact, and unharmed by cancels."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom import Cooldown, FixedLimiter, Limiter, RateLimiter, RetryPolicy, async_map
from spanloom.testing import capture_events, virtual_clock

checked = settings(derandomize=True, deadline=None, database=None, print_blob=True)


@pytest.mark.parametrize("limiter", [FixedLimiter(1), RateLimiter(1)])
def test_both_are_limiters(limiter: Any) -> None:
    """The protocol is checked at run time by the runners."""
    assert isinstance(limiter, Limiter)


# FixedLimiter ---------------------------------------------------------------------------------------


async def test_a_slot_goes_to_the_longest_waiting() -> None:
    """First come, first served, even if someone asks in the moment of the release."""
    limiter = FixedLimiter(1)
    order: list[int] = []
    assert limiter.try_acquire()

    async def wait(number: int) -> None:
        async with limiter:
            order.append(number)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(wait(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (limiter.in_use, limiter.waiting) == (1, 5)
    limiter.release()
    assert not limiter.try_acquire()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert (limiter.in_use, limiter.waiting) == (0, 0)


async def test_a_waiter_that_is_handed_a_slot_and_cancelled_passes_it_on() -> None:
    """A release and a cancel in one turn lose no slot, in either order."""
    for cancel_first in (True, False):
        limiter = FixedLimiter(1)
        assert limiter.try_acquire()
        first, second = asyncio.create_task(limiter.acquire()), asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        if cancel_first:
            first.cancel()
            limiter.release()
        else:
            limiter.release()
            first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert (limiter.in_use, limiter.waiting) == (1, 0)
        limiter.release()
        assert limiter.try_acquire()


async def test_a_cancelled_waiter_that_a_release_has_passed_over_ends_as_cancelled() -> None:
    """The only waiter is cancelled, and the slot given back in the same turn: it is free."""
    limiter = FixedLimiter(1)
    assert limiter.try_acquire()
    task = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    task.cancel()
    limiter.release()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert (limiter.in_use, limiter.waiting) == (0, 0)


@checked
@given(
    size=st.integers(1, 3),
    tasks=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.none() | st.integers(0, 8)), max_size=12
    ),
)
def test_slots_are_never_lost_nor_exceeded(size: int, tasks: list[tuple[int, int, int | None]]) -> None:
    """Whatever is acquired, held and cancelled when, the bound holds and all slots come back."""

    async def main() -> None:
        limiter = FixedLimiter(size)
        holding = most = 0

        async def hold(arrive: int, turns: int) -> None:
            nonlocal holding, most
            for _ in range(arrive):
                await asyncio.sleep(0)
            async with limiter:
                holding += 1
                most = max(most, holding)
                assert limiter.in_use >= holding
                try:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    holding -= 1

        async def cancelled(task: asyncio.Task[None], turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()

        running = [asyncio.create_task(hold(arrive, turns)) for arrive, turns, _ in tasks]
        killers = [
            cancelled(running[index], when) for index, (_, _, when) in enumerate(tasks) if when is not None
        ]
        results = await asyncio.gather(*running, *killers, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert most <= size
        assert (limiter.in_use, limiter.waiting) == (0, 0)

    asyncio.run(main())


async def test_a_release_too_many_is_an_error() -> None:
    """Nobody can give back what was not taken."""
    limiter = FixedLimiter(2, name="database")
    with pytest.raises(RuntimeError, match=r"database.release\(\) was called more often than acquire\(\)"):
        limiter.release()
    assert limiter.in_use == 0
    assert repr(limiter) == "<FixedLimiter database 0/2 in use, 0 waiting>"


async def test_a_wait_for_a_slot_is_an_event() -> None:
    """An acquire that has to wait is a slot_wait with its queue time; one that does not is nothing."""
    with capture_events() as captured:
        limiter = FixedLimiter(1, name="database")
        await limiter.acquire()
        assert captured.started == []
        asyncio.get_running_loop().call_later(0.001, limiter.release)
        await limiter.acquire()
    assert captured.tree() == "slot_wait database ok"
    event = captured.events[0]
    assert event.queue_ns == event.duration_ns


@pytest.mark.parametrize(
    ("size", "kind"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_a_fixed_limiter_needs_a_size_of_at_least_one(size: Any, kind: type[Exception]) -> None:
    """The message says what was given."""
    with pytest.raises(kind, match=f"size must be .*{size}"):
        FixedLimiter(size)


# RateLimiter ----------------------------------------------------------------------------------------


def test_starts_are_spread_over_the_periods() -> None:
    """A burst of max_rate is followed by a pause, first come, first served."""

    async def main() -> list[tuple[int, int]]:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(3, 10, clock=loop.time)
        starts: list[tuple[int, int]] = []

        async def start(number: int) -> None:
            await limiter.acquire()
            starts.append((round(loop.time()), number))

        await asyncio.gather(*[start(number) for number in range(8)])
        return starts

    with virtual_clock() as runner:
        assert runner.run(main()) == [(0, 0), (0, 1), (0, 2), (10, 3), (10, 4), (10, 5), (20, 6), (20, 7)]


@checked
@given(
    rate=st.integers(1, 4),
    period=st.floats(0.1, 100),
    callers=st.lists(st.tuples(st.floats(0, 50), st.none() | st.floats(0, 200)), min_size=1, max_size=25),
)
def test_no_window_holds_more_starts_than_allowed(
    rate: int, period: float, callers: list[tuple[float, float | None]]
) -> None:
    """In any span of period_s there are at most max_rate starts, whoever is cancelled, in order of arrival."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(rate, period, clock=loop.time)
        starts: list[float] = []
        arrived: list[int] = []
        served: list[int] = []

        async def start(number: int, arrival: float) -> None:
            await asyncio.sleep(arrival)
            arrived.append(number)
            await limiter.acquire()
            starts.append(loop.time())
            served.append(number)

        tasks = []
        for number, (arrival, cancel_at) in enumerate(callers):
            tasks.append(task := asyncio.create_task(start(number, arrival)))
            if cancel_at is not None:
                loop.call_at(cancel_at, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        for earlier, later in zip(starts, starts[rate:], strict=False):
            assert later >= earlier + period
        assert served == [number for number in arrived if number in served]

    with virtual_clock() as runner:
        runner.run(main())


@pytest.mark.parametrize(
    "policy", [RetryPolicy(base_delay=1, jitter=0, attempt_timeout=5), tenacity.AsyncRetrying()]
)
def test_every_attempt_of_a_job_counts(policy: object) -> None:
    """Servers count requests, not jobs; the wait for an attempt's start is no part of its time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        starts: list[float] = []

        async def job(number: int) -> int:
            starts.append(loop.time())
            if len(starts) <= 6:
                raise ConnectionError
            return number

        limiter = RateLimiter(4, 60)
        assert await async_map(job, range(4), limit=limiter, retry=policy) == [0, 1, 2, 3]
        assert [round(start / 60) for start in starts] == [0] * 4 + [1] * 4 + [2] * 2

    with virtual_clock() as runner:
        runner.run(main())


def test_a_rate_tells_how_long_it_would_take() -> None:
    """Without taking anything."""
    now = 0.0
    limiter = RateLimiter(3, 10, clock=lambda: now)
    assert limiter.try_acquire(2)
    assert (limiter.delay_s(), limiter.delay_s(2)) == (0, 10)
    now = 4.0
    assert limiter.delay_s(3) == 6
    with pytest.raises(ValueError, match="could wait for ever"):
        limiter.delay_s(4)


def test_a_cancelled_caller_leaves_the_line_as_if_it_had_never_come() -> None:
    """Who waits behind it starts when it would have started."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(1, 10, clock=loop.time)
        starts: list[int] = []

        async def start() -> None:
            await limiter.acquire()
            starts.append(round(loop.time()))

        tasks = [asyncio.create_task(start()) for _ in range(5)]
        await asyncio.sleep(5)
        tasks[1].cancel()
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return starts

    with virtual_clock() as runner:
        assert runner.run(main()) == [0, 10, 20]


def test_a_rate_can_be_tried_without_waiting() -> None:
    """`try_acquire` takes a start only if one is allowed at once."""
    now = 0.0
    limiter = RateLimiter(2, 5, clock=lambda: now)
    assert [limiter.try_acquire() for _ in range(3)] == [True, True, False]
    now = 4.9
    assert not limiter.try_acquire()
    now = 5.0
    assert [limiter.try_acquire() for _ in range(3)] == [True, True, False]
    assert repr(limiter) == "<RateLimiter rate limiter 2 per 5 s>"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((0,), ValueError, r"max_rate must be at least 1 \(got 0\)"),
        ((0.5,), TypeError, "max_rate must be an int"),
        ((1, 0), ValueError, r"period_s must be above 0 seconds \(got 0\)"),
        ((1, float("nan")), ValueError, "period_s must be above 0"),
        ((1, math.inf), ValueError, r"period_s must be above 0 seconds and finite \(got inf\)"),
        ((1, True), TypeError, r"period_s must be a number \(got True, bool\)"),
    ],
)
def test_a_rate_limiter_refuses_bad_numbers(arguments: Any, kind: type[Exception], message: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(kind, match=message):
        RateLimiter(*arguments)


def test_a_rate_of_units_never_exceeds_its_window_and_starves_nobody() -> None:
    """Tokens a minute: who needs much waits for its turn, and is not overtaken by those who need little."""

    async def main() -> list[tuple[int, str]]:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(100, 60, name="tokens")
        served: list[tuple[int, str]] = []

        async def call(name: str, amount: int) -> None:
            await limiter.acquire(amount)
            served.append((round(loop.time()), name))

        tasks = [asyncio.create_task(call("a", 60))]
        await asyncio.sleep(10)
        tasks += [
            asyncio.create_task(call(name, amount)) for name, amount in (("b", 30), ("big", 100), ("c", 1))
        ]
        await asyncio.gather(*tasks)
        return served

    with virtual_clock() as runner:
        assert runner.run(main()) == [(0, "a"), (10, "b"), (70, "big"), (130, "c")]


@checked
@given(
    rate=st.integers(5, 20),
    calls=st.lists(
        st.tuples(st.floats(0, 100), st.integers(1, 5), st.integers(-5, 10), st.floats(0, 29)),
        min_size=1,
        max_size=20,
    ),
)
def test_no_window_holds_more_units_than_allowed(
    rate: int, calls: list[tuple[float, int, int, float]]
) -> None:
    """Whatever is acquired when, and charged or given back afterwards: what is acquired fits."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(rate, 30)
        taken: dict[int, tuple[float, int]] = {}  # what really was, as it turns out

        async def call(number: int, arrival: float, amount: int, more: int, seconds: float) -> None:
            await asyncio.sleep(arrival)
            await limiter.acquire(amount)
            now = loop.time()
            in_window = sum(units for when, units in taken.values() if when + 30 > now)
            assert in_window + amount <= rate
            taken[number] = now, amount
            await asyncio.sleep(seconds)
            if more > 0:
                limiter.charge(more)
                taken[-number] = loop.time(), more
            elif more < 0:
                back = min(-more, amount)
                limiter.charge(-back)
                taken[number] = now, amount - back

        await asyncio.gather(*[call(number, *arguments) for number, arguments in enumerate(calls, 1)])

    with virtual_clock() as runner:
        runner.run(main())


def test_what_is_given_back_is_taken_at_once_by_who_waits_for_it() -> None:
    """The first in line does not sleep until the moment that was right before."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(100, 60)
        got: list[tuple[str, int]] = []

        async def call(name: str, amount: int) -> None:
            await limiter.acquire(amount)
            got.append((name, round(loop.time())))

        await limiter.acquire(100)
        waiting = [asyncio.create_task(call(name, 40)) for name in "abc"]
        await asyncio.sleep(10)
        limiter.charge(-90)
        await asyncio.gather(*waiting)
        assert got == [("a", 10), ("b", 10), ("c", 70)]

    with virtual_clock() as runner:
        runner.run(main())


def test_what_a_call_took_less_is_given_back() -> None:
    """An estimate that was too high does not hold back others for long."""
    now = 0.0
    limiter = RateLimiter(10, 60, clock=lambda: now)
    assert limiter.try_acquire(3)
    now = 1.0
    assert limiter.try_acquire(7)
    assert not limiter.try_acquire()
    limiter.charge(-8)
    assert limiter.try_acquire(8)
    assert not limiter.try_acquire()
    limiter.charge(5)
    now = 60.0
    assert not limiter.try_acquire()
    now = 61.0
    assert limiter.try_acquire(10)


@pytest.mark.parametrize("amount", [1.5, math.nan, True, "1"])
def test_what_is_charged_is_a_whole_number(amount: Any) -> None:
    """A NaN would have every later start wait for nothing, or for ever."""
    limiter = RateLimiter(5, clock=lambda: 0.0)
    with pytest.raises(TypeError, match=r"amount must be an int, below 0 to give back \(got "):
        limiter.charge(amount)
    assert limiter.try_acquire(5)


@pytest.mark.parametrize(("amount", "kind"), [(0, ValueError), (11, ValueError), (1.5, TypeError)])
async def test_an_amount_that_no_period_allows_is_refused(amount: Any, kind: type[Exception]) -> None:
    """It would wait for ever."""
    limiter = RateLimiter(10)
    with pytest.raises(kind):
        limiter.try_acquire(amount)
    with pytest.raises(kind):
        await limiter.acquire(amount)


async def test_a_fixed_limiter_is_resized_while_others_wait() -> None:
    """More slots go to the longest waiting at once; of fewer, held ones stay held."""
    limiter = FixedLimiter(1)
    assert limiter.try_acquire()
    waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    limiter.resize(3)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    limiter.resize(1)
    assert (limiter.size, limiter.in_use) == (1, 3)
    limiter.release()
    limiter.release()
    assert not waiting[2].done()
    limiter.release()
    await waiting[2]
    assert limiter.in_use == 1
    with pytest.raises(ValueError, match="size must be at least 1"):
        limiter.resize(0)


def used_up() -> RateLimiter:
    limiter = RateLimiter(1, 10, clock=time.monotonic)
    limiter.try_acquire()
    return limiter


def paused() -> Cooldown:
    limiter = Cooldown(slow_start_items=0, clock=time.monotonic)
    limiter.pause(10)
    return limiter


@pytest.mark.parametrize("make", [used_up, paused])
def test_who_stands_in_line_in_a_loop_that_is_gone_holds_up_nobody(
    make: Callable[[], RateLimiter | Cooldown], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop may be closed under its tasks, and the limiter be the program's: those of the next loop are first."""
    limiter = make()
    line = limiter._line

    async def start() -> None:
        if isinstance(limiter, Cooldown):
            async with limiter.attempt():
                pass
        else:
            await limiter.acquire()

    async def begin() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(start()) for _ in range(3)]
        await asyncio.sleep(0)
        return tasks

    gone = asyncio.new_event_loop()
    gone.set_exception_handler(lambda loop, context: None)  # it says of each task that it was pending
    left = gone.run_until_complete(begin())
    assert len(line) == 3
    gone.close()

    async def go_on() -> None:
        first, second = asyncio.create_task(start()), asyncio.create_task(start())
        await asyncio.sleep(0)
        assert len(line) == 2
        left.clear()
        gc.collect()  # what is collected now was not in the way, and takes nothing from who waits
        assert len(line) == 2
        monkeypatch.setattr(line, "_clock", lambda: math.inf)
        line.look_again()
        for _ in range(5):
            await asyncio.sleep(0)
        assert first.done()
        assert second.done()

    asyncio.run(go_on())
