"""Everything at once: whatever happens to items, each has one end, and the accounts add up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from spanloom.processing import (
    BaseMiddleware,
    BaseObserver,
    FixedDelayStrategy,
    GuardRails,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessingEvent,
    RetryConfig,
    RetryState,
    WorkItemResult,
)
from spanloom.testing import capture_events
from tests.concurrency.loops import LOOPS, run_on
from tests.processing.work import Calls, Processor, Watcher, add, config, run

ERRORS = (ConnectionError("down"), ValueError("no"), RuntimeError("429"), TimeoutError("late"), KeyError("k"))


class Moody(LLMCallStrategy[Any]):
    """Does something else each time."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    async def prepare(self) -> None:
        await asyncio.sleep(self._dice.random())
        if self._dice.random() < 0.2:
            raise OSError("not ready")

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
    ) -> Any:
        await asyncio.sleep(self._dice.choice((0, 0.1, 1, 5, 60)))
        if self._dice.random() < 0.5:
            raise self._dice.choice(ERRORS)
        return prompt, {"total_tokens": 3}


class Layer(BaseMiddleware[str, Any, Any]):
    """Skips some, saves some, fails at some."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    async def before_process(self, work_item: LLMWorkItem[str, Any, Any]) -> Any:
        await asyncio.sleep(self._dice.random())
        if self._dice.random() < 0.1:
            raise RuntimeError
        return None if self._dice.random() < 0.1 else work_item

    async def on_error(self, work_item: LLMWorkItem[str, Any, Any], error: Exception) -> Any:
        await asyncio.sleep(self._dice.random())
        return WorkItemResult(work_item.item_id, True, "saved") if self._dice.random() < 0.2 else None


class Strange(BaseObserver):
    """Is slow, raises, cancels itself."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        await asyncio.sleep(self._dice.choice((0, 0, 0.01, 1)))
        if self._dice.random() < 0.1:
            raise self._dice.choice((RuntimeError(), asyncio.CancelledError()))


@pytest.mark.parametrize("seed", range(40))
def test_every_item_has_one_end_whatever_happens(seed: int) -> None:
    """Failures, skips, rate limits, timeouts, bounds that are reached, a cancel or a shutdown: all accounted for."""
    dice = random.Random(seed)
    watcher = Watcher()
    items = [str(number) for number in range(dice.choice((1, 7, 40)))]
    rails = GuardRails(
        item_timeout=dice.choice((None, 30)),
        batch_timeout=dice.choice((None, 50)),
        max_errors=dice.choice((None, {"logic_error": 3})),
        max_cost=dice.choice((None, 20)),
        cost=lambda result: 1.0,
    )
    given = config(
        dice.choice((1, 3, 20)),
        timeout_per_item=20,
        max_queue_size=dice.choice((0, 5)),
        retry=RetryConfig(max_attempts=3, initial_wait=0.5),
    )
    ending = dice.choice(("none", "cancel", "shutdown"))

    async def scenario() -> None:
        strategies = [Moody(dice) for _ in range(3)]
        processor = Processor(
            config=given,
            guard_rails=rails,
            ordered=dice.random() < 0.5,
            middlewares=[Layer(dice), Layer(dice)],
            observers=[Strange(dice), watcher],
            rate_limit_strategy=FixedDelayStrategy(3, 0.1),
        )
        async with processor:
            for item in items:
                await processor.add_work(LLMWorkItem(item, dice.choice(strategies), item))
            task = asyncio.create_task(processor.process_all())
            if ending != "none":
                await asyncio.sleep(dice.choice((0, 0.05, 2, 10)))
                await (processor.shutdown() if ending == "shutdown" else asyncio.sleep(0))
                if ending == "cancel":
                    task.cancel()
            done = await asyncio.gather(task, return_exceptions=True)
            stats = await processor.get_stats()
        if isinstance(done[0], BaseException):
            assert ending == "cancel"
            assert isinstance(done[0], asyncio.CancelledError)
        else:
            assert Counter(one.item_id for one in done[0].results) == Counter(items)
            assert (stats["succeeded"], stats["failed"]) == (done[0].succeeded, done[0].failed)
        if watcher.told:  # a batch that was cancelled before its first step never began
            assert stats["processed"] == stats["total"] == len(items)
            assert watcher.ends() == dict.fromkeys(items, 1)
            assert Counter(watcher.names())["ITEM_FAILED"] == stats["failed"]

    with capture_events() as seen:
        run(scenario())
    assert seen.open == []
    names = Counter(watcher.names())
    assert names["COOLDOWN_STARTED"] == names["COOLDOWN_ENDED"]
    assert names["BATCH_STARTED"] == names["BATCH_COMPLETED"]
    assert names["WORKER_STARTED"] == names["WORKER_STOPPED"]


@pytest.mark.parametrize("loop", LOOPS)
def test_every_kind_of_loop_runs_a_batch(loop: str) -> None:
    """Also one that runs the first step of a task where it is made: of an item, of an observer."""
    watcher, reports = Watcher(), []

    async def callback(completed: int, total: int, item_id: str) -> None:
        reports.append((completed, total))

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: ValueError() if prompt == "3" else prompt, seconds=0)
        async with Processor(config=config(4), observers=[watcher], progress_callback=callback) as processor:
            await add(processor, calls, *map(str, range(25)))
            result = await processor.process_all()
        assert (result.succeeded, result.failed) == (24, 1)

    run_on(loop, scenario())
    assert watcher.ends() == {str(number): 1 for number in range(25)}
    assert watcher.names()[0] == "BATCH_STARTED"
    assert watcher.names()[-1] == "BATCH_COMPLETED"
    assert reports == [(10, 25), (20, 25), (25, 25)]
