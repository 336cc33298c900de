"""What the user's code may return or raise: each item still has one end, and the accounts add up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from spanloom.processing import (
    BaseMiddleware,
    DefaultErrorClassifier,
    ErrorClassifier,
    ErrorInfo,
    FixedDelayStrategy,
    LLMWorkItem,
    ProcessingEvent,
    WorkItemResult,
)
from tests.processing.work import Calls, Processor, Watcher, add, config, run


class Telling(Calls):
    """Tells its tokens in its own way."""

    def __init__(self, usage: Any) -> None:
        super().__init__()
        self._usage = usage

    async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
        return prompt, self._usage


async def process(*layers: BaseMiddleware[Any, Any, Any], calls: Calls) -> list[WorkItemResult[Any, Any]]:
    """Process three items; each has one end, and the statistics say the same as the results."""
    watcher = Watcher()
    async with Processor(config=config(1), observers=[watcher], middlewares=layers) as processor:
        await add(processor, calls, *"abc")
        result = await processor.process_all()
        stats = await processor.get_stats()
    assert watcher.ends() == {"a": 1, "b": 1, "c": 1}
    assert (stats["processed"], stats["succeeded"], stats["failed"]) == (3, result.succeeded, result.failed)
    assert stats["total_input_tokens"] == result.total_input_tokens
    return result.results


@pytest.mark.parametrize(
    ("usage", "spent"),
    [
        (None, 0),
        ({}, 0),
        ({"input_tokens": None, "output_tokens": 3}, 0),
        ({"input_tokens": "7", "total_tokens": "many"}, 7),
        ({"input_tokens": float("inf"), "total_tokens": float("nan")}, 0),
        (SimpleNamespace(request_tokens=7, response_tokens=None), 7),
        (lambda: SimpleNamespace(input_tokens=7), 7),
        (SimpleNamespace(prompt_tokens=7, completion_tokens=2, total_tokens=9), 7),
    ],
)
def test_tokens_may_be_told_in_any_way(usage: Any, spent: int) -> None:
    """As a dict with gaps, as a client's own object, as a method of one that was not called, or not at all."""
    results = run(process(calls=Telling(usage)))
    assert [(one.success, one.token_usage.get("input_tokens", 0)) for one in results] == [(True, spent)] * 3


@pytest.mark.parametrize("usage", [17, "many", lambda: 1 / 0])
def test_tokens_that_make_no_sense_count_as_none(usage: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The call went well all the same; the log says whose they are, and what they could be called."""
    results = run(process(calls=Telling(usage)))
    assert [(one.success, one.token_usage["input_tokens"]) for one in results] == [(True, 0)] * 3
    assert "Telling has told its tokens as a" in caplog.text
    assert "(input_tokens, output_tokens, total_tokens, cached_input_tokens)" in caplog.text


class Forgetful(BaseMiddleware[str, Any, Any]):
    """Returns the wrong thing from one of its methods."""

    def __init__(self, method: str, value: Any) -> None:
        self._method = method
        self._value = value

    async def before_process(self, work_item: LLMWorkItem[str, Any, Any]) -> Any:
        return self._value if self._method == "before_process" else work_item

    async def after_process(self, result: WorkItemResult[Any, Any]) -> Any:
        return self._value if self._method == "after_process" else result

    async def on_error(self, work_item: LLMWorkItem[str, Any, Any], error: Exception) -> Any:
        return self._value if self._method == "on_error" else None


@pytest.mark.parametrize(
    ("method", "value"), [("before_process", True), ("after_process", None), ("on_error", "saved")]
)
def test_a_middleware_that_returns_something_else_is_passed_over(
    method: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A forgotten ``return`` costs no result; the log says which method, and what it should have returned."""
    calls = Calls(lambda prompt, attempt: ValueError("no") if prompt == "b" else prompt)
    results = run(process(Forgetful(method, value), calls=calls))
    assert [(one.output, one.error) for one in results] == [
        ("a", None),
        (None, "ValueError: no"),
        ("c", None),
    ]
    wanted = "LLMWorkItem" if method == "before_process" else "WorkItemResult"
    assert f"Forgetful.{method} has returned a {type(value).__name__}, not a {wanted}" in caplog.text


def test_tokens_of_a_middleware_s_result_are_read_as_those_of_a_strategy() -> None:
    """Gaps in them do not stop the accounts."""

    class Saving(BaseMiddleware[str, Any, Any]):
        async def on_error(self, work_item: LLMWorkItem[str, Any, Any], error: Exception) -> Any:
            usage: Any = {"input_tokens": 4, "output_tokens": None}
            return WorkItemResult(work_item.item_id, True, "saved", token_usage=usage)

    results = run(process(Saving(), calls=Calls(lambda *_: ValueError())))
    assert [one.token_usage for one in results] == [{"input_tokens": 4, "output_tokens": 0}] * 3


def test_a_middleware_s_result_may_have_the_exception_itself_for_its_error() -> None:
    """The item has its end all the same, by the name of the exception's class."""

    class Wrapping(BaseMiddleware[str, Any, Any]):
        async def on_error(self, work_item: LLMWorkItem[str, Any, Any], error: Exception) -> Any:
            wrong: Any = error
            return WorkItemResult(work_item.item_id, False, error=wrong)

    async def scenario() -> None:
        watcher = Watcher()
        layers = [Wrapping()]
        async with Processor(config=config(1), observers=[watcher], middlewares=layers) as processor:
            await add(processor, Calls(lambda *_: ValueError("no")), "a", "b")
            assert (await processor.process_all()).failed == 2
            assert (await processor.get_stats())["error_counts"] == {"ValueError": 2}
        assert watcher.failures() == {"a": "ValueError", "b": "ValueError"}

    run(scenario())


def test_the_classifier_is_asked_once_for_each_failed_attempt() -> None:
    """Whether it was the last one or not; and once for what fails without an attempt."""
    asked: list[str] = []

    class Counting(DefaultErrorClassifier):
        def classify(self, exception: Exception) -> ErrorInfo:
            asked.append(str(exception))
            return super().classify(exception)

    class Unready(Calls):
        async def prepare(self) -> None:
            raise OSError("unready")

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: ConnectionError(f"{prompt}{attempt}"))
        async with Processor(config=config(1), error_classifier=Counting()) as processor:
            await add(processor, calls, "a")
            await add(processor, Unready(), "b")
            await processor.process_all()

    run(scenario())
    assert asked == ["a1", "a2", "a3", "unready"]


def test_a_classifier_that_says_nothing_has_said_no(caplog: pytest.LogCaptureFixture) -> None:
    """The item fails by its own error; the log says what is missing."""

    class Silent(DefaultErrorClassifier):
        def classify(self, exception: Exception) -> Any:
            return None

    async def scenario() -> None:
        calls = Calls(lambda *_: ConnectionError("down"))
        async with Processor(config=config(1), error_classifier=Silent()) as processor:
            await add(processor, calls, "a")
            assert (await processor.process_all()).results[0].error == "ConnectionError: down"
        assert len(calls.made) == 1

    run(scenario())
    assert "Silent.classify has returned a NoneType, not an ErrorInfo" in caplog.text


def test_a_slow_start_that_is_no_number_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """It fails no item."""

    class Vague(FixedDelayStrategy):
        def should_apply_slow_start(self, items_since_resume: int) -> Any:
            return True, "a little"

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: RuntimeError("429") if attempt == 1 else prompt)
        async with Processor(config=config(1), rate_limit_strategy=Vague(5)) as processor:
            await add(processor, calls, "a", "b")
            assert (await processor.process_all()).succeeded == 2

    run(scenario())
    assert "Vague.should_apply_slow_start failed: no slow start" in caplog.text


def test_only_items_can_be_added() -> None:
    """The error says what was given, and what to give."""

    async def scenario() -> None:
        async with Processor(config=config(1)) as processor:
            wrong: Any = "a prompt"
            with pytest.raises(TypeError, match=r"takes an LLMWorkItem, not str: LLMWorkItem\(item_id"):
                await processor.add_work(wrong)
            assert (await processor.get_stats())["total"] == 0

    run(scenario())


@pytest.mark.parametrize("hangs", [False, True])
def test_a_clean_up_that_is_cancelled_keeps_no_other_from_being_cleaned_up(hangs: bool) -> None:
    """The cancel is raised when all have been."""

    class Stubborn(Calls):
        async def cleanup(self) -> None:
            await super().cleanup()
            if not hangs:
                raise asyncio.CancelledError
            await asyncio.sleep(1000)

    async def scenario() -> None:
        stubborn, other = Stubborn(), Calls()
        processor = Processor(config=config(1))
        await add(processor, stubborn, "a")
        await add(processor, other, "b")
        await processor.process_all()
        with pytest.raises(TimeoutError if hangs else asyncio.CancelledError):
            await asyncio.wait_for(processor.shutdown(), 10)
        assert (stubborn.cleaned, other.cleaned) == (1, 1)

    run(scenario())


def test_an_observer_may_raise_anything() -> None:
    """Also what is no `Exception`: it is told all the rest."""

    class OddError(BaseException):
        pass

    class Raising(Watcher):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            raise OddError

    raising, watcher = Raising(), Watcher()

    async def scenario() -> None:
        async with Processor(config=config(1), observers=[raising, watcher]) as processor:
            await add(processor, Calls(), *"ab")
            await processor.process_all()

    run(scenario())
    assert raising.told == watcher.told


Stop = Callable[[str], Awaitable[None]]


class StoppingCalls(Calls):
    """Tells where it is, itself and in a task of its own."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
        await self._stop("execute")
        await asyncio.gather(asyncio.ensure_future(self._stop("subtask")))
        return await super().execute(prompt, attempt, timeout, state)


class StoppingLayer(BaseMiddleware[str, Any, Any]):
    """The same, around items."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    async def before_process(self, work_item: LLMWorkItem[str, Any, Any]) -> Any:
        await self._stop("before")
        return work_item

    async def after_process(self, result: WorkItemResult[Any, Any]) -> Any:
        await self._stop("after")
        return result


class StoppingObserver(Watcher):
    """The same, when an item has succeeded."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        await super().on_event(event, data)
        if event is ProcessingEvent.ITEM_COMPLETED:
            await self._stop("observer")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "place", ["before", "execute", "subtask", "after", "post-processor", "observer", "progress"]
)
def test_whoever_runs_inside_a_batch_may_shut_it_down(place: str, streamed: bool) -> None:
    """Nobody waits for who waits for them: all results are there at once, and each item has one end."""

    async def stop(here: str) -> None:
        if here == place:
            await processor.shutdown()

    async def take_all() -> list[str]:
        async with processor:
            await add(processor, StoppingCalls(stop), *"abcdef")
            if not streamed:
                return [one.item_id for one in (await processor.process_all()).results]
            await processor.start()
            return [one.item_id async for one in processor]

    async def scenario() -> None:
        taken = await asyncio.wait_for(take_all(), 1000)
        assert asyncio.get_running_loop().time() < 5
        assert sorted(taken) == list("abcdef")

    watcher = StoppingObserver(stop)
    processor = Processor(
        config=config(2, progress_interval=1),
        middlewares=[StoppingLayer(stop)],
        observers=[watcher],
        progress_callback=lambda completed, total, item_id: stop("progress"),
        post_processor=lambda result: stop("post-processor"),
    )
    run(scenario())
    assert watcher.ends() == dict.fromkeys("abcdef", 1)


def test_an_exception_that_cannot_say_what_it_is_is_tried_again_as_the_classifier_says() -> None:
    """What its text would raise does not take its place."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("of the text")

    class Hopeful(ErrorClassifier):
        def classify(self, exception: Exception) -> ErrorInfo:
            return ErrorInfo(True, False, False, "mute")

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: MuteError())
        async with Processor(config=config(1), error_classifier=Hopeful()) as processor:
            await add(processor, calls, "a")
            (result,) = (await processor.process_all()).results
        assert result.error == "MuteError: (its text cannot be made)"
        assert len(calls.made) == config().retry.max_attempts

    run(scenario())
