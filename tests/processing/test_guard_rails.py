"""Guard rails: what stops a batch, and what becomes of its items."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from spanloom.processing import BaseMiddleware, GuardRails, ProcessorConfig, RetryConfig, WorkItemResult
from tests.processing.work import Calls, Processor, Watcher, add, config, run


async def process(
    rails: GuardRails, calls: Calls, items: str, given: ProcessorConfig | None = None
) -> tuple[list[WorkItemResult[Any, Any]], Watcher, float]:
    """Process items within bounds; each has one result, one end, and one start."""
    watcher = Watcher()
    loop = asyncio.get_running_loop()
    async with Processor(config=given or config(2), observers=[watcher], guard_rails=rails) as processor:
        await add(processor, calls, *items)
        results = (await processor.process_all()).results
    assert sorted(one.item_id for one in results) == sorted(items)
    assert watcher.ends() == dict.fromkeys(items, 1)
    assert watcher.names().count("ITEM_STARTED") == len(items)
    assert calls.running == 0
    return results, watcher, loop.time()


def test_an_item_has_its_time_for_all_attempts() -> None:
    """Pauses count; a pause that would end too late is not begun: the attempt's own error says more."""

    def answer(prompt: str, attempt: int) -> Any:
        return ConnectionError(f"attempt {attempt}")

    async def scenario() -> None:
        patient = config(1, retry=RetryConfig(max_attempts=9, initial_wait=4, jitter=False))
        results, _, seconds = await process(GuardRails(item_timeout=8), Calls(answer), "a", patient)
        assert results[0].error == "ConnectionError: attempt 2"
        assert seconds == pytest.approx(6.1)

    run(scenario())


def test_an_item_that_hangs_is_cut_off_and_not_tried_again() -> None:
    """Its error is a `FrameworkTimeoutError`, and the others go on."""

    async def scenario() -> None:
        calls = Calls(seconds=60)
        results, _, seconds = await process(GuardRails(item_timeout=8), calls, "ab", config(1))
        assert [one.error for one in results] == [
            "FrameworkTimeoutError: Item timeout after 8.0s (limit: 8s, all attempts together)"
        ] * 2
        assert len(calls.made) == 2
        assert seconds == pytest.approx(16)

    run(scenario())


def test_middleware_that_is_told_of_an_error_has_its_time() -> None:
    """What is left of the item's, and five seconds at least; or five from when the batch is stopped."""
    told: list[str] = []

    class Hanging(BaseMiddleware[str, Any, Any]):
        async def on_error(self, work_item: Any, error: Exception) -> Any:
            told.append(type(error).__name__)
            await asyncio.sleep(1000)

    async def scenario(rails: GuardRails, calls: Calls, items: str = "a") -> tuple[str | None, float]:
        loop = asyncio.get_running_loop()
        async with Processor(config=config(1), middlewares=[Hanging()], guard_rails=rails) as processor:
            await add(processor, calls, *items)
            return (await processor.process_all()).results[0].error, round(loop.time(), 1)

    def failing() -> Calls:
        return Calls(lambda *_: ValueError("no"))

    assert run(scenario(GuardRails(item_timeout=30), failing())) == ("ValueError: no", 30)
    assert run(scenario(GuardRails(item_timeout=2), failing())) == ("ValueError: no", 6.1)
    assert run(scenario(GuardRails(batch_timeout=20), failing())) == ("ValueError: no", 25)
    assert run(scenario(GuardRails(batch_timeout=20), failing(), "abcdefgh")) == ("ValueError: no", 25)
    late, at = run(scenario(GuardRails(item_timeout=8), Calls(seconds=100)))
    assert late is not None
    assert (late.partition(":")[0], at) == ("FrameworkTimeoutError", 13)
    assert told[:4] == ["ValueError"] * 4
    assert told[4:] == ["BatchStoppedError"] * 7 + ["FrameworkTimeoutError"]


def test_what_was_paid_for_counts_also_if_the_item_is_cut_off_afterwards() -> None:
    """Its call went well, and then its middleware took too long."""

    class Slow(BaseMiddleware[str, Any, Any]):
        async def after_process(self, result: Any) -> Any:
            await asyncio.sleep(1000)

    async def scenario() -> None:
        rails = GuardRails(item_timeout=5)
        async with Processor(config=config(1), middlewares=[Slow()], guard_rails=rails) as processor:
            await add(processor, Calls(), "a")
            result = await processor.process_all()
        assert result.failed == 1
        assert (result.total_input_tokens, result.total_output_tokens) == (10, 5)

    run(scenario())


def test_an_item_that_takes_too_long_in_a_stopped_batch_says_so() -> None:
    """The stop has let its call go on: it was its own time that ended it."""

    class Long(Calls):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            await asyncio.sleep(1 if prompt == "a" else 1000)
            return prompt, {}

    async def scenario() -> None:
        rails = GuardRails(item_timeout=8, max_cost=1, cost=lambda result: 1.0)
        results, _, _ = await process(rails, Long(), "abc")
        kinds = {one.item_id: (one.error or "").partition(":")[0] for one in results}
        assert kinds == {"a": "", "b": "FrameworkTimeoutError", "c": "BatchStoppedError"}

    run(scenario())


def test_a_batch_has_its_time() -> None:
    """Calls that run then are cancelled, the rest is not begun, and all have results."""

    async def scenario() -> None:
        calls = Calls(seconds=4)
        results, watcher, seconds = await process(GuardRails(batch_timeout=10), calls, "abcdefgh")
        assert seconds == pytest.approx(10)
        assert [one.success for one in results] == [True] * 4 + [False] * 4
        assert {one.error for one in results[4:]} == {"BatchStoppedError: the batch has taken its 10 s"}
        assert len(calls.made) == 6
        assert set(watcher.failures().values()) == {"BatchStoppedError"}

    run(scenario())


def test_a_batch_s_time_also_ends_one_that_waits_for_items() -> None:
    """Its results end then, and who adds to it is told why."""

    async def scenario() -> None:
        async with Processor(config=config(1), guard_rails=GuardRails(batch_timeout=10)) as processor:
            await processor.start()
            await add(processor, Calls(), "a")
            assert [result.item_id async for result in processor] == ["a"]
            assert asyncio.get_running_loop().time() == pytest.approx(10)
            with pytest.raises(RuntimeError, match="the batch has taken its 10 s"):
                await add(processor, Calls(), "b")

    run(scenario())


def test_errors_of_a_category_stop_the_batch() -> None:
    """Others do not count; calls that run may end, but are not tried again."""

    def answer(prompt: str, attempt: int) -> Any:
        return {"a": ValueError(), "b": TypeError(), "c": ConnectionError("c"), "d": KeyError("d")}.get(
            prompt, 1
        )

    async def scenario() -> None:
        once = config(1, retry=RetryConfig(max_attempts=1))
        rails = GuardRails(max_errors={"logic_error": 3})
        results, _, _ = await process(rails, Calls(answer), "cabdefg", once)
        stopped = "BatchStoppedError: 3 items have failed with 'logic_error'"
        assert [one.error for one in results] == [
            "ConnectionError: c",
            "ValueError: ",
            "TypeError: ",
            "KeyError: 'd'",
            *[stopped] * 3,
        ]

    run(scenario())


def test_a_spend_cap_stops_the_batch() -> None:
    """What has been paid for is kept: calls that run may end. Failed items cost, too."""

    def cost(result: WorkItemResult[Any, Any]) -> float:
        return 0.25 if result.success else 1.0

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: ValueError("no") if prompt == "b" else prompt)
        results, _, _ = await process(GuardRails(max_cost=1.5, cost=cost), calls, "abcdefg")
        assert len(calls.made) == 4
        assert {one.item_id: one.error for one in results[4:]} == dict.fromkeys(
            "efg", "BatchStoppedError: 1.5 spent of at most 1.5"
        )

    run(scenario())


def test_money_may_be_decimal() -> None:
    """As prices often are, which cannot be added to floats."""

    async def scenario() -> None:
        rails = GuardRails(max_cost=Decimal("0.3"), cost=lambda result: Decimal("0.1"))  # type: ignore[arg-type, return-value]  # money
        results, _, _ = await process(rails, Calls(), "abcd", config(1))
        assert [one.success for one in results] == [True] * 3 + [False]
        assert results[3].error == "BatchStoppedError: 0.3 spent of at most 0.3"

    run(scenario())


@pytest.mark.parametrize("told", [LookupError("no price list"), float("nan")])
def test_a_cost_that_cannot_be_told_stops_the_batch(
    told: LookupError | float, caplog: pytest.LogCaptureFixture
) -> None:
    """A cap that cannot be checked is none; and nothing is ever above one when what was spent is no number."""

    def cost(result: WorkItemResult[Any, Any]) -> float:
        if isinstance(told, LookupError):
            raise told
        return told

    async def scenario() -> None:
        results, _, _ = await process(GuardRails(max_cost=1, cost=cost), Calls(), "abc", config(1))
        assert [one.success for one in results] == [True, False, False]
        assert results[1].error is not None
        assert "the cost function failed" in results[1].error

    run(scenario())
    assert ("no price list" if isinstance(told, LookupError) else "not a number") in caplog.text


def test_a_stopped_batch_retries_nothing() -> None:
    """An item that would have been tried again fails by its own error."""

    def answer(prompt: str, attempt: int) -> Any:
        return ValueError("stop") if prompt == "a" else ConnectionError("again")

    async def scenario() -> None:
        calls = Calls(answer)
        results, _, _ = await process(GuardRails(max_errors={"logic_error": 1}), calls, "ab")
        assert [one.error for one in results] == ["ValueError: stop", "ConnectionError: again"]
        assert len(calls.made) == 2

    run(scenario())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"item_timeout": 0}, "item_timeout must be above 0 seconds"),
        ({"batch_timeout": -1}, "batch_timeout must be above 0 seconds"),
        ({"max_errors": {"unknown": 0}}, r"max_errors\['unknown'\] must be at least 1"),
        ({"max_cost": 0, "cost": len}, "max_cost must be above 0"),
        ({"max_errors": {"x": float("nan")}}, r"max_errors\['x'\] must be at least 1"),
        ({"max_cost": 1}, "max_cost needs a cost"),
    ],
)
def test_bounds_are_checked_when_they_are_given(given: dict[str, Any], message: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match=message):
        GuardRails(**given)


async def price(result: object) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"max_errors": 5},
            r"max_errors must be a mapping .* such as \{'rate_limit': 5\}, or None \(got 5\)",
        ),
        ({"max_errors": {ValueError: 1}}, r"the names of categories, .* \(got <class 'ValueError'>\)"),
        ({"max_errors": {"x": "3"}}, r"max_errors\['x'\] must be a number at least 1 \(got '3', str\)"),
        ({"item_timeout": "30"}, r"item_timeout must be a number above 0 seconds, or None \(got '30', str\)"),
        ({"max_cost": "1", "cost": len}, r"max_cost must be a number above 0, or None \(got '1', str\)"),
        ({"max_cost": 1, "cost": 2}, r"cost must be a plain function .* \(got 2\)"),
        ({"max_cost": 1, "cost": price}, r"cost must be a plain function .* \(got <function price"),
    ],
)
def test_bounds_of_the_wrong_kind_are_refused_where_they_are_given(
    given: dict[str, Any], message: str
) -> None:
    """The message says what was given, and what is allowed; none is found out when the first item fails."""
    with pytest.raises(TypeError, match=message):
        GuardRails(**given)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), BaseException("an exit")])
def test_a_cost_that_ends_the_batch_is_asked_no_more(error: BaseException) -> None:
    """All items have their end, and the batch has its own, whoever it was that ended it."""
    asked: list[str] = []

    def cost(result: WorkItemResult[Any, Any]) -> float:
        asked.append(result.item_id)
        raise error

    async def scenario() -> None:
        watcher = Watcher()
        rails = GuardRails(max_cost=1, cost=cost)
        async with Processor(config=config(1), observers=[watcher], guard_rails=rails) as processor:
            await add(processor, Calls(), *"abcd")
            with pytest.raises(type(error)) as raised:
                await processor.process_all()
        assert isinstance(error, asyncio.CancelledError) or raised.value is error
        assert asked == ["a"]
        assert watcher.ends() == dict.fromkeys("abcd", 1)
        assert watcher.names()[-1] == "BATCH_COMPLETED"

    run(scenario())
