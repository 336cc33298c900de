"""Rate limits: one pause for all workers, then a slow start."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from spanloom import EventType
from spanloom.processing import (
    ExponentialBackoffStrategy,
    FixedDelayStrategy,
    GuardRails,
    ProcessingEvent,
    RateLimitConfig,
    RateLimitStrategy,
    RetryConfig,
)
from spanloom.testing import capture_events
from tests.processing.work import Calls, Processor, Watcher, add, config, run


class Refusing(Calls):
    """Refuses calls that begin before a moment."""

    def __init__(self, until: float, error: Exception | None = None) -> None:
        super().__init__()
        self._until = until
        self._error = error or RuntimeError("429 too many")

    async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
        began = asyncio.get_running_loop().time()
        answer = await super().execute(prompt, attempt, timeout, state)
        if began < self._until:
            raise self._error
        return answer


class Asked(RateLimitStrategy):
    """Remembers what it was asked, and answers what it was told."""

    def __init__(self, cooldown: float | Exception, slow: int = 0) -> None:
        self.cooldown = cooldown
        self.slow = slow
        self.consecutive: list[int] = []
        self.since: list[int] = []

    async def on_rate_limit(self, worker_id: int, consecutive_limit_count: int) -> float:
        self.consecutive.append(consecutive_limit_count)
        await asyncio.sleep(1)
        if isinstance(self.cooldown, Exception):
            raise self.cooldown
        return self.cooldown

    def should_apply_slow_start(self, items_since_resume: int) -> tuple[bool, float]:
        self.since.append(items_since_resume)
        return items_since_resume < self.slow, 0.5


async def process(
    strategy: RateLimitStrategy | None, calls: Calls, items: int, workers: int, **more: Any
) -> Watcher:
    watcher = Watcher()
    given = config(workers, retry=RetryConfig(max_attempts=9, jitter=False), **more)
    async with Processor(config=given, rate_limit_strategy=strategy, observers=[watcher]) as processor:
        await add(processor, calls, *map(str, range(items)))
        result = await processor.process_all()
        assert result.succeeded == items
    return watcher


def test_fifty_refusals_at_once_make_one_pause() -> None:
    """The strategy is asked once, nobody starts a call before it has answered and the pause is over."""
    strategy = Asked(30)
    calls = Refusing(until=1)
    with capture_events() as seen:
        watcher = run(process(strategy, calls, 50, 50))
    assert strategy.consecutive == [1]
    assert sorted(calls.at) == [pytest.approx(0.1)] * 50 + [pytest.approx(32.1)] * 50
    told = [(event.name, data) for event, data in watcher.told if "COOLDOWN" in event.name]
    assert told == [
        ("COOLDOWN_STARTED", {"worker_id": 0, "duration": 30, "consecutive": 1}),
        ("COOLDOWN_ENDED", {"duration": pytest.approx(31)}),
    ]
    assert watcher.names().count("RATE_LIMIT_HIT") == 50
    assert sum(event.type == EventType.COOLDOWN for event in seen.events) == 1


def test_a_refusal_of_an_older_call_belongs_to_the_pause_that_is_over() -> None:
    """A call that began before the pause and is refused after it does not begin another one."""

    class Late(Refusing):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            if prompt == "1" and attempt == 1:
                await asyncio.sleep(40)
                raise self._error
            return await super().execute(prompt, attempt, timeout, state)

    strategy = Asked(30)
    run(process(strategy, Late(until=1), 2, 2))
    assert strategy.consecutive == [1]


def test_pauses_in_a_row_are_counted_until_a_call_succeeds() -> None:
    """And then from the beginning."""
    strategy = Asked(5)
    run(process(strategy, Refusing(until=10), 1, 1))
    assert strategy.consecutive == [1, 2]


def test_items_start_slowly_after_a_pause_and_only_then() -> None:
    """The strategy is asked for each item from 0 on, until it says no; never before the first refusal."""
    strategy = Asked(5, slow=3)
    run(process(strategy, Calls(), 4, 2))
    assert strategy.since == []
    calls = Refusing(until=0.5)
    run(process(strategy, calls, 6, 1))
    assert strategy.since == [0, 1, 2, 3]
    gaps = [round(later - earlier, 3) for earlier, later in zip(calls.at[1:], calls.at[2:], strict=False)]
    assert gaps == [1.5, 1.5, 1.5, 1, 1]


def test_a_strategy_that_raises_pauses_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The workers go on at once, and the end of the pause that was none says why."""
    calls = Refusing(until=0.5)
    watcher = run(process(Asked(RuntimeError("no idea")), calls, 2, 1))
    assert calls.at == [pytest.approx(0.1), pytest.approx(2.1), pytest.approx(3.1)]
    ended = [data for event, data in watcher.told if event is ProcessingEvent.COOLDOWN_ENDED]
    assert [one["error"] for one in ended] == ["RuntimeError: no idea"]
    assert "on_rate_limit failed" in caplog.text


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_a_pause_that_has_no_end_is_none(seconds: float) -> None:
    """A strategy that answers with it has failed: the batch would stand still for ever."""
    calls = Refusing(until=0.5)
    watcher = run(process(Asked(seconds), calls, 2, 1))
    assert calls.at == [pytest.approx(0.1), pytest.approx(2.1), pytest.approx(3.1)]
    ended = [data for event, data in watcher.told if event is ProcessingEvent.COOLDOWN_ENDED]
    assert [one["error"] for one in ended] == [
        f"ValueError: a pause has an end: it must be a finite number of seconds (got {seconds})"
    ]


def test_a_retry_after_is_a_floor() -> None:
    """The server knows better than the strategy."""

    class RefusedError(Exception):
        retry_after = 90

    calls = Refusing(until=0.5, error=RefusedError("rate limit"))
    run(process(Asked(5), calls, 1, 1))
    assert calls.at == [pytest.approx(0.1), pytest.approx(91.1)]


def test_a_later_refusal_makes_the_pause_longer_if_its_server_asks_for_that() -> None:
    """Also while the strategy has not answered yet; observers are told of one pause, and of its real end."""

    class LongerError(Exception):
        def __init__(self, seconds: float) -> None:
            super().__init__("rate limit")
            self.retry_after = seconds

    class Different(Calls):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            self.at.append(asyncio.get_running_loop().time())
            if attempt == 1:
                await asyncio.sleep({"0": 1, "1": 1.5, "2": 10}[prompt])
                raise LongerError({"0": 0, "1": 50, "2": 70}[prompt])
            return prompt, {}

    strategy, calls = Asked(30), Different()
    watcher = run(process(strategy, calls, 3, 3))
    assert strategy.consecutive == [1]
    assert calls.at[3:] == [pytest.approx(80.1)] * 3
    told = [(event.name, data["duration"]) for event, data in watcher.told if "COOLDOWN" in event.name]
    assert told == [("COOLDOWN_STARTED", 30), ("COOLDOWN_ENDED", pytest.approx(79))]


def test_a_retry_after_that_is_over_before_the_strategy_has_answered_ends_no_pause() -> None:
    """Nobody starts before its answer, and observers are told of the pause's start before its end."""

    class RefusedError(Exception):
        def __init__(self, seconds: float) -> None:
            super().__init__("rate limit")
            self.retry_after = seconds

    class Thoughtful(Asked):
        async def on_rate_limit(self, worker_id: int, consecutive_limit_count: int) -> float:
            await asyncio.sleep(9)
            return await super().on_rate_limit(worker_id, consecutive_limit_count)

    class Different(Calls):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            self.at.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1 if prompt == "0" else 2)
            if attempt == 1 and prompt in "01":
                raise RefusedError(0 if prompt == "0" else 3)
            return prompt, {}

    calls = Different()
    watcher = run(process(Thoughtful(30), calls, 4, 2))
    assert calls.at[:4] == [pytest.approx(at) for at in (0.1, 0.1, 41.1, 41.1)]
    told = [(event.name, data["duration"]) for event, data in watcher.told if "COOLDOWN" in event.name]
    assert told == [("COOLDOWN_STARTED", 30), ("COOLDOWN_ENDED", pytest.approx(40))]


def test_a_retry_after_is_a_floor_also_if_the_strategy_raises() -> None:
    """Who cannot say how long to wait does not know better than the server."""

    class RefusedError(Exception):
        retry_after = 90

    calls = Refusing(until=0.5, error=RefusedError("rate limit"))
    run(process(Asked(RuntimeError("no idea")), calls, 1, 1))
    assert calls.at == [pytest.approx(0.1), pytest.approx(91.1)]


def test_who_waits_for_the_rate_when_a_pause_begins_waits_for_its_end() -> None:
    """And gives back what it got meanwhile: the bound holds after the pause, and nothing is used up in it."""

    class Once(Calls):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            self.at.append(asyncio.get_running_loop().time())
            if len(self.at) == 1:
                await asyncio.sleep(50)
                raise RuntimeError("429")
            return prompt, {}

    calls = Once()
    run(process(FixedDelayStrategy(200, 0), calls, 4, 4, max_requests_per_minute=1))
    assert calls.at == [pytest.approx(at) for at in (0.1, 250.1, 310.1, 370.1, 430.1)]


def test_a_slow_start_that_raises_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """Items start as they would without it, and the log says why."""

    class Broken(Asked):
        def should_apply_slow_start(self, items_since_resume: int) -> tuple[bool, float]:
            raise LookupError("no idea how slowly")

    calls = Refusing(until=0.5)
    run(process(Broken(5), calls, 3, 1))
    assert calls.at == [pytest.approx(at) for at in (0.1, 7.1, 8.1, 9.1)]
    assert [record.message for record in caplog.records] == [
        "Broken.should_apply_slow_start failed: no slow start"
    ]


def test_a_pause_that_a_cancelled_item_began_holds_nobody() -> None:
    """Who asks the strategy and is cut off by its own time leaves the others free."""

    class Slow(Asked):
        async def on_rate_limit(self, worker_id: int, consecutive_limit_count: int) -> float:
            await asyncio.sleep(1000)
            return 1000.0

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: RuntimeError("429") if prompt == "0" else prompt)
        rails = GuardRails(item_timeout=20)
        async with Processor(config=config(1), rate_limit_strategy=Slow(0), guard_rails=rails) as processor:
            await add(processor, calls, "0", "1")
            results = (await processor.process_all()).results
        assert [one.success for one in results] == [False, True]
        assert asyncio.get_running_loop().time() == pytest.approx(21)

    run(scenario())


def test_the_default_strategy_is_made_from_the_configuration() -> None:
    """With its cool-down, its multiplier and its slow start."""
    limits = RateLimitConfig(cooldown_seconds=2, backoff_multiplier=3, slow_start_items=0)
    strategy = Processor(config=config(1, rate_limit=limits)).rate_limit_strategy
    assert isinstance(strategy, ExponentialBackoffStrategy)
    calls = Refusing(until=5)
    run(process(None, calls, 1, 1, rate_limit=limits))
    assert calls.at == [pytest.approx(0.1), pytest.approx(3.1), pytest.approx(10.1)]


def test_a_pause_ends_with_the_batch() -> None:
    """Cancelled in the middle of it, the observers are told of its end, and no timer is left."""
    watcher = Watcher()

    async def scenario() -> None:
        refusing = Refusing(until=1e9)
        async with Processor(
            config=config(1), rate_limit_strategy=Asked(1000), observers=[watcher]
        ) as processor:
            await add(processor, refusing, "a")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(processor.process_all(), 100)

    run(scenario())
    assert watcher.names()[-3:] == ["COOLDOWN_ENDED", "WORKER_STOPPED", "BATCH_COMPLETED"]


async def test_the_published_strategies_say_what_their_formulas_say() -> None:
    """Exponential up to its maximum, with a linear slow start; or always the same."""
    growing = ExponentialBackoffStrategy(initial_cooldown=60, max_cooldown=300)
    assert [await growing.on_rate_limit(0, count) for count in (1, 2, 3, 4, 5000)] == [60, 120, 240, 300, 300]
    assert growing.should_apply_slow_start(0) == (True, 2.0)
    assert growing.should_apply_slow_start(25) == (True, pytest.approx(1.05))
    assert growing.should_apply_slow_start(50) == (False, 0.0)
    fixed = FixedDelayStrategy(7, 0.5)
    assert (await fixed.on_rate_limit(0, 9), fixed.should_apply_slow_start(10**6)) == (7, (True, 0.5))


def test_no_pause_stays_none_however_many_refusals_come_in_a_row() -> None:
    """The power that it is multiplied by becomes more than a float can be."""
    for first, longest in ((0.0, 0.0), (1.0, 600.0)):
        assert run(ExponentialBackoffStrategy(first).on_rate_limit(0, 2000)) == longest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialBackoffStrategy(-1), r"initial_cooldown must be at least 0 seconds \(got -1\)"),
        (
            lambda: ExponentialBackoffStrategy(math.inf),
            r"initial_cooldown must be .*, and finite \(got inf\)",
        ),
        (lambda: ExponentialBackoffStrategy(max_cooldown=math.nan), r"max_cooldown must be .* \(got nan\)"),
        (
            lambda: ExponentialBackoffStrategy(backoff_multiplier=0.5),
            r"backoff_multiplier must be at least 1 ",
        ),
        (
            lambda: ExponentialBackoffStrategy(slow_start_items=-1),
            r"slow_start_items must be at least 0 \(got -1",
        ),
        (
            lambda: ExponentialBackoffStrategy(slow_start_initial_delay=-1),
            "slow_start_initial_delay must be ",
        ),
        (lambda: ExponentialBackoffStrategy(slow_start_final_delay=-1), "slow_start_final_delay must be at "),
        (lambda: FixedDelayStrategy(-1), r"cooldown must be at least 0 seconds \(got -1\)"),
        (lambda: FixedDelayStrategy(1, -2), r"delay_between_requests must be at least 0 seconds \(got -2\)"),
    ],
)
def test_a_strategy_checks_its_numbers(make: Callable[[], object], message: str) -> None:
    """Where they are given: what it would say of them later, with a server that refuses, nobody looks for then."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExponentialBackoffStrategy("60"),  # type: ignore[arg-type]  # on purpose
        lambda: ExponentialBackoffStrategy(slow_start_items=2.5),  # type: ignore[arg-type]  # the same
        lambda: FixedDelayStrategy(1, None),  # type: ignore[arg-type]  # the same
    ],
)
def test_a_strategy_wants_numbers(make: Callable[[], object]) -> None:
    """The message has what was given, and its type."""
    with pytest.raises(TypeError, match=r"must be a (whole )?number .*at least 0.* \(got .*, \w+\)"):
        make()


def test_a_first_pause_may_be_longer_than_the_longest_by_default() -> None:
    """The configuration says how long it is, and it says nothing of a bound."""
    limits = RateLimitConfig(cooldown_seconds=1000)
    strategy = Processor(config=config(1, rate_limit=limits)).rate_limit_strategy
    assert run(strategy.on_rate_limit(0, 1)) == 1000
