"""Evaluation loops and concurrency strategies as dotevals' users know them."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tenacity

from spanloom import Checkpoint
from spanloom.compat.dotevals import (
    Adaptive,
    AsyncConcurrencyStrategy,
    AsyncSequential,
    Batch,
    Concurrency,
    Evaluation,
    ForEach,
    Sequential,
    SlidingWindow,
    SyncConcurrencyStrategy,
    ThroughputTracker,
    adaptive,
    fixed,
    foreach,
    sequential,
)
from spanloom.testing import capture_events
from tests.compat.running import Jobs, run

Task = Callable[[], Awaitable[Any]]

asynchronous = pytest.mark.parametrize("make", [Adaptive, SlidingWindow, AsyncSequential])
blocking = pytest.mark.parametrize("make", [Sequential, Batch, lambda: Batch(2)])


def sleeping(jobs: Jobs, *seconds: float) -> Iterator[Task]:
    for each in seconds:
        yield lambda each=each: jobs.sleep(each)  # type: ignore[misc]  # a default binds it


async def all_of(results: AsyncIterator[Any]) -> list[Any]:
    return [result async for result in results]


# strategies with execute ----------------------------------------------------------------------------------


@asynchronous
def test_results_come_as_tasks_end(make: Any) -> None:
    """Each result is yielded once, and given to the callback before."""
    jobs, told = Jobs(), []
    found = run(all_of(make().execute(sleeping(jobs, 3, 1, 2), told.append)))
    assert found == told == jobs.ended
    assert sorted(found) == [1, 2, 3]


def test_how_many_run_at_once() -> None:
    """One, a fixed number, or the adaptive number; and never more."""
    for strategy, most in (
        (AsyncSequential(), 1),
        (SlidingWindow(4), 4),
        (SlidingWindow(), 10),
        (Adaptive(), 5),
    ):
        jobs = Jobs()
        run(all_of(strategy.execute(sleeping(jobs, *[1] * 20))))
        assert jobs.most == most


@asynchronous
def test_a_failed_task_is_raised_and_the_others_end(make: Any) -> None:
    """The very error, after what came before it; no task goes on."""
    jobs, boom = Jobs(), ValueError("boom")
    found: list[Any] = []

    def tasks() -> Iterator[Task]:
        yield lambda: jobs.sleep(1)
        yield lambda: jobs.sleep(2, error=boom)
        yield lambda: jobs.sleep(50)

    async def main() -> None:
        with pytest.raises(ValueError) as caught:
            await all_of(make().execute(tasks(), found.append))
        assert caught.value is boom
        assert jobs.alive == 0

    run(main())
    assert found == [1]


@asynchronous
def test_a_loop_that_is_left_leaves_no_task(make: Any) -> None:
    """After a ``break``, what runs is cancelled within the next turns of the loop."""
    jobs = Jobs()

    async def main() -> None:
        async for _ in make().execute(sleeping(jobs, 1, 50, 60)):
            break
        for _ in range(10):
            await asyncio.sleep(0)
        assert jobs.alive == 0

    run(main())


@asynchronous
def test_cancelling_the_consumer_cancels_the_tasks(make: Any) -> None:
    """They have ended when the cancel is raised."""
    jobs = Jobs()

    async def main() -> None:
        task = asyncio.create_task(all_of(make().execute(sleeping(jobs, 50, 60))))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert jobs.alive == 0

    run(main())


def test_only_the_adaptive_strategy_drops_none() -> None:
    """``None`` is a result of the others."""

    async def nothing() -> None:
        await asyncio.sleep(0)

    assert run(all_of(Adaptive().execute([nothing, nothing]))) == []
    assert run(all_of(SlidingWindow().execute([nothing]))) == [None]
    assert run(all_of(AsyncSequential().execute([nothing]))) == [None]


def test_execute_is_a_batch_to_handlers() -> None:
    """The tasks are jobs of one batch."""

    async def main() -> str:
        with capture_events() as captured:
            await all_of(SlidingWindow().execute(sleeping(Jobs(), 1)))
        return captured.tree()

    assert [line.split()[0] for line in run(main()).splitlines()] == ["batch", "job"]


@blocking
def test_blocking_strategies_are_lazy_and_in_order(make: Any) -> None:
    """A function is called when its result is asked for; an error is raised there."""
    calls: list[int] = []
    told: list[int] = []

    def task(number: int) -> Callable[[], int]:
        def call() -> int:
            calls.append(number)
            return 10 // number

        return call

    results = make().execute([task(5), task(2), task(0), task(1)], told.append)
    assert calls == []
    assert next(results) == 2
    assert (calls, told) == ([5], [2])
    assert next(results) == 5
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert calls == [5, 2, 0]


def test_numbers_below_one_are_refused() -> None:
    """A window or a batch of nothing would hang or give nothing."""
    for make in (SlidingWindow, Batch, lambda n: ForEach(max_concurrency=n)):
        with pytest.raises(ValueError, match="at least 1"):
            make(0)
    with pytest.raises(ValueError, match="min_concurrency must be"):
        Adaptive(min_concurrency=0)


# adaptive -------------------------------------------------------------------------------------------------


def test_the_defaults_of_adaptive() -> None:
    """The nine parameters have the documented defaults."""
    defaults = [each.default for each in inspect.signature(Adaptive).parameters.values()]
    assert defaults == [5, 1, 100, 2.0, 20, 0.98, 0.90, 3, 0.7]
    assert Adaptive().current_concurrency == 5


def test_adaptive_counts() -> None:
    """`get_stats` has starts, ends, throughput, errors and the changes."""
    strategy = Adaptive(adaptation_interval=0.5)
    run(all_of(strategy.execute(sleeping(Jobs(), *[0.1] * 400))))
    stats = strategy.get_stats()
    assert stats["total_tasks"] == stats["total_completed"] == 400
    assert stats["throughput"] > 0
    assert stats["recent_errors"] == 0
    assert stats["current_concurrency"] == strategy.current_concurrency > 5
    assert isinstance(stats["adaptation_history"], list)
    assert stats["adaptation_history"][-1][1] == strategy.current_concurrency
    assert len(stats["adaptation_history"]) <= 10


def test_adaptive_counts_errors_and_backs_off() -> None:
    """A task that raises is a recent error; failures lower the number, and the next change begins a new count."""
    strategy = Adaptive(initial_concurrency=20, adaptation_interval=1)

    async def fail() -> None:
        await asyncio.sleep(0.4)
        raise ConnectionError

    async def main() -> None:
        with pytest.raises(ConnectionError):
            await all_of(strategy.execute([fail]))
        assert strategy.get_stats()["recent_errors"] == 1
        for _ in range(5):
            with pytest.raises(ConnectionError):
                await all_of(strategy.execute([fail]))

    run(main())
    assert strategy.current_concurrency < 20
    assert 0 < strategy.recent_errors < 6


def test_rows_that_fail_lower_an_adaptive_number() -> None:
    """Errors of rows count, though they are only in their records."""
    strategy = Adaptive(initial_concurrency=20, adaptation_interval=1)

    @ForEach(concurrency=strategy, retries=tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(1)))(
        "number", range(100)
    )
    async def fail(number: int) -> None:
        await asyncio.sleep(0.5)
        raise ValueError(number)

    assert all(record.error for record in run(fail()).results)
    assert strategy.current_concurrency < 20


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.0]])
def test_a_throughput_needs_two_moments(times: list[float]) -> None:
    """Fewer than two ends, or no time between them, have none."""
    tracker = ThroughputTracker()
    for each in times:
        tracker.record_completion(each)
    assert tracker.get_throughput() is None
    assert tracker.get_recent_throughput() is None


def test_throughput_over_the_window_and_of_late() -> None:
    """The window forgets; the recent throughput looks at the last few."""
    tracker = ThroughputTracker(window_size=4)
    for each in (0.0, 10.0, 11.0, 12.0, 16.0):
        tracker.record_completion(each)
    assert tracker.total_completed == 5
    assert tracker.get_throughput() == 0.5
    assert tracker.get_recent_throughput(2) == 0.25
    assert tracker.get_recent_throughput() == 0.5


# foreach --------------------------------------------------------------------------------------------------


def test_a_plain_function_gives_results_at_once() -> None:
    """Row by row, in order, errors as text in their records."""

    @foreach("question,answer", (row for row in [("a", 1), ("b", 0, "more")]))
    def divide(question: str, answer: int, model: Any) -> Any:
        return model(10, answer)

    found = divide(model=lambda a, b: a // b)
    assert [(record.item_id, record.value) for record in found.results] == [(0, 10), (1, None)]
    assert found.results[0].error is None
    assert "ZeroDivisionError: " in found.results[1].error
    assert isinstance(found.results[1].exception, ZeroDivisionError)
    assert found.results[1].dataset_row == {"question": "b", "answer": 0}
    assert found.summary == {"value": {"mean": 10.0, "count": 1}}
    assert str(found) == "2 rows, 1 failed, value mean 10.0, value count 1"


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"concurrency": SlidingWindow(3)}, 3),
        ({"concurrency": AsyncSequential()}, 1),
        ({"concurrency": Sequential()}, 1),
        ({"concurrency": Adaptive(initial_concurrency=2)}, 2),
        ({"max_concurrency": 4}, 4),
        ({}, 5),
    ],
)
def test_a_coroutine_function_gives_an_awaitable(options: dict[str, Any], most: int) -> None:
    """Rows run at the same time, as many as the strategy has."""
    jobs = Jobs()

    @ForEach(**options)("seconds", [(1,)] * 8)
    async def sleep(seconds: int) -> Any:
        return await jobs.sleep(seconds)

    found = run(sleep())
    assert [record.item_id for record in found.results] == list(range(8))
    assert jobs.most == most


def test_a_window_and_a_storage_go_together(tmp_path: Path) -> None:
    """`max_concurrency` and `storage` may both be given; a second run does the rest."""
    for storage in (
        Checkpoint(tmp_path / "a.db"),
        tmp_path / "b.db",
        str(tmp_path / "c.db"),
        f"json://{tmp_path}/d",
    ):
        calls: list[int] = []

        @ForEach(max_concurrency=2, storage=storage)("number", [(1,), (2,)])
        async def keep(number: int, calls: Any = calls) -> int:
            calls.append(number)
            return number

        for _ in range(2):
            assert [record.value for record in run(keep()).results] == [1, 2]
        assert calls == [1, 2]
    assert (tmp_path / "d" / "evaluations.db").exists()


def test_samples_are_the_first_rows() -> None:
    """``samples=`` at the call runs no more."""

    @foreach("number", range(10))
    def keep(number: int) -> int:
        return number

    assert [record.value for record in keep(samples=3).results] == [0, 1, 2]


def test_samples_are_no_negative_number() -> None:
    """The message says what there may be, for any dataset."""

    async def rows() -> AsyncIterator[int]:
        yield 1

    for dataset in ([1], rows()):

        @foreach("number", dataset)
        async def keep(number: int) -> int:
            return number

        with pytest.raises(ValueError, match=r"samples must be at least 0, or None for all \(got -1\)"):
            run(keep(samples=-1))


@pytest.mark.parametrize(("samples", "kept"), [(0, []), (2, [0, 1]), (9, [0, 1, 2])])
def test_samples_of_an_async_dataset_are_its_first_rows(samples: int, kept: list[int]) -> None:
    """No more of it is pulled."""
    pulled: list[int] = []

    async def rows() -> AsyncIterator[int]:
        for number in range(3):
            pulled.append(number)
            yield number

    @foreach("number", rows())
    async def keep(number: int) -> int:
        return number

    assert [record.value for record in run(keep(samples=samples)).results] == kept
    assert pulled == kept


def test_an_error_that_cannot_say_what_it_is_spoils_no_other_row() -> None:
    """Its type still can; a long text stays whole."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise LookupError

    @foreach("number", range(3))
    def fail(number: int) -> int:
        if number == 0:
            raise MuteError
        if number == 1:
            raise OSError("x" * 999)
        return number

    mute, long, sound = fail().results
    assert mute.error == "MuteError: (its text cannot be made)"
    assert long.error == "OSError: " + "x" * 999
    assert sound.value == 2


def test_metrics_of_scores_are_computed() -> None:
    """What a score's own metrics say of all rows; a failed row counts as False."""

    def accuracy(values: list[Any]) -> float:
        return sum(values) / len(values)

    @foreach("number", range(4))
    def grade(number: int) -> Any:
        if number == 3:
            raise ValueError
        score = SimpleNamespace(name="even", value=number % 2 == 0, metrics=[accuracy])
        return SimpleNamespace(scores=[score], error="said so" if number == 2 else None)

    found = grade()
    assert found.summary == {"even": {"accuracy": 0.25}}
    assert found.compute_summary() == found.summary
    del found.results[3]
    assert found.compute_summary() == {"even": {"accuracy": 1 / 3}}
    found = grade()
    assert [record.error for record in found.results] == [None, None, "said so", "ValueError: "]
    assert [len(record.scores) for record in found.results] == [1, 1, 1, 0]
    assert [(record.prompt, record.model_response) for record in found.results][2:] == [
        (None, None),
        ("", None),
    ]


class Manager:
    """A session manager of theirs, with its storage in memory."""

    current_experiment, current_evaluation = "experiment", "evaluation"

    def __init__(self) -> None:
        self.records: dict[int, Any] = {}
        self.said: list[Any] = []
        self.storage = self

    def start_evaluation(self) -> None:
        self.said.append("start")

    def finish_evaluation(self, success: bool) -> None:
        self.said.append(success)

    def completed_items(self, experiment: str, evaluation: str) -> list[int]:
        return [number for number, record in self.records.items() if record.error is None]

    def remove_error_results_batch(self, experiment: str, evaluation: str, ids: list[int]) -> None:
        for number in ids:
            del self.records[number]

    def get_results(self) -> list[Any]:
        return list(self.records.values())

    def add_results(self, records: list[Any]) -> None:
        for record in records:
            assert record.item_id not in self.records
            assert (record.error is None) == bool(record.result.scores)
            self.records[record.item_id] = record


def test_a_session_manager_is_the_storage() -> None:
    """It says which rows are done, and is given each that ends; what had failed runs again."""
    manager, calls = Manager(), []

    @foreach("number", [5, 0, 2])
    def divide(number: int) -> float:
        calls.append(number)
        return 10 / (number or (0 if calls.count(0) == 1 else 1))

    first = asyncio.run(divide(manager, samples=2))
    assert [(record.item_id, record.value) for record in first.results] == [(0, 2.0), (1, None)]
    second = asyncio.run(divide(session_manager=manager, samples=None, progress_manager=None))
    assert sorted((record.item_id, record.value) for record in second.results) == [
        (0, 2.0),
        (1, 10.0),
        (2, 5.0),
    ]
    assert calls == [5, 0, 0, 2]
    assert manager.said == ["start", True, "start", True]


def test_a_session_manager_is_the_storage_of_an_async_dataset_as_well() -> None:
    """What is done is left out of what is pulled, and no more of it is pulled than is to run."""
    manager, calls = Manager(), []
    pulled: list[int] = []

    class Rows:
        async def __aiter__(self) -> AsyncIterator[int]:
            for number in (5, 0, 2, 4):
                pulled.append(number)
                yield number

    @foreach("number", Rows())
    async def divide(number: int) -> float:
        calls.append(number)
        return 10 / (number or (0 if calls.count(0) == 1 else 1))

    first = run(divide(manager, samples=2))
    assert [(record.item_id, record.value) for record in first.results] == [(0, 2.0), (1, None)]
    assert pulled == [5, 0]
    second = run(divide(manager, samples=2))
    assert [(record.item_id, record.value) for record in second.results] == [(0, 2.0), (1, 10.0), (2, 5.0)]
    assert pulled == [5, 0, 5, 0, 2]
    third = run(divide(manager))
    assert [record.item_id for record in third.results] == [0, 1, 2, 3]
    assert calls == [5, 0, 0, 2, 4]


def test_a_session_that_is_broken_off_is_said_to_have_failed() -> None:
    """The dataset raises; what was done before stays."""
    manager = Manager()

    def rows() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    @foreach("number", rows())
    def keep(number: int) -> int:
        return number

    with pytest.raises(OSError, match="gone"):
        asyncio.run(keep(manager))
    assert manager.said == ["start", False]
    assert list(manager.records) == [0]


def test_an_unknown_strategy_is_refused() -> None:
    """The message says what there is."""
    with pytest.raises(TypeError, match=r"Adaptive\(\), SlidingWindow\(\)"):
        ForEach(concurrency=object())


# Concurrency ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: fixed(1), lambda: adaptive(1, 1, 1), sequential])
def test_slots_go_to_who_waits_longest(make: Any) -> None:
    """First in, first out; a reset frees what is held."""
    strategy, order = make(), []

    async def hold(number: int) -> None:
        await strategy.acquire()
        order.append(number)
        await asyncio.sleep(1)
        await strategy.release()

    async def main() -> None:
        await asyncio.gather(*map(hold, range(4)))
        await strategy.acquire()
        waiting = asyncio.create_task(hold(9))
        await asyncio.sleep(1)
        assert order == [0, 1, 2, 3]
        strategy.reset()
        await waiting
        await strategy.release()  # what the reset has freed meanwhile

    run(main())
    assert order == [0, 1, 2, 3, 9]


@pytest.mark.parametrize("make", [lambda: fixed(1), lambda: adaptive(1, 1, 1)])
def test_who_comes_back_after_a_reset_gives_nobody_elses_slot_away(make: Any) -> None:
    """What it held is free already; somebody else may hold it by then."""
    strategy = make()
    running = most = 0

    async def hold(seconds: float) -> None:
        nonlocal running, most
        await strategy.acquire()
        running += 1
        most = max(most, running)
        await asyncio.sleep(seconds)
        running -= 1
        await strategy.release()

    async def main() -> None:
        nonlocal running
        old = asyncio.create_task(hold(2))
        await asyncio.sleep(1)
        strategy.reset()
        running = 0  # of those that count
        new = [asyncio.create_task(hold(5)) for _ in range(3)]
        await old
        running += 1  # it was taken off
        await asyncio.wait(new)
        await strategy.acquire()  # the one slot is there again
        await asyncio.create_task(strategy.release())  # by another task than the one that has it
        await asyncio.wait_for(strategy.acquire(), 1)

    run(main())
    assert most == 1


def test_what_was_given_can_be_asked_for() -> None:
    """And the kinds of strategies have the names that its documents annotate with."""
    strategy = adaptive(
        increase_threshold=0.9, decrease_threshold=0.8, adaptation_interval=3, error_backoff=0.5
    )
    assert (strategy.increase_threshold, strategy.decrease_threshold) == (0.9, 0.8)
    assert (strategy.adaptation_interval, strategy.error_backoff) == (3, 0.5)
    assert isinstance(Adaptive(), AsyncConcurrencyStrategy)
    assert isinstance(Sequential(), SyncConcurrencyStrategy)
    assert not isinstance(SlidingWindow(), SyncConcurrencyStrategy)


def test_the_number_at_the_start_is_within_the_bounds() -> None:
    """So that one of the bounds may be given by itself, whatever the default is."""
    assert [adaptive(max=3).current, adaptive(min=8).current, adaptive(initial=200).current] == [3, 8, 100]
    starts = [Adaptive(max_concurrency=3), Adaptive(min_concurrency=8), Adaptive(initial_concurrency=200)]
    assert [strategy.current_concurrency for strategy in starts] == [3, 8, 100]
    for kind, names in ((adaptive, ("min", "max")), (Adaptive, ("min_concurrency", "max_concurrency"))):
        make: Any = kind
        for values in ((3, 2), (0, 5)):
            with pytest.raises(ValueError):
                make(**dict(zip(names, values, strict=True)))


def test_a_fixed_strategy_may_have_no_slot() -> None:
    """``fixed(0)`` lets nobody through; a negative number is refused."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await fixed(0).acquire()

    run(main())
    assert fixed(0).size == 0
    with pytest.raises(ValueError, match="at least 0"):
        fixed(-1)


def test_the_numbers_of_an_adaptive_strategy() -> None:
    """What is held, what ended well, what failed; a reset forgets."""
    strategy = adaptive(initial=3, min=2, max=4)
    assert (strategy.current, strategy.min_concurrency, strategy.max_concurrency) == (3, 2, 4)

    async def main() -> None:
        await strategy.acquire()
        await strategy.acquire()
        assert strategy.active_count == 2
        await strategy.release()
        await strategy.release(ValueError("x"))
        assert strategy.active_count == 0

    run(main())
    assert len(strategy.completion_times) == 1
    assert strategy.error_count == 1
    strategy.reset()
    assert (strategy.completion_times, strategy.error_count) == ([], 0)


def sizes(strategy: adaptive, before: int) -> list[int]:
    """Return how many slots there are in each second, of calls on a server that takes all, after a reset of others."""

    async def call() -> None:
        while True:
            await strategy.acquire()
            await asyncio.sleep(0.3)
            await strategy.release()

    async def main() -> list[int]:
        for _ in range(before):
            await strategy.acquire()
        await asyncio.sleep(5)
        strategy.reset()
        calls = [asyncio.create_task(call()) for _ in range(100)]
        found = []
        for _ in range(30):
            await asyncio.sleep(1)
            found.append(strategy.current)
        for each in calls:
            each.cancel()
        await asyncio.wait(calls)
        return found

    return run(main())


def test_a_reset_forgets_the_calls_that_run() -> None:
    """Nobody will tell of their ends: what follows is as if there had been none."""
    fresh = sizes(adaptive(initial=8, adaptation_interval=0.5), 0)
    assert fresh[-1] == 100
    assert sizes(adaptive(initial=8, adaptation_interval=0.5), 7) == fresh


def test_an_adaptive_strategy_backs_off_on_errors() -> None:
    """Failures lower the number of slots, never below the least, and each change begins a new count."""
    strategy = adaptive(initial=20, min=3, adaptation_interval=0.5)

    async def main() -> None:
        for _ in range(50):
            await strategy.acquire()
            await asyncio.sleep(0.3)
            await strategy.release(ConnectionError())

    run(main())
    assert strategy.current == 3
    assert strategy.error_count < 50


def test_an_adaptive_strategy_learns_from_slots_that_another_task_gives_back() -> None:
    """Calls that are started in one task and ended in others are measured all the same."""
    strategy = adaptive(initial=20, min=3, adaptation_interval=0.5)

    async def fail() -> None:
        await asyncio.sleep(0.3)
        await strategy.release(ConnectionError())

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                await strategy.acquire()
                group.create_task(fail())
        assert strategy.active_count == 0

    run(main())
    assert strategy.current < 20


def test_a_release_too_many_of_an_adaptive_strategy_takes_nobodys_slot() -> None:
    """Also in the moment in which a slot is on its way to who waits for it."""

    async def main() -> None:
        strategy = adaptive(initial=1, max=1)
        await strategy.acquire()
        waiting = asyncio.create_task(strategy.acquire())
        await asyncio.sleep(0)
        await strategy.release()
        await strategy.release()
        await waiting
        assert strategy.active_count == 1

    run(main())


def test_hooks_are_called_around_taking_and_giving_back() -> None:
    """Those of taking get the strategy, those of giving back the error, too."""
    said: list[Any] = []
    strategy, boom = fixed(1), ValueError("boom")
    concurrency = Concurrency(
        strategy,
        before_acquire=lambda given: said.append(("before", given)),
        after_acquire=lambda given: said.append(("after", given)),
        before_release=lambda given, error: said.append(("before release", given, error)),
        after_release=lambda given, error: said.append(("after release", given, error)),
    )

    async def main() -> None:
        await concurrency.acquire()
        await concurrency.release(boom)

    run(main())
    assert said == [
        ("before", strategy),
        ("after", strategy),
        ("before release", strategy, boom),
        ("after release", strategy, boom),
    ]


def test_a_hook_that_raises_leaves_no_slot_taken() -> None:
    """After it, everybody else can go on."""

    def fail(*_: Any) -> None:
        raise RuntimeError("hook")

    async def main() -> None:
        strategy = fixed(1)
        with pytest.raises(RuntimeError, match="hook"):
            await Concurrency(strategy, after_acquire=fail).acquire()
        await strategy.acquire()
        with pytest.raises(RuntimeError, match="hook"):
            await Concurrency(strategy, before_release=fail).release()
        await strategy.acquire()

    run(main())


class Client:
    """A client whose calls are counted."""

    def __init__(self) -> None:
        self.jobs = Jobs()
        self.chat = SimpleNamespace(create=self.create)
        self.name = "client"

    async def create(self, seconds: float, error: Exception | None = None) -> Any:
        return await self.jobs.sleep(seconds, error=error)


@pytest.mark.parametrize("strategy", [fixed(2), adaptive(2, 1, 2)])
def test_a_wrapped_client_holds_a_slot_for_each_call(strategy: Any) -> None:
    """At any depth; errors and cancels give the slot back."""
    client = Client()
    wrapped = Concurrency(strategy).wrap(client)

    async def main() -> None:
        assert await asyncio.gather(*(wrapped.chat.create(1) for _ in range(6))) == [1] * 6
        assert client.jobs.most == 2
        for _ in range(3):
            with pytest.raises(ValueError, match="boom"):
                await wrapped.create(1, ValueError("boom"))
            task = asyncio.create_task(wrapped.create(50))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.gather(wrapped.create(1), wrapped.create(1))

    run(main())
    assert wrapped.name == "client"


class Duck:
    """A strategy of somebody's own."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    async def acquire(self) -> None:
        self.said.append("acquire")

    async def release(self, error: Any = None) -> None:
        self.said.append(error)

    def reset(self) -> None:
        self.said.append("reset")


def test_strategies_of_somebodys_own_are_taken() -> None:
    """As a context manager, Concurrency gives itself, and resets the strategy once."""
    duck, boom = Duck(), ValueError("boom")

    async def main() -> None:
        concurrency = Concurrency(duck)
        async with concurrency as entered:
            assert entered is concurrency
            with pytest.raises(ValueError, match="boom"):
                await concurrency.wrap(Client()).create(1, boom)

    run(main())
    assert duck.said == ["acquire", boom, "reset"]


def test_waiting_for_a_slot_is_an_event() -> None:
    """A diagnosis can tell who waits for what."""

    async def main(strategy: Any) -> str:
        with capture_events() as captured:
            await strategy.acquire()
            waiting = asyncio.create_task(strategy.acquire())
            await asyncio.sleep(1)
            await strategy.release()
            await waiting
        return captured.tree()

    assert run(main(fixed(1))) == "slot_wait fixed ok"
    assert run(main(sequential())) == "slot_wait sequential ok"
    assert run(main(adaptive(1, 1, 1))) == "slot_wait adaptive ok"


# as what it was known ---------------------------------------------------------------------------------------


async def test_what_is_decorated_is_an_evaluation_with_the_attributes_of_one() -> None:
    """Of a function of either kind; it stays a function, so whoever asks knows whether to await it."""

    @foreach("text, number", [("a", 1), ("b", 2)])
    async def later(text: str, number: int, factor: int) -> int:
        return number * factor

    @foreach("text,number", [("a", 1)])
    def now(text: str, number: int) -> int:
        return number

    made: Any = later
    assert isinstance(later, Evaluation)
    assert isinstance(now, Evaluation)
    assert not isinstance(len, Evaluation)
    assert inspect.iscoroutinefunction(later)
    assert not inspect.iscoroutinefunction(now)
    assert (made.executor_name, made.column_names, made.column_spec) == (
        "foreach",
        ["text", "number"],
        "text, number",
    )
    assert made.dataset == [("a", 1), ("b", 2)]
    made.resolved_fixtures = {"factor": 10}
    assert [record.value for record in (await later()).results] == [10, 20]
    assert [record.value for record in (await later(factor=3)).results] == [3, 6]


def test_an_evaluation_is_made_by_name_of_its_executor() -> None:
    """The only one there is runs row by row."""
    made: Any = Evaluation(lambda number, add: number + add, [1, 2], "foreach", "number", {"add": 1})
    assert isinstance(made, Evaluation)
    assert [record.value for record in made().results] == [2, 3]
    with pytest.raises(RuntimeError, match="Unknown executor type: batch"):
        Evaluation(len, [], "batch", "number")


def test_a_function_that_does_not_name_the_columns_gets_them_by_position() -> None:
    """If it takes any number of arguments; otherwise each row fails."""

    @foreach("text,number", [("a", 1), ("b", 2)])
    def whole(*row: object, **others: object) -> str:
        return f"{row} {others}"

    @foreach("text,number", [("a", 1), ("b", 2)])
    async def later(*row: object) -> int:
        return len(row)

    @foreach("text,number", [("a", 1)])
    def wrong(text: str) -> str:
        return text

    assert [record.value for record in whole(more=3).results] == [
        "('a', 1) {'more': 3}",
        "('b', 2) {'more': 3}",
    ]
    assert [record.value for record in asyncio.run(later()).results] == [2, 2]
    (record,) = wrong().results
    assert "unexpected keyword argument 'number'" in record.error


def test_options_may_be_given_for_one_function_or_one_run() -> None:
    """The decorator takes what the class does, and a run what the function does not take itself."""
    running = most = 0
    tries: list[int] = []

    @foreach(
        "number",
        range(6),
        concurrency=SlidingWindow(3),
        retries=tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2)),
    )
    async def evaluate(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        tries.append(number)
        raise ValueError

    asyncio.run(evaluate())
    assert (most, len(tries)) == (3, 12)
    most = 0
    asyncio.run(
        evaluate(max_concurrency=2, retries=tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(1)))
    )
    assert (most, len(tries)) == (2, 18)

    @foreach("number", [1])
    def own(number: int, retries: int) -> int:
        return number + retries

    assert own(retries=5).results[0].value == 6


def test_an_attribute_is_a_dataset_that_dotevals_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name in dotevals' registry, with the columns that it has."""

    class Known:
        columns = ("question", "answer")

        def __init__(self, split: str = "all", size: int = 1) -> None:
            self.rows = [(split, size)] * size

        def __iter__(self) -> Iterator[tuple[str, int]]:
            return iter(self.rows)

    datasets: Any = ModuleType("dotevals.datasets")
    datasets.registry = SimpleNamespace(get_dataset_class={"known": Known}.__getitem__)
    monkeypatch.setitem(sys.modules, "dotevals", ModuleType("dotevals"))
    monkeypatch.setitem(sys.modules, "dotevals.datasets", datasets)

    @foreach.known("test", size=2)
    def evaluate(question: str, answer: int) -> str:
        return f"{question} {answer}"

    assert [record.value for record in evaluate().results] == ["test 2", "test 2"]
    with pytest.raises(KeyError):
        foreach.unknown()
    with pytest.raises(AttributeError, match="'ForEach' object has no attribute '__special__'"):
        foreach.__special__  # noqa: B018 -- the look-up is what is tested


def test_a_first_limit_above_the_most_is_the_most() -> None:
    """`Adaptive` with a low maximum needs no second argument."""
    assert Adaptive(max_concurrency=2).current_concurrency == 2
