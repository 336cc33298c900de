"""Observers: told everything, felt by nobody."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from contextvars import ContextVar
from typing import Any

import pytest

from spanloom.processing import BaseObserver, MetricsObserver, ProcessingEvent
from tests.processing.work import Calls, Processor, Watcher, add, config, run


async def process(*observers: BaseObserver, items: str = "abc", answer: Any = None) -> float:
    """Process items under observers; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    async with Processor(config=config(2), observers=observers) as processor:
        await add(processor, Calls(answer), *items)
        result = await asyncio.wait_for(processor.process_all(), 10_000)
        assert result.total_items == len(items)
    return loop.time()


def test_observers_see_one_and_the_same_sequence() -> None:
    """Each gets a copy of the data: what one does to its own is not seen by another."""

    class Spoiling(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, dict(data))
            data.clear()

    one, other = Spoiling(), Watcher()
    run(process(one, other))
    assert one.told == other.told
    assert other.names()[:3] == ["BATCH_STARTED", "WORKER_STARTED", "WORKER_STARTED"]
    assert other.names()[-3:] == ["WORKER_STOPPED", "WORKER_STOPPED", "BATCH_COMPLETED"]
    data = other.told[-1][1]
    assert (data["processed"], data["succeeded"], data["failed"], data["total_tokens"]) == (3, 3, 0, 45)
    started = [data for event, data in other.told if event is ProcessingEvent.ITEM_STARTED]
    assert {one["worker_id"] for one in started} == {0, 1}


@pytest.mark.parametrize("error", [RuntimeError("broken"), asyncio.CancelledError(), TimeoutError("mine")])
def test_an_observer_that_raises_is_logged_once_and_goes_on(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, the batch ends as it would have, and the others are told all the same."""

    class Raising(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            raise error

    raising, watcher = Raising(), Watcher()
    with caplog.at_level(logging.WARNING, "spanloom"):
        assert run(process(raising, watcher)) == pytest.approx(2.1)
    assert raising.told == watcher.told
    assert caplog.text.count("observer Raising failed; the batch goes on") == 1
    assert f"observer Raising: {len(raising.told)} calls failed, 0 were not made" in caplog.text


def test_an_observer_that_cancels_its_own_task_is_told_of_the_next_event() -> None:
    """The task is the observer's own, but not the observer's to end."""

    class Suicidal(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if len(self.told) % 2:
                await asyncio.sleep(1)

    one, other = Suicidal(), Watcher()
    run(process(one, other))
    assert one.told == other.told


def test_an_exception_is_logged_also_after_a_call_that_took_too_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With its traceback: what is wrong with an observer is not that it was slow once."""

    class Failing(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            if len(self.told) == 1:
                await asyncio.sleep(1_000)
            raise RuntimeError("broken")

    with caplog.at_level(logging.WARNING, "spanloom"):
        run(process(Failing()))
    assert caplog.text.count("observer Failing took longer than") == 1
    assert caplog.text.count("observer Failing failed; the batch goes on") == 1
    assert "RuntimeError: broken" in caplog.text


def test_an_observer_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Three times five seconds, and the batch has not waited for it meanwhile."""
    ended: list[float] = []

    class Hanging(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            await asyncio.sleep(10_000)

    class Ending(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            if event is ProcessingEvent.BATCH_COMPLETED:
                ended.append(asyncio.get_running_loop().time())

    hanging = Hanging()
    assert run(process(hanging, Ending())) == pytest.approx(15)
    assert ended == [pytest.approx(2.1)]
    assert len(hanging.told) == 3
    assert "observer Hanging is called no more" in caplog.text


def test_what_is_told_after_an_observer_was_given_up_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost silently: the log says how many calls were not made."""

    class Hanging(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            await asyncio.sleep(10_000)

    hanging, watcher = Hanging(), Watcher()

    async def scenario() -> None:
        async with Processor(config=config(1), observers=[hanging, watcher]) as processor:
            await add(processor, Calls(seconds=10), *"abcd")
            await processor.process_all()

    run(scenario())
    assert len(hanging.told) == 3
    assert f"3 calls failed, {len(watcher.told) - 3} were not made" in caplog.text


def test_an_observer_that_cannot_even_be_cancelled_is_left_to_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has its time, and the second in which to heed the cancel; then the batch ends without it."""
    stubborn: list[asyncio.Task[Any] | None] = []

    class Stubborn(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            stubborn.append(asyncio.current_task())
            for _ in range(5):
                try:
                    await asyncio.sleep(10_000)
                except asyncio.CancelledError:
                    continue

    async def scenario() -> float:
        seconds = await process(Stubborn())
        task = stubborn[0]
        assert task is not None
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        return seconds

    assert run(scenario()) < 20
    assert "cannot be cancelled" in caplog.text


def test_a_slow_observer_holds_nobody_back_until_it_is_far_behind() -> None:
    """Then the items wait for it, so that what it has still to be told is bounded; it is told everything."""

    class Slow(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            await asyncio.sleep(1)

    class Lag(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            lags.append(len(self.told) - len(slow.told))

    lags: list[int] = []
    slow = Slow()
    lag = Lag()

    async def scenario() -> None:
        async with Processor(config=config(10), observers=[slow, lag]) as processor:
            await add(processor, Calls(seconds=0), *map(str, range(1000)))
            await processor.process_all()

    run(scenario())
    assert slow.told == lag.told
    assert 1000 <= max(lags) <= 1000 + 50


def test_observers_run_in_the_context_of_who_started_the_batch() -> None:
    """What an item sets in its context is no observer's business."""
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: set[str] = set()

    class Looking(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            seen.add(user.get())

    def answer(prompt: str, attempt: int) -> str:
        user.set(prompt)
        return prompt

    async def scenario() -> None:
        user.set("caller")
        await process(Looking(), answer=answer)

    run(scenario())
    assert seen == {"caller"}


def test_an_item_that_ran_out_of_attempts_has_an_end() -> None:
    """As has one that was not worth another attempt; each exactly one, and one start."""
    watcher = Watcher()
    answers = {"a": "fine", "b": ConnectionError(), "c": ValueError()}
    run(process(watcher, answer=lambda prompt, attempt: answers[prompt]))
    assert watcher.ends() == {"a": 1, "b": 1, "c": 1}
    assert watcher.failures() == {"b": "ConnectionError", "c": "ValueError"}
    assert watcher.names().count("ITEM_STARTED") == 3


def test_metrics_are_counted_and_exported() -> None:
    """As a dict, as JSON without the single times, and for Prometheus."""

    async def scenario() -> None:
        metrics = MetricsObserver(max_processing_samples=2)
        answers = {"d": ValueError('say "no"')}
        await process(metrics, items="abcd", answer=lambda prompt, attempt: answers.get(prompt, prompt))
        found = await metrics.get_metrics()
        assert found == await metrics.export_dict()
        assert (found["items_processed"], found["items_succeeded"], found["items_failed"]) == (4, 3, 1)
        assert (found["success_rate"], found["error_counts"]) == (0.75, {"ValueError": 1})
        assert (len(found["processing_times"]), found["processing_times_count"]) == (2, 3)
        exported = json.loads(await metrics.export_json())
        assert "processing_times" not in exported
        assert exported["avg_processing_time"] == found["avg_processing_time"]
        await metrics.on_event(ProcessingEvent.RATE_LIMIT_HIT, {})
        await metrics.on_event(ProcessingEvent.COOLDOWN_ENDED, {"duration": 12.5})
        await metrics.on_event(ProcessingEvent.ITEM_FAILED, {"error_type": 'a"\n\\'})
        text = await metrics.export_prometheus()
        for line in (
            "# TYPE async_batch_llm_items_processed counter",
            "async_batch_llm_items_processed 5",
            "async_batch_llm_rate_limits_hit 1",
            "async_batch_llm_total_cooldown_time 12.5",
            'async_batch_llm_errors_total{error_type="ValueError"} 1',
            'async_batch_llm_errors_total{error_type="a\\"\\n\\\\"} 1',
        ):
            assert line in text.splitlines()
        metrics.reset()
        empty = await metrics.get_metrics()
        assert (empty["items_processed"], empty["success_rate"], empty["avg_processing_time"]) == (0, 0, 0)

    run(scenario())
    with pytest.raises(ValueError, match="max_processing_samples must be positive"):
        MetricsObserver(max_processing_samples=0)


def test_a_clock_that_is_set_back_makes_no_negative_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is told by the clock on the wall, how long a batch took is not."""
    hours = itertools.count(1_700_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    watcher = Watcher()
    run(process(watcher))
    (began,) = [data for event, data in watcher.told if event is ProcessingEvent.BATCH_STARTED]
    (ended,) = [data for event, data in watcher.told if event is ProcessingEvent.BATCH_COMPLETED]
    assert began["start_time"] <= 1_700_000_000
    assert 0 <= ended["duration"] < 1000
