"""Evaluation loops: every row, errors in their records, sequential or concurrent, and resumed."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

from spanloom import AdaptiveLimiter, Checkpoint, FixedLimiter, RetryPolicy
from spanloom.evaluation import EvaluationResults, ForEach, evaluation_of, foreach
from spanloom.testing import capture_events
from tests.compat.running import Jobs, run

ROWS = [("2+2", 4), ("3+3", 7), ("1+", 1)]


@foreach("question,answer", ROWS)
def solve(question: str, answer: int, model: Any, offset: int = 0) -> bool:
    """Ask."""
    return bool(model(question) + offset == answer)


def test_each_row_has_a_record() -> None:
    """What a row returns or raises is in its record, by position, and nothing is raised."""
    results = solve(model=eval)
    assert [record.item_id for record in results] == [0, 1, 2]
    assert [record.value for record in results] == [True, False, None]
    assert [type(record.error) for record in results] == [type(None), type(None), SyntaxError]
    assert [record.status for record in results] == ["ok", "ok", "error"]
    assert results.results[0].row == {"question": "2+2", "answer": 4}
    assert [record.ok for record in results] == [True, True, False]


def test_further_keywords_reach_every_row() -> None:
    """Models and options are given at the call, as keywords."""
    assert solve(model=eval, offset=1).values == [False, True]


def test_a_wrong_call_is_raised_before_any_row() -> None:
    """A keyword that is missing, unknown or a column is the caller's error, not that of each row."""
    with pytest.raises(TypeError, match=r"solve.*missing a required"):
        solve()
    with pytest.raises(TypeError, match=r"solve.*unexpected keyword argument 'mdoel'"):
        solve(model=eval, mdoel=1)
    with pytest.raises(TypeError, match="gets 'answer' from its dataset"):
        solve(model=eval, answer=1)


def test_a_decorated_function_looks_like_one_without_the_columns() -> None:
    """Name, text and kind stay; the signature is what is left to give."""
    assert solve.__name__ == "solve"
    assert solve.__doc__ == "Ask."
    assert list(inspect.signature(solve).parameters) == ["model", "offset"]
    found = evaluation_of(solve)
    assert found is not None
    assert found.columns == ("question", "answer")
    assert evaluation_of(len) is None


class Judge:
    """Evaluates as methods."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    @foreach("question,answer", ROWS[:2])
    def solve(self, question: str, answer: int, model: Any) -> bool:
        return bool(model(question) + self.offset == answer)

    @foreach("question", ["2+2"])
    async def answer(self, question: str, *, model: Any = eval) -> int:
        return int(model(question)) + self.offset

    @classmethod
    @foreach("number", [1, 2])
    def named(cls, number: int) -> str:
        return f"{cls.__name__} {number}"


def test_methods_are_evaluated_with_their_objects() -> None:
    """An object gives itself, as it does to any method; from the class, it is given by name or by position."""
    judge = Judge(1)
    assert judge.solve(model=eval).values == [False, True]
    assert run(judge.answer()).values == [5]
    assert Judge.named().values == ["Judge 1", "Judge 2"]
    assert Judge.solve(judge, model=eval).values == Judge.solve(self=judge, model=eval).values
    assert list(inspect.signature(judge.solve).parameters) == ["model"]
    with pytest.raises(TypeError, match=r"solve.*missing a required argument: 'self'"):
        Judge.solve(model=eval)
    with pytest.raises(TypeError, match=r"solve.*too many positional arguments"):
        judge.solve(eval)


def test_plain_functions_run_row_by_row_in_the_callers_thread() -> None:
    """A ``def`` runs sequentially, where it was called."""
    threads, running, most = set(), 0, 0

    @foreach("number", range(5))
    def one(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        threads.add(threading.current_thread())
        running -= 1
        return number

    assert one().values == [0, 1, 2, 3, 4]
    assert (most, threads) == (1, {threading.current_thread()})


def test_a_plain_function_can_be_evaluated_in_a_running_loop() -> None:
    """In a notebook, too, the call returns results."""

    async def main() -> EvaluationResults:
        results: EvaluationResults = solve(model=eval)
        return results

    assert len(asyncio.run(main())) == 3


def test_coroutine_functions_run_at_the_same_time() -> None:
    """An ``async def`` runs under an adaptive limit; results are in order of the rows."""
    jobs = Jobs()

    @foreach("seconds", [3, 1, 2])
    async def sleep(seconds: int) -> Any:
        return await jobs.sleep(seconds)

    assert inspect.iscoroutinefunction(sleep)
    assert run(sleep()).values == [3, 1, 2]
    assert jobs.most == 3
    assert jobs.ended == [1, 2, 3]


@pytest.mark.parametrize(
    "options", [{"max_concurrency": 2}, {"concurrency": 2}, {"concurrency": FixedLimiter(2)}]
)
def test_the_limit_is_reached_and_kept(options: dict[str, Any]) -> None:
    """A number or a limiter bounds how many rows run at once."""
    jobs = Jobs()

    @ForEach(**options)("seconds", [1] * 6)
    async def sleep(seconds: int) -> Any:
        return await jobs.sleep(seconds)

    run(sleep())
    assert jobs.most == 2


def test_rows_that_fail_lower_an_adaptive_limit() -> None:
    """The limiter sees how each attempt of a row ends."""
    limiter = AdaptiveLimiter(20, adaptation_interval=0.5, error_tolerance=0)

    @ForEach(retries=RetryPolicy(attempts=1), concurrency=limiter)("number", range(200))
    async def fail(number: int) -> None:
        await asyncio.sleep(0.1)
        raise ConnectionError

    assert len(run(fail()).errors) == 200
    assert limiter.size < 20
    assert {change.reason for change in limiter.changes} == {"errors"}


async def later(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


@pytest.mark.parametrize(
    ("columns", "dataset", "expected"),
    [
        ("a,b", [(1, 2), [3, 4]], [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
        (["a", "b"], iter([(1, 2)]), [{"a": 1, "b": 2}]),
        (" a , b ", ({"b": 2, "a": 1, "c": 3} for _ in range(1)), [{"a": 1, "b": 2}]),
        ("a", [1, None, "x"], [{"a": 1}, {"a": None}, {"a": "x"}]),
        ("a", [(1,), {"a": 2}, {"b": 3}], [{"a": 1}, {"a": 2}, {"a": {"b": 3}}]),
        ("a", range(2), [{"a": 0}, {"a": 1}]),
        ("a", later(2), [{"a": 0}, {"a": 1}]),
        ("a", [], []),
    ],
)
def test_rows_are_given_by_column(columns: Any, dataset: Any, expected: Any) -> None:
    """Tuples and lists by position, mappings by name, single values as the only column; from any iterable."""

    @foreach(columns, dataset)
    def keep(**row: Any) -> Any:
        return row

    assert keep().values == expected


def test_a_row_that_does_not_fit_fails_alone() -> None:
    """Too few values, a missing column and a single value for two columns are errors of their rows."""

    @foreach("a,b", [(1,), {"a": 1}, 5, (1, 2), (1, 2, 3)])
    def keep(a: int, b: int) -> int:
        return a + b

    results = keep()
    assert results.values == [3]
    assert [str(record.error) for record in results.errors] == [
        "the row has 1 values for 2 columns",
        "the row has no column 'b'",
        "a row of 2 columns cannot be a int",
        "the row has 3 values for 2 columns",
    ]


def test_a_dataset_that_raises_is_no_matter_of_a_row() -> None:
    """What the dataset raises is raised, after running rows were cancelled."""
    jobs = Jobs()

    def rows() -> Iterator[int]:
        yield 10
        yield 20
        raise OSError("the disk")

    @foreach("seconds", rows())
    async def sleep(seconds: int) -> Any:
        return await jobs.sleep(seconds)

    with pytest.raises(OSError, match="the disk"):
        run(sleep())
    assert jobs.alive == 0


def test_a_lazy_dataset_is_pulled_as_rows_run() -> None:
    """No more rows than run, and one ahead, are taken from a generator."""
    pulled, seen = [], []

    def rows() -> Iterator[int]:
        for number in range(5):
            pulled.append(number)
            yield number

    @foreach("number", rows())
    def one(number: int) -> None:
        seen.append(len(pulled) - number)

    one()
    assert max(seen) <= 2


def test_cancelling_the_call_cancels_the_rows() -> None:
    """No row outlives the call."""
    jobs = Jobs()

    @foreach("seconds", [10, 20])
    async def sleep(seconds: int) -> Any:
        return await jobs.sleep(seconds)

    async def main() -> None:
        task = asyncio.create_task(sleep())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert sorted(jobs.cancelled) == [10, 20]


def test_an_exit_in_a_row_is_raised() -> None:
    """KeyboardInterrupt and SystemExit are no errors of a row."""

    @foreach("number", [1, 2])
    def leave(number: int) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        leave()


def test_an_exception_may_be_a_value() -> None:
    """What a row returns is its value, whatever it is."""
    found = ValueError("found")

    @foreach("number", [1, 2])
    def give(number: int) -> Any:
        return found if number == 1 else None

    results = give()
    assert [(record.value, record.error) for record in results] == [(found, None), (None, None)]


def test_an_evaluation_is_a_batch_of_jobs_with_attempts() -> None:
    """Handlers see it under the function's name."""
    with capture_events() as captured:
        solve(model=eval)
    captured.assert_tree(
        """
        batch solve ok
          job solve #0 ok
            attempt solve 1. ok
          job solve #1 ok
            attempt solve 1. ok
          job solve #2 error SyntaxError
            attempt solve 1. error SyntaxError
        """
    )
    assert captured.started[0].payload["runner"] == "foreach"


def generate(a: int) -> Iterator[int]:
    yield a


async def generate_later(a: int) -> AsyncIterator[int]:
    yield a


def test_what_a_plain_function_gives_to_be_awaited_is_awaited() -> None:
    """A wrapper of a coroutine function need not be one; its rows run one by one."""
    jobs = Jobs()

    @foreach("seconds", [0.02, 0.01])
    def sleep(seconds: float) -> Any:
        return jobs.sleep(seconds)

    async def main() -> EvaluationResults:
        results: EvaluationResults = sleep()
        return results

    assert asyncio.run(main()).values == [0.02, 0.01]
    assert jobs.most == 1


def test_wrong_arguments_are_said_at_once() -> None:
    """What ForEach or the decorator cannot use raises before any row is taken."""
    with pytest.raises(ValueError, match="either concurrency= or max_concurrency="):
        ForEach(concurrency=2, max_concurrency=2)
    with pytest.raises(ValueError, match="max_concurrency must be at least 1"):
        ForEach(max_concurrency=0)
    with pytest.raises(TypeError, match="concurrency must be an int"):
        ForEach(concurrency="many")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="checkpoint must be"):
        ForEach(storage="x.db")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="retry must be"):
        ForEach(retries=3)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'dataset'"):
        foreach("a")  # type: ignore[call-arg]  # on purpose
    for wrong in ("", "a,", "a b", "a,a"):
        with pytest.raises(ValueError, match="columns"):
            foreach(wrong, [])
    for no_columns in (5, ["a", 5]):
        with pytest.raises(TypeError, match="columns are a text"):
            foreach(no_columns, [])  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="has no parameter 'b'"):
        foreach("a,b", [])(lambda a: a)
    with pytest.raises(TypeError, match=r"<lambda> takes 'model' by position only, .*: remove the '/'"):
        foreach("a", [])(lambda model, /, a: a)
    for yielding in (generate, generate_later):
        with pytest.raises(TypeError, match=r"generate\w* yields: return what a row comes to"):
            foreach("a", [1])(yielding)
    with pytest.raises(TypeError, match="dataset must be an iterable"):
        foreach("a", 5)(lambda a: a)()  # type: ignore[arg-type]  # on purpose


# storage --------------------------------------------------------------------------------------------------


def test_a_second_run_skips_what_is_stored(tmp_path: Path) -> None:
    """Rows that returned are not run again; rows that failed are."""
    calls: list[int] = []

    @ForEach(retries=RetryPolicy(attempts=1), storage=Checkpoint(tmp_path / "evals.db"))("number", range(4))
    async def double(number: int) -> int:
        calls.append(number)
        if calls.count(2) == 1 and number == 2:
            raise ConnectionError
        return 2 * number

    assert len(run(double()).errors) == 1
    results = run(double())
    assert results.values == [0, 2, 4, 6]
    assert [record.status for record in results] == ["skipped", "skipped", "ok", "skipped"]
    assert calls == [0, 1, 2, 3, 2]


def test_equal_rows_have_results_of_their_own(tmp_path: Path) -> None:
    """A dataset may hold a row twice; each is run once."""
    calls: list[int] = []

    @ForEach(storage=Checkpoint(tmp_path / "evals.db"))("number", [1, 1, 2])
    def count(number: int) -> int:
        calls.append(number)
        return len(calls)

    assert count().values == [1, 2, 3]
    assert count().values == [1, 2, 3]


def test_a_dataset_may_be_sorted_anew(tmp_path: Path) -> None:
    """A row is known by its columns, not by its position."""
    calls: list[int] = []

    def make(rows: list[int]) -> Any:
        @ForEach(storage=Checkpoint(tmp_path / "evals.db", version="1"))("number", rows)
        def keep(number: int) -> int:
            calls.append(number)
            return number

        return keep

    make([1, 2])()
    assert make([3, 2, 1])().values == [3, 2, 1]
    assert calls == [1, 2, 3]


def test_another_model_is_another_evaluation(tmp_path: Path) -> None:
    """Plain values among the keywords of the call are part of what was evaluated."""
    calls: list[str] = []

    @ForEach(storage=Checkpoint(tmp_path / "evals.db"))("number", [1])
    def ask(number: int, model: str) -> str:
        calls.append(model)
        return model

    assert ask(model="a").values == ["a"]
    assert ask(model="b").values == ["b"]
    assert ask(model="a").values == ["a"]
    assert calls == ["a", "b"]


class Upper:
    """A model that is an object."""

    def __call__(self, text: str) -> str:
        return text.upper()


def test_another_function_is_another_evaluation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the name of a model is, so is that of a function; of an object only the class is known, and that is told."""

    @ForEach(storage=Checkpoint(tmp_path / "evals.db"))("text", ["ab"])
    def ask(text: str, model: Any) -> str:
        return str(model(text))

    for model, answer in ((len, "2"), (str.upper, "AB"), (repr, "'ab'"), (Upper(), "AB")):
        assert ask(model=model).values == [answer]
        assert ask(model=model).results[0].status == "skipped"
    assert [record.getMessage().count("whichever Upper has made them") for record in caplog.records] == [
        0,
        0,
        0,
        1,
    ]


def test_a_key_is_made_of_the_row(tmp_path: Path) -> None:
    """`key` of the checkpoint gets the row by column, so a row need not be JSON."""

    @ForEach(storage=Checkpoint(tmp_path / "evals.db", key=lambda row: row["id"]))(
        "id,image", [(1, object())]
    )
    def look(id: int, image: object) -> int:
        return id

    assert look().values == [1]
    assert [record.status for record in look()] == ["skipped"]


def test_a_value_that_cannot_be_stored_fails_its_row(tmp_path: Path) -> None:
    """The record says so, and the other rows are stored."""

    @ForEach(storage=Checkpoint(tmp_path / "evals.db"))("number", [1, 2])
    def give(number: int) -> Any:
        return object() if number == 1 else number

    results = give()
    assert results.values == [2]
    assert "cannot be stored" in str(results.errors[0].error)


# retries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(ConnectionError("x"), 3), (TimeoutError("x"), 3), (ValueError("x"), 1), (FileNotFoundError("x"), 1)],
)
def test_the_default_is_three_attempts_for_errors_of_the_connection(error: Exception, attempts: int) -> None:
    """Connection errors and timeouts are tried again with growing pauses; bugs are not."""
    times: list[float] = []

    @foreach("number", [1])
    async def fail(number: int) -> None:
        times.append(asyncio.get_running_loop().time())
        raise error

    record = run(fail()).results[0]
    assert record.error is error
    assert record.attempts == len(times) == attempts
    if attempts == 3:
        assert 0.5 <= times[1] <= 1
        assert 1 <= times[2] - times[1] <= 2


def test_plain_functions_are_tried_again_as_well() -> None:
    """The policy is the same for a ``def``."""
    calls = 0

    @ForEach(retries=RetryPolicy(attempts=4, base_delay=0))("number", [1])
    def fail(number: int) -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ValueError
        return "done"

    assert fail().values == ["done"]


@pytest.mark.parametrize("kind", [tenacity.AsyncRetrying, tenacity.Retrying])
@pytest.mark.parametrize("reraise", [False, True])
def test_policies_of_tenacity_are_fresh_for_each_row(kind: Any, reraise: bool) -> None:
    """Each row gets all its attempts, and the record has the row's own error, not tenacity's."""
    retries = kind(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(1), reraise=reraise)
    calls: list[int] = []

    @ForEach(retries=retries)("number", range(3))
    async def fail(number: int) -> None:
        calls.append(number)
        await asyncio.sleep(0.1)
        raise ValueError(f"boom {number}")

    results = run(fail())
    assert sorted(calls) == [0, 0, 1, 1, 2, 2]
    assert [repr(record.error) for record in results] == [
        f"ValueError('boom {number}')" for number in range(3)
    ]
