"""Cooldown: one refusal pauses all who share it, once, and then they start slowly."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from spanloom import (
    AdaptiveLimiter,
    Cooldown,
    EventType,
    FixedLimiter,
    RateLimiter,
    RetryPolicy,
    async_map,
    gather,
)
from spanloom.concurrency.limits import HeedfulLimiter
from spanloom.concurrency.overload import is_rate_limit, status_code_of
from spanloom.testing import capture_events, virtual_clock


class RefusedError(Exception):
    """An answer with status 429, and with a Retry-After if it is given one."""

    status_code = 429

    def __init__(self, retry_after: float | None = None) -> None:
        self.retry_after = retry_after


class Api:
    """Refuses the calls that start before `opens_at`, and remembers when each started."""

    def __init__(self, opens_at: float, retry_after: float | None = None) -> None:
        self.starts: list[float] = []
        self._opens_at = opens_at
        self._retry_after = retry_after

    async def call(self, _: object = None) -> None:
        now = asyncio.get_running_loop().time()
        self.starts.append(now)
        await asyncio.sleep(1)
        if now < self._opens_at:
            raise RefusedError(self._retry_after)


def run(api: Api, cooldown: Cooldown, jobs: int, attempts: int = 10) -> None:
    """Run so many calls at once, each tried again until it gets through."""
    policy = RetryPolicy(attempts=attempts, base_delay=0, jitter=0)
    with virtual_clock() as runner:
        runner.run(async_map(api.call, range(jobs), limit=cooldown, retry=policy))


def test_fifty_refusals_at_once_make_one_pause() -> None:
    """All who share the cool-down wait for its end; refusals of calls that ran before it began are not counted."""
    api = Api(opens_at=30)
    cooldown = Cooldown(pause_s=60, slow_start_items=0)
    run(api, cooldown, 50)
    assert api.starts == [0.0] * 50 + [61.0] * 50
    assert cooldown.generation == 1
    assert repr(cooldown) == "<Cooldown cooldown open, 1 pauses so far>"


def test_the_longest_retry_after_is_a_floor() -> None:
    """Also when it is longer than the longest pause, and comes with a later refusal of the same pause."""
    starts: list[float] = []

    async def call(number: int) -> None:
        loop = asyncio.get_running_loop()
        starts.append(loop.time())
        first = len(starts) <= 2
        await asyncio.sleep(1 + number)
        if first:
            raise RefusedError([5, 900][number])

    cooldown = Cooldown(pause_s=10, longest_s=20, slow_start_items=0)
    with virtual_clock() as runner:
        runner.run(async_map(call, range(2), limit=cooldown, retry=RetryPolicy(base_delay=0, max_delay=0)))
    assert starts == [0.0, 0.0, 902.0, 902.0]
    assert cooldown.generation == 1


def test_pauses_in_a_row_become_longer_and_a_success_ends_the_row() -> None:
    """10, 20, 40, then no more than 50; after a call that went well, 10 again."""
    refused = iter([True, True, True, True, True, False, True, False])
    starts: list[float] = []

    async def call(_: object) -> None:
        starts.append(asyncio.get_running_loop().time())
        if next(refused):
            raise RefusedError

    cooldown = Cooldown(1, pause_s=10, longest_s=50, multiplier=2, slow_start_items=0)
    with virtual_clock() as runner:
        policy = RetryPolicy(attempts=8, base_delay=0)
        runner.run(async_map(call, range(2), limit=cooldown, retry=policy))
    assert starts == [0, 10, 30, 70, 120, 170, 170, 180]


async def test_a_success_of_an_older_call_ends_no_row() -> None:
    """A call that started before the pause says nothing of what the server takes since."""
    now = 0.0
    cooldown = Cooldown(pause_s=10, slow_start_items=0, clock=lambda: now)
    older, refused = cooldown.attempt(), cooldown.attempt()
    await older.__aenter__()
    await refused.__aenter__()
    await refused.__aexit__(RefusedError, RefusedError(), None)
    assert cooldown.remaining_s == 10
    await older.__aexit__(None, None, None)
    now = 10.0
    later = cooldown.attempt()
    await later.__aenter__()
    await later.__aexit__(RefusedError, RefusedError(), None)
    assert cooldown.remaining_s == 20


def test_calls_start_slowly_after_a_pause() -> None:
    """Start number n of the next `slow_start_items` waits for its share of the delay after the one before."""
    api = Api(opens_at=5)
    cooldown = Cooldown(
        pause_s=9, slow_start_items=4, slow_start_initial_delay_s=2.0, slow_start_final_delay_s=0.0
    )
    run(api, cooldown, 6)
    assert api.starts[6:] == pytest.approx([12.0, 13.5, 14.5, 15.0, 15.0, 15.0])


def test_another_limiter_still_holds_back() -> None:
    """The slots of the one inside are held over pauses, and all come back."""
    api = Api(opens_at=5)
    inner = FixedLimiter(2)
    cooldown = Cooldown(inner, pause_s=9, slow_start_items=0)
    run(api, cooldown, 4)
    assert api.starts == [0, 0, 10, 10, 11, 11]
    assert (inner.in_use, inner.waiting) == (0, 0)


def most_in(starts: list[float], period_s: float) -> int:
    """Return how many starts the fullest window has."""
    return max(sum(first <= start < first + period_s for start in starts) for first in starts)


@pytest.mark.parametrize("slowly", [0, 5])
def test_a_rate_inside_holds_after_a_pause_as_well(slowly: int) -> None:
    """It counts calls when they start, attempts included: those that waited for the end of the pause, too."""
    api = Api(opens_at=1)
    cooldown = Cooldown(RateLimiter(10, 60), pause_s=60, slow_start_items=slowly)
    run(api, cooldown, 40)
    assert len(api.starts) == 50
    assert most_in(api.starts, 60) == 10
    assert api.starts[-1] <= 61 + 4 * 60


def test_a_rate_inside_lets_no_batch_start_all_its_jobs() -> None:
    """Of a lazy input, only what may start soon is pulled."""
    pulled = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        for number in range(1000):
            pulled += 1
            yield number

    async def scenario() -> None:
        cooldown = Cooldown(RateLimiter(10, 60), slow_start_items=0)
        task = asyncio.create_task(async_map(Api(0).call, items(), limit=cooldown))
        await asyncio.sleep(90)
        assert 20 <= pulled <= 25
        task.cancel()
        await asyncio.wait([task])

    with virtual_clock() as runner:
        runner.run(scenario())


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_cancelled_the_rate_inside_holds_and_nobody_waits_for_ever(seed: int) -> None:
    """Cancelled at any moment, waiting or running, in a pause or not."""
    dice = random.Random(seed)
    starts: list[float] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        cooldown = Cooldown(RateLimiter(3, 10), pause_s=15, slow_start_items=dice.choice((0, 3)))

        async def call() -> None:
            for _ in range(3):
                async with cooldown:
                    starts.append(loop.time())
                    await asyncio.sleep(dice.random() * 4)
                    if dice.random() < 0.1:
                        raise RefusedError

        tasks = [asyncio.create_task(call()) for _ in range(15)]
        for task in tasks[::2]:
            loop.call_at(dice.random() * 60, task.cancel)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10_000)
        await asyncio.wait_for(call_once(cooldown), 10_000)

    async def call_once(cooldown: Cooldown) -> None:
        async with cooldown:
            pass

    with virtual_clock() as runner:
        runner.run(scenario())
    assert most_in(starts, 10) <= 3


def test_an_adaptive_limiter_inside_sees_the_attempts() -> None:
    """Refusals pause, and lower the limit."""
    adaptive = AdaptiveLimiter(initial=10, adaptation_interval=0.5)
    api = Api(opens_at=5)
    run(api, Cooldown(adaptive, pause_s=9, slow_start_items=0), 10)
    assert [change.reason for change in adaptive.changes] == ["errors"]
    assert (adaptive.in_use, adaptive.waiting) == (0, 0)


def test_a_block_under_a_cooldown_is_watched_too() -> None:
    """`async with` waits for the pause, and starts one when its block is refused."""
    cooldown = Cooldown(pause_s=60, slow_start_items=0)
    api = Api(opens_at=30)

    async def caller() -> None:
        for _ in range(2):
            try:
                async with cooldown:
                    await api.call()
            except RefusedError:
                pass

    async def main() -> None:
        await gather(caller(), caller())

    with virtual_clock() as runner:
        runner.run(main())
    assert api.starts == [0, 0, 61, 61]


def test_a_pause_can_be_asked_for() -> None:
    """`pause` holds everybody back, for as long as it is told."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        cooldown = Cooldown(3, slow_start_items=0)
        cooldown.pause(30)
        assert not cooldown.try_acquire()
        assert cooldown.remaining_s == 30
        await cooldown.acquire()
        return [loop.time(), cooldown.remaining_s]

    with virtual_clock() as runner:
        assert runner.run(main()) == [30, 0]


def test_who_is_cancelled_in_a_pause_has_taken_nothing() -> None:
    """Its slot goes to the next, and its turn in the slow start as well."""

    async def main() -> tuple[int, list[float]]:
        inner = FixedLimiter(1)
        cooldown = Cooldown(inner, slow_start_items=2, slow_start_initial_delay_s=1)
        cooldown.pause(10)
        starts: list[float] = []

        async def call() -> None:
            async with cooldown:
                starts.append(asyncio.get_running_loop().time())

        tasks = [asyncio.create_task(call()) for _ in range(3)]
        await asyncio.sleep(5)
        tasks[0].cancel()
        await asyncio.sleep(5.5)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return inner.in_use, starts

    with virtual_clock() as runner:
        assert runner.run(main()) == (0, [11.0])


@pytest.mark.parametrize(
    ("seconds", "kind", "message"),
    [
        (math.inf, ValueError, r"seconds must be at least 0 and finite \(got inf\)"),
        (math.nan, ValueError, r"seconds must be at least 0 \(got nan\)"),
        (-1, ValueError, r"seconds must be at least 0 \(got -1\)"),
        ("10", TypeError, r"seconds must be a number \(got '10', str\)"),
    ],
)
def test_a_pause_that_has_no_end_is_refused(seconds: Any, kind: type[Exception], message: str) -> None:
    """Nobody would ever start again; and nothing has changed."""
    cooldown = Cooldown(clock=lambda: 0.0)
    with pytest.raises(kind, match=message):
        cooldown.pause(seconds)
    assert (cooldown.generation, cooldown.remaining_s) == (0, 0.0)


async def test_a_pause_is_an_event() -> None:
    """A point event of the type cooldown says how long and why."""
    cooldown = Cooldown(pause_s=0.001, slow_start_items=0, name="api")
    with capture_events() as captured:
        with pytest.raises(RefusedError):
            async with cooldown:
                raise RefusedError(0.002)
        async with cooldown:
            pass
    pause, wait = captured.events
    assert (pause.type, pause.is_point) == (EventType.COOLDOWN, True)
    assert pause.payload == {
        "limiter": "api",
        "delay_s": 0.002,
        "reason": "Retry-After",
        "error": "RefusedError",
    }
    assert (wait.type, wait.name) == (EventType.SLOT_WAIT, "api")


def test_other_errors_do_not_pause() -> None:
    """A bug of the caller's is not a refusal."""
    cooldown = Cooldown()

    async def call(_: int) -> None:
        raise ValueError

    with virtual_clock() as runner:
        runner.run(async_map(call, range(3), limit=cooldown, on_error="skip"))
    assert cooldown.generation == 0


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"pause_s": -1}, ValueError, r"pause_s must be at least 0 \(got -1\)"),
        ({"pause_s": 60, "longest_s": 10}, ValueError, r"longest_s must be at least pause_s, 60 \(got 10\)"),
        ({"pause_s": math.inf}, ValueError, r"pause_s must be at least 0 and finite \(got inf\)"),
        ({"pause_s": math.nan}, ValueError, r"pause_s must be at least 0 \(got nan\)"),
        ({"pause_s": True}, TypeError, r"pause_s must be a number \(got True, bool\)"),
        ({"multiplier": 0.5}, ValueError, "multiplier must be at least 1"),
        ({"slow_start_items": -1}, ValueError, "slow_start_items must be at least 0"),
        ({"limiter": 0}, ValueError, "limiter must be at least 1"),
        ({"limiter": True}, TypeError, "limiter must be an int of at least 1"),
        ({"limiter": "2"}, TypeError, "limiter must be an int, a limiter or None, not str"),
    ],
)
def test_it_refuses_bad_arguments(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(kind, match=message):
        Cooldown(**options)


@pytest.mark.parametrize("limiter", [Cooldown(), AdaptiveLimiter()])
def test_both_heed_how_attempts_go(limiter: object) -> None:
    """The protocol is checked at run time."""
    assert isinstance(limiter, HeedfulLimiter)


def error(name: str = "Error", **attributes: object) -> Exception:
    return type(name, (Exception,), attributes)()


@pytest.mark.parametrize(
    ("raised", "refused"),
    [
        (error(status_code=429), True),
        (error(status=429), True),
        (error(code=429), True),
        (error(response=type("Response", (), {"status_code": 429})()), True),
        (error(status_code=503), False),
        (error(status_code=503, retry_after=3), True),
        (error(status_code=500, retry_after=3), False),
        (error("RateLimitError"), True),
        (error("RateLimitError", status_code=400), False),
        (error(code="rate_limit"), False),
        (ValueError("429"), False),
    ],
)
def test_a_refusal_is_told_by_its_status(raised: Exception, refused: bool) -> None:
    """429, or 503 with a Retry-After, wherever clients keep it; else by what the class is called."""
    assert is_rate_limit(raised) is refused


def test_a_status_is_a_number_of_http() -> None:
    """Exit codes and flags are none."""
    assert status_code_of(error(code=1)) is None
    assert status_code_of(error(status=True)) is None
    assert status_code_of(error(code=404)) == 404


def test_no_other_name_of_a_status_is_asked_for() -> None:
    """Aiohttp's errors without an answer have the status 0, and warn of whoever reads their ``code``."""

    class UnansweredError(Exception):
        status = 0

        @property
        def code(self) -> int:
            raise AssertionError("deprecated")

    assert status_code_of(UnansweredError()) is None


def test_an_exception_that_cannot_tell_its_status_has_none() -> None:
    """A property may raise where there was no response; what is to be known by its class still is."""

    class RateLimitError(Exception):
        @property
        def response(self) -> object:
            raise RuntimeError("there is none")

        status_code = response

    assert status_code_of(RateLimitError()) is None
    assert is_rate_limit(RateLimitError())


def broken(_: Exception) -> bool:
    raise AttributeError("status_code")


@pytest.mark.parametrize("limiter", [AdaptiveLimiter(3, is_overload=broken), Cooldown(3, is_refusal=broken)])
def test_a_function_that_cannot_tell_takes_no_slot_and_hides_no_error(
    limiter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What the call raised is what is raised; that the function failed is logged once."""

    async def call(_: int = 0) -> None:
        raise ValueError("of the call")

    async def main() -> list[Any]:
        for _ in range(5):
            with pytest.raises(ValueError, match="of the call"):
                async with limiter:
                    await call()
        return await async_map(call, range(4), limit=limiter, on_error="return")

    with virtual_clock() as runner:
        errors = runner.run(main())
    assert [type(error) for error in errors] == [ValueError] * 4
    assert len([record for record in caplog.records if "has failed on a ValueError" in record.message]) == 1
    inner = limiter if isinstance(limiter, AdaptiveLimiter) else limiter._limiter
    assert (inner.in_use, inner.waiting) == (0, 0)


@pytest.mark.parametrize("limiter", [AdaptiveLimiter(3, is_overload=broken), Cooldown(3, is_refusal=broken)])
def test_a_log_that_fails_hides_no_error_either(limiter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that cannot tell is logged, and the program's own log may raise."""
    monkeypatch.setattr(logging.getLogger("spanloom.concurrency"), "exception", broken)

    async def call(_: int = 0) -> None:
        raise ValueError("of the call")

    with virtual_clock() as runner, pytest.raises(ValueError, match="of the call"):
        runner.run(async_map(call, range(1), limit=limiter))


@pytest.mark.parametrize("limiter", [AdaptiveLimiter(), Cooldown(slow_start_items=0)])
async def test_a_block_that_another_task_ends_keeps_no_task(limiter: Any) -> None:
    """An async generator, left early and closed elsewhere: its slot comes back, and nothing holds its task."""

    async def numbers() -> AsyncIterator[int]:
        async with limiter:
            yield 1

    generator = numbers()

    async def begin() -> None:
        await anext(generator)

    task = asyncio.create_task(begin())
    await task
    gone = weakref.ref(task)
    del task
    await generator.aclose()
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
    assert getattr(limiter, "in_use", 0) == 0


def test_a_pause_of_0_stays_one_however_many_come_in_a_row() -> None:
    """The power that it is multiplied by becomes more than a float can be."""
    for first, longest in ((0.0, 0.0), (1.0, 600.0)):
        cooldown = Cooldown(pause_s=first, slow_start_items=0, clock=lambda: 0.0)
        for _ in range(1100):
            cooldown.pause()
        assert cooldown.remaining_s == longest
