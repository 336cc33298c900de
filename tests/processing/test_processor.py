"""The processor: items in, results out, whatever happens in between."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from contextvars import ContextVar
from typing import Any

import pytest

from spanloom import CallbackManager, EventType, traced, use_callback_manager
from spanloom.processing import (
    BaseMiddleware,
    ErrorClassifier,
    ErrorInfo,
    FrameworkTimeoutError,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    RetryState,
    TokenTrackingError,
    WorkItemResult,
)
from spanloom.testing import capture_events
from tests.processing.work import Calls, Processor, Watcher, add, config, run


def test_items_run_up_to_the_bound_and_one_worker_keeps_their_order() -> None:
    """Results come as items end; the bound is reached and not passed; a ``None`` is a success."""

    async def scenario(workers: int) -> tuple[list[str], int]:
        calls = Calls(lambda prompt, attempt: None)
        async with Processor(config=config(workers)) as processor:
            await add(processor, calls, *"abcdef")
            result = await processor.process_all()
        assert (result.total_items, result.succeeded, result.failed) == (6, 6, 0)
        assert all(one.success and one.output is None for one in result.results)
        return [one.item_id for one in result.results], calls.most

    assert run(scenario(1)) == (list("abcdef"), 1)
    assert run(scenario(4))[1] == 4


def test_a_batch_without_items_is_empty() -> None:
    """There is a result, with nothing in it, and the events of a batch."""
    watcher = Watcher()

    async def scenario() -> None:
        async with Processor(config=config(1), observers=[watcher]) as processor:
            assert (await processor.process_all()).results == []

    run(scenario())
    assert watcher.names() == ["BATCH_STARTED", "WORKER_STARTED", "WORKER_STOPPED", "BATCH_COMPLETED"]


def test_results_can_come_in_input_order() -> None:
    """Also when the first item is the last to end, and without more than a few items being ahead of it."""
    started: list[int] = []

    class Late(Calls):
        async def execute(
            self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
        ) -> Any:
            started.append(int(prompt))
            await asyncio.sleep(100 if prompt == "0" else 1)
            return prompt, {}

    async def scenario() -> list[str]:
        async with Processor(config=config(2), ordered=True) as processor:
            await add(processor, Late(), *map(str, range(40)))
            await processor.start()
            await processor.finish()
            await asyncio.sleep(99)
            assert max(started) < 16
            return [result.item_id async for result in processor]

    assert run(scenario()) == [str(number) for number in range(40)]


def test_a_job_s_event_tells_of_the_item_s_error() -> None:
    """An item is a job of our engine: its attempts and back-offs are events, and its failure is the job's."""

    async def scenario() -> None:
        async with Processor(config=config(1)) as processor:
            await add(processor, Calls(lambda prompt, attempt: ConnectionError("down")), "x")
            await processor.process_all()

    with capture_events() as seen:
        run(scenario())
    assert seen.open == []
    assert [(event.type, event.status) for event in seen.events if event.type != EventType.MARK] == [
        ("attempt", "error"),
        ("backoff", "ok"),
        ("attempt", "error"),
        ("backoff", "ok"),
        ("attempt", "error"),
        ("job", "error"),
        ("batch", "ok"),
    ]
    batch = seen.events[-1]
    assert batch.name == "ParallelBatchProcessor"


def test_attempts_pause_longer_and_longer_but_not_after_a_validation_error() -> None:
    """The pause doubles up to ``max_wait``; an answer of the wrong form is asked for again at once."""

    class ParseError(Exception):
        pass

    async def scenario(error: Exception) -> list[float]:
        calls = Calls(lambda prompt, attempt: error, seconds=0)
        retry = RetryConfig(max_attempts=4, initial_wait=2, max_wait=5, jitter=False)
        async with Processor(config=config(1, retry=retry)) as processor:
            await add(processor, calls, "x")
            result = await processor.process_all()
        assert result.results[0].error == f"{type(error).__name__}: no"
        return [round(later - earlier, 3) for earlier, later in zip(calls.at, calls.at[1:], strict=False)]

    assert run(scenario(ConnectionError("no"))) == [2, 4, 5]
    assert run(scenario(ParseError("no"))) == [0, 0, 0]
    assert run(scenario(ValueError("no"))) == []


def test_an_attempt_has_its_time_and_a_client_s_own_timeout_stays_what_it_is() -> None:
    """What takes too long is cancelled and is a `FrameworkTimeoutError`; another TimeoutError is passed on."""
    errors: list[Exception] = []

    class Hanging(Calls):
        async def on_error(self, exception: Exception, attempt: int, state: RetryState | None = None) -> None:
            errors.append(exception)

    async def scenario(strategy: Calls) -> str | None:
        async with Processor(config=config(1, timeout_per_item=5)) as processor:
            await add(processor, strategy, "x")
            return (await processor.process_all()).results[0].error

    assert (
        run(scenario(Hanging(seconds=60)))
        == "FrameworkTimeoutError: Framework timeout after 5.0s (limit: 5s)"
    )
    assert [type(error) for error in errors] == [FrameworkTimeoutError] * 3
    assert isinstance(errors[0], FrameworkTimeoutError)
    assert (errors[0].item_id, errors[0].timeout_limit) == ("x", 5)
    assert run(scenario(Hanging(lambda *_: TimeoutError("of the client")))) == "TimeoutError: of the client"


def test_a_shared_strategy_is_prepared_once_and_cleaned_up_once() -> None:
    """Equal instances are different ones; clean-up comes at the exit, or with ``shutdown``, and only once."""

    class Equal(Calls):
        __hash__ = None  # type: ignore[assignment]  # of a dataclass with eq=True, for example

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

    async def scenario() -> None:
        one, other, unused = Equal(), Equal(), Equal()
        async with Processor(config=config(4)) as processor:
            await add(processor, one, *"abcdefgh")
            await add(processor, other, *"xy")
            await processor.process_all()
            assert (one.prepared, other.prepared) == (1, 1)
            assert (one.cleaned, other.cleaned) == (0, 0)
            await processor.shutdown()
            assert (one.cleaned, other.cleaned) == (1, 1)
        assert (one.cleaned, other.cleaned, unused.cleaned) == (1, 1, 0)

    run(scenario())


def test_a_preparation_that_fails_fails_its_item_and_the_next_one_tries_again() -> None:
    """Nothing is executed without preparation."""

    class Flaky(Calls):
        async def prepare(self) -> None:
            self.prepared += 1
            if self.prepared == 1:
                raise OSError("not yet")

    async def scenario() -> list[str | None]:
        strategy = Flaky()
        async with Processor(config=config(1)) as processor:
            await add(processor, strategy, "a", "b", "c")
            result = await processor.process_all()
        assert strategy.prepared == 2
        return [one.error for one in result.results]

    assert run(scenario()) == ["OSError: not yet", None, None]


def test_clean_up_and_post_processor_errors_do_not_fail_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    """They are logged, also if one is a CancelledError of its own making; other strategies are cleaned up."""

    class Dirty(Calls):
        async def cleanup(self) -> None:
            raise OSError("stuck")

    async def post(result: WorkItemResult[Any, Any]) -> None:
        raise asyncio.CancelledError if result.item_id == "b" else RuntimeError("no disk")

    async def scenario() -> None:
        clean = Calls()
        async with Processor(config=config(2), post_processor=post) as processor:
            await add(processor, Dirty(), "a")
            await add(processor, clean, "b")
            assert (await processor.process_all()).succeeded == 2
        assert clean.cleaned == 1

    with caplog.at_level(logging.WARNING, "spanloom"):
        run(scenario())
    text = caplog.text
    assert "no disk" in text
    assert "cancelled by itself for b" in text
    assert "cleanup of Dirty failed: stuck" in text


def test_a_post_processor_sees_every_result_and_has_its_time() -> None:
    """Of failed items, too; a function or a coroutine function; one that hangs holds its item up so long only."""

    async def scenario() -> None:
        seen: list[tuple[str, bool]] = []

        async def post(result: WorkItemResult[Any, Any]) -> None:
            seen.append((result.item_id, result.success))
            await asyncio.sleep(1000)

        calls = Calls(lambda prompt, attempt: ValueError() if prompt == "b" else prompt)
        loop = asyncio.get_running_loop()
        async with Processor(config=config(2, post_processor_timeout=7), post_processor=post) as processor:
            await add(processor, calls, "a", "b")
            await processor.process_all()
        assert sorted(seen) == [("a", True), ("b", False)]
        assert loop.time() == pytest.approx(8.1)

    run(scenario())


def test_middleware_wraps_items_like_the_skins_of_an_onion() -> None:
    """Inwards in order, outwards and for errors in reverse; one that raises is passed over; ``None`` skips."""
    order: list[str] = []

    class Layer(BaseMiddleware[str, Any, Any]):
        def __init__(self, name: str) -> None:
            self.name = name

        async def before_process(self, work_item: LLMWorkItem[str, Any, Any]) -> Any:
            order.append(f"{self.name} before")
            if self.name == "raises":
                raise RuntimeError
            if work_item.prompt == "skip":
                return None
            return LLMWorkItem(work_item.item_id, work_item.strategy, work_item.prompt + self.name)

        async def after_process(self, result: WorkItemResult[Any, Any]) -> Any:
            order.append(f"{self.name} after")
            if self.name == "raises":
                raise RuntimeError
            return result

        async def on_error(self, work_item: LLMWorkItem[str, Any, Any], error: Exception) -> Any:
            order.append(f"{self.name} error")
            if self.name == "raises":
                raise RuntimeError
            return WorkItemResult(work_item.item_id, True, "saved") if self.name == "1" else None

    calls = Calls(lambda prompt, attempt: ValueError("no") if "bad" in prompt else prompt)
    watcher = Watcher()

    async def scenario() -> list[WorkItemResult[Any, Any]]:
        layers = [Layer("0"), Layer("1"), Layer("raises"), Layer("2")]
        async with Processor(config=config(1), middlewares=layers, observers=[watcher]) as processor:
            await add(processor, calls, "good", "skip", "bad")
            return (await processor.process_all()).results

    good, skipped, saved = run(scenario())
    assert good.output == "good012"
    assert (skipped.success, skipped.error) == (False, "Skipped by middleware")
    assert (saved.success, saved.output, saved.token_usage["input_tokens"]) == (True, "saved", 0)
    befores = ["0 before", "1 before", "raises before", "2 before"]
    assert order == [
        *befores,
        *("2 after", "raises after", "1 after", "0 after"),
        "0 before",
        *befores,
        *("2 error", "raises error", "1 error"),
    ]
    assert watcher.ends() == {"good": 1, "skip": 1, "bad": 1}
    assert watcher.failures() == {"skip": "Skipped by middleware"}


def test_tokens_of_failed_attempts_are_counted() -> None:
    """Whether the item succeeds in the end or not, cached ones included, in the batch and in the statistics."""

    def answer(prompt: str, attempt: int) -> Any:
        if prompt == "a" and attempt == 3:
            return "at last"
        usage = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150, "cached_input_tokens": 40}
        return TokenTrackingError("unreadable", token_usage=usage)

    async def scenario() -> None:
        async with Processor(config=config(2)) as processor:
            await add(processor, Calls(answer), "a", "b")
            result = await processor.process_all()
            stats = await processor.get_stats()
        assert (result.succeeded, result.failed) == (1, 1)
        assert result.total_input_tokens == 2 * 100 + 10 + 3 * 100
        assert result.total_output_tokens == 2 * 50 + 5 + 3 * 50
        assert result.total_cached_tokens == 5 * 40
        assert result.cache_hit_rate() == pytest.approx(200 / 510 * 100)
        assert result.effective_input_tokens() == 510 - 180
        assert stats["total_input_tokens"] == 510
        assert stats["cached_input_tokens"] == stats["total_cached_tokens"] == 200
        assert stats["error_counts"] == {"TokenTrackingError": 1}

    run(scenario())


def test_the_attempts_of_an_item_share_a_state_and_items_share_none() -> None:
    """What ``on_error`` sets, the next ``execute`` sees; an ``on_error`` that raises changes nothing."""
    seen: list[tuple[str, int]] = []

    class Remembering(LLMCallStrategy[str]):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            seen.append((prompt, state.get("failures", 0)))
            if attempt < 3:
                raise ConnectionError
            return prompt, {}

        async def on_error(self, exception: Exception, attempt: int, state: Any = None) -> None:
            state.set("failures", state.get("failures", 0) + 1)
            raise RuntimeError("and I do not know what to do about it")

    async def scenario() -> int:
        async with Processor(config=config(2)) as processor:
            await add(processor, Remembering(), "a", "b")
            return (await processor.process_all()).succeeded

    assert run(scenario()) == 2
    assert sorted(seen) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]


def test_a_strategy_need_not_take_the_state() -> None:
    """Neither by itself, nor by way of a decorator, a static method, or the class that it derives from."""
    noted: list[tuple[str, int]] = []

    class Plain(LLMCallStrategy[str]):
        async def execute(self, prompt: str, attempt: int, timeout: float) -> Any:  # type: ignore[override] # that is the case
            if attempt < 2:
                raise ConnectionError
            return prompt, {}

        async def on_error(self, exception: Exception, attempt: int) -> None:  # type: ignore[override] # that is the case
            noted.append((type(exception).__name__, attempt))

    class Derived(Plain):
        pass

    class Static(Plain):
        @staticmethod
        async def execute(prompt: str, attempt: int, timeout: float) -> Any:  # type: ignore[override] # that is the case
            return prompt, {}

    class StaticState(LLMCallStrategy[str]):
        @staticmethod
        async def execute(  # type: ignore[override] # that is the case
            prompt: str, attempt: int, timeout: float, state: RetryState | None = None
        ) -> Any:
            assert state is not None
            return prompt, {}

    class Decorated(Plain):
        @traced
        async def execute(self, prompt: str, attempt: int, timeout: float) -> Any:  # type: ignore[override] # that is the case
            return prompt, {}

    class Anything(LLMCallStrategy[str]):
        async def execute(self, *given: Any) -> Any:
            assert isinstance(given[3], RetryState)
            return given[0], {}

    class Wrong(LLMCallStrategy[str]):
        async def execute(self, prompt: str) -> Any:  # type: ignore[override] # that is the case
            return prompt, {}

    kinds = (Plain, Derived, Static, StaticState, Decorated, Anything, Wrong)

    async def scenario() -> dict[str, str | None]:
        async with Processor(config=config(1)) as processor:
            for kind in kinds:
                strategy: Any = kind
                await add(processor, strategy(), kind.__name__)
            return {one.item_id: one.error for one in (await processor.process_all()).results}

    errors = run(scenario())
    assert "takes 2 positional arguments but 5 were given" in str(errors.pop("Wrong"))
    assert set(errors.values()) == {None}
    assert noted == [("ConnectionError", 1), ("ConnectionError", 1)]


def test_context_variables_never_leak_between_items() -> None:
    """Nor from an item to the caller; the caller's own are seen by all items."""
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: list[str] = []

    class Setting(Calls):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            seen.append(user.get())
            user.set(prompt)
            return prompt, {}

    async def scenario() -> None:
        user.set("caller")
        async with Processor(config=config(1)) as processor:
            await add(processor, Setting(), *"abc")
            await processor.process_all()
        assert user.get() == "caller"

    run(scenario())
    assert seen == ["caller"] * 3


def test_a_dry_run_calls_nobody() -> None:
    """The strategy's ``dry_run`` answers instead; a base class answers with a text and made-up tokens."""

    async def scenario() -> WorkItemResult[Any, Any]:
        calls = Calls()
        async with Processor(config=config(1, dry_run=True)) as processor:
            await add(processor, calls, "x")
            result = await processor.process_all()
        assert calls.made == []
        return result.results[0]

    result = run(scenario())
    assert result.output == "[DRY-RUN] Mock output for prompt: x..."
    assert result.token_usage == {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}


@pytest.mark.parametrize("at", [0.05, 0.5, 1.5])
def test_a_cancel_ends_all_items_and_is_raised(at: float) -> None:
    """Each item has one end, also those that never ran; strategies are cleaned up on the way out."""
    watcher = Watcher()
    calls = Calls()

    async def scenario() -> None:
        async with Processor(config=config(2), observers=[watcher]) as processor:
            await add(processor, calls, *"abcdef")
            task = asyncio.create_task(processor.process_all())
            await asyncio.sleep(at)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert calls.running == 0
            stats = await processor.get_stats()
            assert stats["processed"] == stats["succeeded"] + stats["failed"] == 6

    run(scenario())
    assert watcher.ends() == dict.fromkeys("abcdef", 1)
    assert watcher.names()[-1] == "BATCH_COMPLETED"
    assert calls.cleaned == (at > 0.1)


def test_a_strategy_that_raises_cancelled_error_ends_the_batch_and_hangs_nobody() -> None:
    """A cancel is never a result: it is raised, after all items have ended."""
    watcher = Watcher()

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: asyncio.CancelledError() if prompt == "b" else prompt)
        async with Processor(config=config(2), observers=[watcher]) as processor:
            await add(processor, calls, *"abcd")
            with pytest.raises(asyncio.CancelledError):
                await processor.process_all()

    run(scenario())
    assert watcher.ends() == dict.fromkeys("abcd", 1)


def test_shutdown_while_somebody_waits_gives_them_all_results() -> None:
    """Items that were cut off, or never ran, have failed; nothing can be added any more."""

    async def scenario() -> list[str | None]:
        processor = Processor(config=config(2))
        calls = Calls(seconds=10)
        await add(processor, calls, *"abc")
        task = asyncio.create_task(processor.process_all())
        await asyncio.sleep(1)
        await processor.shutdown()
        assert calls.cleaned == 1
        with pytest.raises(RuntimeError, match="Cannot add work after process_all"):
            await add(processor, calls, "late")
        return [one.error for one in (await task).results]

    assert run(scenario()) == ["BatchStoppedError: the processor was shut down"] * 3


def test_errors_and_items_are_freed_without_the_collector() -> None:
    """Nothing that is done is kept alive by itself: not the exception, not the context of the item."""

    class Thing:
        pass

    class LostError(Exception):
        pass

    class Losing(Calls):
        async def execute(self, prompt: str, attempt: int, timeout: float, state: Any = None) -> Any:
            error = LostError("lost")
            refs.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

    refs: list[weakref.ref[Any]] = []

    async def scenario() -> None:
        async with Processor(config=config(2)) as processor:
            await processor.start()
            for number in range(4):
                thing = Thing()
                refs.append(weakref.ref(thing))
                await processor.add_work(LLMWorkItem(str(number), Losing(), context=thing))
            del thing
            await processor.finish()
            async for result in processor:
                assert not result.success
            del result
            assert [ref() for ref in refs] == [None] * (4 + 4 * 3)

    with use_callback_manager(CallbackManager(recorder=0)):
        gc.collect()
        gc.disable()
        try:
            run(scenario())
        finally:
            gc.enable()


def test_what_was_shut_down_calls_nobody() -> None:
    """A `process_all` that comes after it returns, with all items failed."""

    async def scenario() -> None:
        calls = Calls()
        processor = Processor(config=config(1))
        await add(processor, calls, "a", "b")
        await processor.shutdown()
        results = (await processor.process_all()).results
        assert [one.error for one in results] == ["BatchStoppedError: the processor was shut down"] * 2
        assert (calls.made, calls.prepared) == ([], 0)

    run(scenario())


def test_a_post_processor_may_shut_the_processor_down() -> None:
    """It does not wait for itself: what is left fails, and `process_all` returns."""

    async def scenario() -> None:
        async def post(result: WorkItemResult[Any, Any]) -> None:
            await processor.shutdown()

        processor = Processor(config=config(1), post_processor=post)
        await add(processor, Calls(), "a", "b")
        results = (await processor.process_all()).results
        assert [one.success for one in results] == [True, False]
        assert asyncio.get_running_loop().time() == pytest.approx(1.1)

    run(scenario())


def test_a_batch_can_be_cancelled_while_its_listeners_are_told_of_the_end() -> None:
    """They are told no more then; no task is left."""

    class Slow(Watcher):
        async def on_event(self, event: Any, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            await asyncio.sleep(4)

    async def callback(completed: int, total: int, item_id: str) -> None:
        await asyncio.sleep(4)

    async def scenario(**more: Any) -> None:
        async with Processor(config=config(1), **more) as processor:
            await add(processor, Calls(), "a")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(processor.process_all(), 3)

    watcher = Slow()
    run(scenario(observers=[watcher]))
    assert len(watcher.told) < 6
    run(scenario(progress_callback=callback))


def test_a_classifier_that_raises_has_said_no(caplog: pytest.LogCaptureFixture) -> None:
    """The item fails by its own error, without another attempt."""

    class Broken(ErrorClassifier):
        def classify(self, exception: Exception) -> ErrorInfo:
            raise LookupError("never heard of it")

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: ConnectionError("down"))
        async with Processor(config=config(1), error_classifier=Broken()) as processor:
            await add(processor, calls, "a")
            assert (await processor.process_all()).results[0].error == "ConnectionError: down"
        assert len(calls.made) == 1

    run(scenario())
    assert "never heard of it" in caplog.text


def test_a_base_middleware_changes_nothing() -> None:
    """Neither a success nor a failure."""

    async def scenario() -> None:
        calls = Calls(lambda prompt, attempt: ValueError("no") if prompt == "b" else prompt)
        async with Processor(config=config(1), middlewares=[BaseMiddleware(), BaseMiddleware()]) as processor:
            await add(processor, calls, "a", "b")
            results = (await processor.process_all()).results
        assert [(one.output, one.error) for one in results] == [("a", None), (None, "ValueError: no")]

    run(scenario())


def test_a_processor_is_used_once() -> None:
    """A second batch, or an item that comes too late, is an error that says so."""

    async def scenario() -> None:
        async with Processor(config=config(1)) as processor:
            with pytest.raises(RuntimeError, match="has not been started"):
                await anext(processor)
            await processor.process_all()
            with pytest.raises(RuntimeError, match=r"Cannot add work after process_all\(\) has started"):
                await add(processor, Calls(), "x")
            with pytest.raises(RuntimeError, match="runs one batch"):
                await processor.process_all()

    run(scenario())


def test_progress_is_reported_after_each_interval_and_after_the_last_item() -> None:
    """By a coroutine function, in order."""

    async def scenario() -> list[tuple[int, int, str]]:
        reports: list[tuple[int, int, str]] = []

        async def callback(completed: int, total: int, item_id: str) -> None:
            await asyncio.sleep(0.1)
            reports.append((completed, total, item_id))

        async with Processor(config=config(1, progress_interval=3), progress_callback=callback) as processor:
            await add(processor, Calls(), *"abcdefgh")
            await processor.process_all()
        return reports

    assert run(scenario()) == [(3, 8, "c"), (6, 8, "f"), (8, 8, "h")]


def test_a_progress_callback_that_takes_too_long_holds_nothing_up() -> None:
    """It is cancelled, what is old by then is left out, and the last report is made all the same."""

    async def scenario() -> None:
        reports: list[int] = []

        async def callback(completed: int, total: int, item_id: str) -> None:
            reports.append(completed)
            await asyncio.sleep(1000)

        loop = asyncio.get_running_loop()
        one_each = config(1, progress_interval=1, progress_callback_timeout=5)
        async with Processor(config=one_each, progress_callback=callback) as processor:
            await add(processor, Calls(), *"abcdefgh")
            await processor.process_all()
        assert (reports[0], reports[-1]) == (1, 8)
        assert loop.time() <= 8.1 + 2 * 5

    run(scenario())


def test_the_last_report_is_made_even_if_the_callback_was_given_up() -> None:
    """It has taken too long three times in a row; then it is called for the last item only."""

    async def scenario() -> None:
        reports: list[int] = []

        async def callback(completed: int, total: int, item_id: str) -> None:
            reports.append(completed)
            await asyncio.sleep(1000)

        one_each = config(1, progress_interval=1, progress_callback_timeout=5)
        async with Processor(config=one_each, progress_callback=callback) as processor:
            await add(processor, Calls(), *map(str, range(50)))
            await processor.process_all()
        assert len(reports) == 4
        assert reports[-1] == 50
        assert asyncio.get_running_loop().time() == pytest.approx(50.1 + 5)

    run(scenario())


def test_a_function_reports_progress_in_a_thread() -> None:
    """It may block, and it may raise; the loop goes on."""

    async def scenario() -> None:
        reports: list[tuple[int, int, str]] = []

        def callback(completed: int, total: int, item_id: str) -> None:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            reports.append((completed, total, item_id))
            raise OSError("closed")

        async with Processor(config=config(1), progress_callback=callback) as processor:
            await add(processor, Calls(), *"abc")
            assert (await processor.process_all()).succeeded == 3
        assert reports == [(3, 3, "c")]
        late: list[int] = []

        async def note(completed: int) -> None:
            late.append(completed)

        async with Processor(
            config=config(1), progress_callback=lambda completed, total, item_id: note(completed)
        ) as processor:
            await add(processor, Calls(), *"abc")
            await processor.process_all()
        assert late == [3]

    run(scenario())


def test_requests_per_minute_are_bounded() -> None:
    """So many attempts start in any minute, retries included; a rate need not be a whole number."""

    async def starts(rate: float, items: int) -> list[float]:
        calls = Calls(seconds=0)
        async with Processor(config=config(5, max_requests_per_minute=rate)) as processor:
            await add(processor, calls, *map(str, range(items)))
            await processor.process_all()
        return [round(at - calls.at[0], 3) for at in calls.at]

    assert run(starts(2, 5)) == [0, 0, 60, 60, 120]
    assert run(starts(0.5, 3)) == [0, 120, 240]
    assert run(starts(1.9, 3)) == [0, 60, 120]
    assert run(starts(2.9, 5)) == [0, 0, 60, 60, 120]


def test_deprecated_arguments_warn_and_leave_the_caller_s_configuration_alone() -> None:
    """They override what the configuration says, in a copy."""
    given = ProcessorConfig(rate_limit=RateLimitConfig(cooldown_seconds=7))
    with pytest.warns(DeprecationWarning, match="parameter is deprecated") as caught:
        processor = Processor(2, None, 30.0, 9.0, config=given)
    assert [str(one.message).split()[1] for one in caught] == [
        "'max_workers'",
        "'timeout_per_item'",
        "'rate_limit_cooldown'",
    ]
    assert (processor.config.max_workers, processor.config.timeout_per_item) == (2, 30.0)
    assert processor.config.rate_limit.cooldown_seconds == 9.0
    assert (given.max_workers, given.rate_limit.cooldown_seconds) == (5, 7)


@pytest.mark.filterwarnings("ignore:.*parameter is deprecated")
def test_a_deprecated_argument_of_0_is_no_default() -> None:
    """What is out of range is refused, and no pause is no pause."""
    with pytest.raises(ValueError, match="max_workers must be >= 1"):
        Processor(0)
    with pytest.raises(ValueError, match="timeout_per_item must be > 0"):
        Processor(timeout_per_item=0.0)
    assert Processor(rate_limit_cooldown=0.0).config.rate_limit.cooldown_seconds == 0
