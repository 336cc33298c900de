"""What goes from process to process: results, errors, configurations, checkpoints."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from spanloom import (
    Checkpoint,
    CheckpointCodecError,
    CheckpointError,
    Outcome,
    RetryPolicy,
    async_map,
    exceptions,
    run_sync,
)
from spanloom.evaluation import foreach
from spanloom.processing import (
    BatchResult,
    ExponentialBackoffStrategy,
    FrameworkTimeoutError,
    GuardRails,
    ProcessorConfig,
    TokenTrackingError,
    WorkItemResult,
)
from spanloom.testing import LeakedTasksError, no_leaked_tasks


async def double(number: int) -> int:
    return 2 * number


async def lock(number: int) -> object:
    return threading.Lock()


def run(checkpoint: Checkpoint, numbers: list[int]) -> list[int]:
    return run_sync(async_map(double, numbers, checkpoint=checkpoint))


def fail(checkpoint: Checkpoint) -> None:
    run_sync(async_map(lock, [1], checkpoint=checkpoint))


def same(one: Any) -> Any:
    """Return what another process would get."""
    return pickle.loads(pickle.dumps(one))


@pytest.mark.parametrize("name", exceptions.__all__)
def test_exceptions_stay_what_they_are(name: str) -> None:
    """Type, text, and whatever they carry."""
    error = getattr(exceptions, name)("what was wrong")
    error.more = [1]
    for again in (same(error), copy.copy(error)):
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_exceptions_with_more_to_say_stay_what_they_are() -> None:
    """What was given by name comes with them."""
    nested = exceptions.NestedLimiterError("all wait", ("a waits", "b waits"))
    timeout = FrameworkTimeoutError("late", item_id="a", elapsed=3.0, timeout_limit=2.0)
    paid = TokenTrackingError("no", token_usage={"input_tokens": 3})
    missing = exceptions.MissingDependencyError("install it", name="tenacity")
    for error in (nested, timeout, paid, missing):
        assert (str(same(error)), vars(same(error))) == (str(error), vars(error))
    assert same(missing).name == "tenacity"


def test_a_value_that_cannot_be_pickled_does_not_hide_the_error() -> None:
    """The one stays behind; the other, and a value that can, arrive."""
    error = CheckpointCodecError("it cannot be stored")
    error.value = threading.Lock()
    assert (str(same(error)), same(error).value) == ("it cannot be stored", None)
    error.value = {"paid": 1}
    assert same(error).value == {"paid": 1}
    assert vars(same(CheckpointError("no file"))) == {}


async def test_leaked_tasks_are_told_in_another_process() -> None:
    """The text is all that there is of them there."""
    with pytest.raises(LeakedTasksError) as raised:
        async with no_leaked_tasks():
            task = asyncio.create_task(asyncio.sleep(9), name="lost")
    again = same(raised.value)
    assert (str(again), again.tasks) == (str(raised.value), [])
    task.cancel()


def test_results_and_configurations_stay_what_they_are() -> None:
    """Each has in it what it had."""
    results = BatchResult([WorkItemResult("a", True, "out", token_usage={"input_tokens": 3})])
    for one in (
        Outcome(1, 2, None, "ok", 1, 0, 0, None),
        RetryPolicy(attempts=7),
        ProcessorConfig(max_workers=2),
        GuardRails(max_errors={"unknown": 1}),
        results,
        results.results[0],
    ):
        assert repr(same(one)) == repr(one)
    assert vars(same(ExponentialBackoffStrategy(3))) == vars(ExponentialBackoffStrategy(3))


@foreach("number", [1, 0])
def divide(number: int) -> float:
    return 1 / number


def test_results_of_an_evaluation_stay_what_they_are() -> None:
    """Errors of rows included."""
    results = divide()
    again = same(results)
    assert (str(again), again.values) == (str(results), [1.0])
    assert str(again.errors[0].error) == "division by zero"


def test_a_checkpoint_is_used_by_processes_that_are_given_it(tmp_path: Path) -> None:
    """With all that it was made with; what it raises there is raised here."""
    checkpoint = Checkpoint(tmp_path / "results.db", type=int, version="1", key=str)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(run, checkpoint, [1, 2]).result() == [2, 4]
        with pytest.raises(CheckpointCodecError, match="return what the checkpoint's type= says"):
            pool.submit(fail, checkpoint).result()
    assert run(checkpoint, [2, 3]) == [4, 6]
    assert repr(copy.deepcopy(checkpoint)) == repr(checkpoint)
