"""What is checked when it is given: configurations, items, results, classifiers."""

from __future__ import annotations

import logging
import math
import sys
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

from spanloom.processing import (
    BatchResult,
    DefaultErrorClassifier,
    ErrorInfo,
    FixedDelayStrategy,
    FrameworkTimeoutError,
    GuardRails,
    LLMWorkItem,
    MetricsObserver,
    ParallelBatchProcessor,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    RetryState,
    TokenExtractor,
    TokenTrackingError,
    WorkItemResult,
)
from spanloom.processing.result import text_of
from tests.processing.work import Calls, Processor, add, run


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (
            ProcessorConfig,
            {"max_workers": 0},
            "max_workers must be >= 1 (got 0). Set config.max_workers to a positive integer (typical: 5-20).",
        ),
        (
            ProcessorConfig,
            {"max_workers": 2.5},
            "max_workers must be >= 1 (got 2.5). Set config.max_workers to a positive integer (typical: 5-20).",
        ),
        (
            ProcessorConfig,
            {"progress_interval": float("inf")},
            "progress_interval must be >= 1 (got inf). Set config.progress_interval to a positive integer.",
        ),
        (
            ProcessorConfig,
            {"timeout_per_item": 0},
            "timeout_per_item must be > 0 (got 0). Set config.timeout_per_item to a positive number in seconds "
            "(typical: 60-300).",
        ),
        (
            ProcessorConfig,
            {"post_processor_timeout": -1},
            "post_processor_timeout must be > 0 (got -1). Set config.post_processor_timeout to a positive number "
            "in seconds (typical: 30-120).",
        ),
        (
            ProcessorConfig,
            {"progress_interval": 0},
            "progress_interval must be >= 1 (got 0). Set config.progress_interval to a positive integer.",
        ),
        (
            ProcessorConfig,
            {"progress_callback_timeout": 0},
            "progress_callback_timeout must be > 0 (got 0). "
            "Set config.progress_callback_timeout to None to disable or a positive number of seconds.",
        ),
        (
            ProcessorConfig,
            {"max_queue_size": -1},
            "max_queue_size must be >= 0 (got -1). Set config.max_queue_size to 0 for unlimited, or a positive "
            "number to limit queue size.",
        ),
        (
            ProcessorConfig,
            {"max_requests_per_minute": 0},
            "max_requests_per_minute must be > 0 or None (got 0). Set config.max_requests_per_minute to None to "
            "disable proactive rate limiting, or a positive number (typical: 10-500 requests/minute).",
        ),
        (
            RetryConfig,
            {"max_attempts": 0},
            "max_attempts must be >= 1 (got 0). Set retry.max_attempts to a positive integer.",
        ),
        (
            RetryConfig,
            {"initial_wait": 0},
            "initial_wait must be > 0 (got 0). Set retry.initial_wait to a positive number in seconds.",
        ),
        (
            RetryConfig,
            {"max_wait": 0.5},
            "max_wait must be >= initial_wait (got max_wait=0.5, initial_wait=1.0). "
            "Set retry.max_wait to be at least as large as retry.initial_wait.",
        ),
        (
            RetryConfig,
            {"exponential_base": 0.5},
            "exponential_base must be >= 1 (got 0.5). "
            "Set retry.exponential_base to 1.0 or higher (typical values: 2.0-3.0).",
        ),
        (
            RateLimitConfig,
            {"cooldown_seconds": -1},
            "cooldown_seconds must be >= 0 (got -1). Set rate_limit.cooldown_seconds to a non-negative number.",
        ),
        (
            RateLimitConfig,
            {"slow_start_items": -1},
            "slow_start_items must be >= 0 (got -1). "
            "Set rate_limit.slow_start_items to 0 to disable or a positive number.",
        ),
        (
            RateLimitConfig,
            {"slow_start_initial_delay": 0.0},
            "slow_start_initial_delay must be >= slow_start_final_delay (got initial=0.0, final=0.1). "
            "The delay should decrease during slow start, not increase.",
        ),
        (
            RateLimitConfig,
            {"backoff_multiplier": 0.9},
            "backoff_multiplier must be >= 1.0 (got 0.9). "
            "Set rate_limit.backoff_multiplier to 1.0 (no increase) or higher (typical: 1.5-2.0).",
        ),
    ],
)
def test_numbers_are_checked_when_they_are_given_and_when_asked(
    kind: type, given: dict[str, Any], message: str
) -> None:
    """The message says what was given, what is allowed, and what to do."""
    with pytest.raises(ValueError) as caught:
        kind(**given)
    assert str(caught.value) == message
    config = kind()
    for name, value in given.items():
        setattr(config, name, value)
    with pytest.raises(ValueError) as again:
        config.validate()
    assert str(again.value) == message


@pytest.mark.parametrize(
    ("given", "warnings"),
    [
        ({}, []),
        (
            {"max_queue_size": 2},
            ["max_queue_size (2) is less than max_workers (5). This may cause workers to starve"],
        ),
        (
            {"timeout_per_item": 0.5},
            [
                "timeout_per_item (0.5s) is less than retry.initial_wait (1.0s).",
                "timeout_per_item (0.5s) may be too short for retry strategy. With 3 attempts, retry delays "
                "could total up to 3.0s (with jitter, actual delays will be 50-100% of this). "
                "Consider increasing timeout_per_item to at least 6.0s.",
            ],
        ),
        (
            {"retry": RetryConfig(max_attempts=10**12)},  # as good as for ever, and added up at once
            ["With 1000000000000 attempts, retry delays could total up to 59999999999643.0s"],
        ),
        (
            {"max_requests_per_minute": 120.0},
            [
                "max_requests_per_minute (120.0) is less than max_workers (5). At 2.00 requests/second with 5 "
                "workers, workers may frequently wait for rate limit tokens. Consider reducing max_workers to 2"
            ],
        ),
    ],
)
def test_numbers_that_do_not_go_well_together_are_warned_of(
    given: dict[str, Any], warnings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """On a logger of ours, one line each."""
    with caplog.at_level(logging.WARNING, "spanloom"):
        ProcessorConfig(**given)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(warnings)
    assert all(text in record.message for text, record in zip(warnings, caplog.records, strict=True))


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"item_id": ""}, ValueError, "item_id must be a non-empty string (got str: '')"),
        ({"item_id": 7}, ValueError, "item_id must be a non-empty string (got int: 7)"),
        ({"item_id": " \n"}, ValueError, "item_id cannot be whitespace only (got ' \\n')"),
        ({"strategy": None}, ValueError, "strategy must not be None. Pass an LLMCallStrategy instance"),
        ({"prompt": 123}, TypeError, "prompt must be a string (got int: 123)"),
        (
            {"strategy": Calls},
            TypeError,
            "strategy must be an object, not its class: give Calls(...), not Calls",
        ),
    ],
)
def test_an_item_is_checked_when_it_is_made(
    given: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Its id, its strategy, its prompt; the context may be anything."""
    with pytest.raises(kind) as caught:
        LLMWorkItem(**{"item_id": "x", "strategy": Calls(), **given})
    assert str(caught.value).startswith(message)
    assert LLMWorkItem("x", Calls()).prompt == ""


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_result_says_what_an_exception_is() -> None:
    """By type and text, bounded, also if it cannot be made."""
    assert text_of(ValueError("no")) == "ValueError: no"
    assert len(text_of(ValueError("x" * 10_000))) == len("ValueError: ") + 500
    assert text_of(UnspeakableError()) == "UnspeakableError: (its text cannot be made)"


def test_the_numbers_of_a_batch_are_those_of_its_results() -> None:
    """Whatever keys their usages lack."""
    results = [
        WorkItemResult("a", True, token_usage={"input_tokens": 1000, "cached_input_tokens": 500}),
        WorkItemResult("b", False, error="ValueError: no"),
        WorkItemResult("c", True, token_usage={}),
    ]
    batch: BatchResult[Any, Any] = BatchResult(results)
    assert (batch.total_items, batch.succeeded, batch.failed) == (3, 2, 1)
    assert (batch.total_input_tokens, batch.total_output_tokens, batch.total_cached_tokens) == (1000, 0, 500)
    assert (batch.cache_hit_rate(), batch.effective_input_tokens()) == (50.0, 550)
    assert BatchResult[Any, Any]([]).cache_hit_rate() == 0.0


@pytest.mark.parametrize(
    ("error", "category", "retryable", "limited", "late"),
    [
        (Exception("HTTP 429"), "rate_limit", True, True, False),
        (ValueError("Quota exceeded"), "rate_limit", True, True, False),
        (Exception("RESOURCE_EXHAUSTED"), "rate_limit", True, True, False),
        (FrameworkTimeoutError("too long"), "framework_timeout", True, False, True),
        (TimeoutError(), "api_timeout", True, False, True),
        (Exception("read timeout"), "api_timeout", True, False, True),
        (ConnectionResetError(), "connection_error", True, False, False),
        (Exception("Connection refused"), "connection_error", True, False, False),
        (ValueError("x"), "logic_error", False, False, False),
        (KeyError("x"), "logic_error", False, False, False),
        (AssertionError(), "logic_error", False, False, False),
        (RuntimeError("x"), "unknown", True, False, False),
    ],
)
def test_errors_are_classified(
    error: Exception, category: str, retryable: bool, limited: bool, late: bool
) -> None:
    """By type and text."""
    info = DefaultErrorClassifier().classify(error)
    assert (info.error_category, info.is_retryable) == (category, retryable)
    assert (info.is_rate_limit, info.is_timeout) == (limited, late)
    assert info.suggested_wait == (300.0 if limited else None)
    assert info == ErrorInfo(retryable, limited, late, category, info.suggested_wait)


def test_a_validation_error_of_pydantic_is_worth_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it is a ValueError. Pydantic is not imported for that: who has not loaded it has none of its errors."""

    class ValidationError(ValueError):
        pass

    loaded = ModuleType("pydantic_core")
    loaded.ValidationError = ValidationError  # type: ignore[attr-defined]  # pydantic is not a dependency of the tests
    assert DefaultErrorClassifier().classify(ValidationError("x")).error_category == "logic_error"
    monkeypatch.setitem(sys.modules, "pydantic_core", loaded)
    info = DefaultErrorClassifier().classify(ValidationError("x"))
    assert (info.error_category, info.is_retryable) == ("validation_error", True)


def test_a_retry_state_keeps_values_by_name() -> None:
    """It can be asked, changed, and emptied."""
    state = RetryState()
    state.set("a", 1)
    assert (state.get("a"), state.get("b"), state.get("b", 2)) == (1, None, 2)
    assert ("a" in state, "b" in state, repr(state)) == (True, False, "RetryState({'a': 1})")
    state.delete("a")
    state.delete("a")
    with pytest.raises(KeyError):
        state.delete("a", raise_if_missing=True)
    state.set("c", 3)
    state.clear()
    assert "c" not in state


class Usage:
    request_tokens = 7
    response_tokens = "3"
    total_tokens = None


class FailedError(Exception):
    usage: Any = None


def test_tokens_of_a_failed_call_are_found_where_clients_keep_them(caplog: pytest.LogCaptureFixture) -> None:
    """In the exception, in its cause's result, or where a strategy has put them; a broken shape counts as none."""
    extract = TokenExtractor().extract_from_exception
    nothing = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens", "cached_input_tokens"), 0)
    assert extract(ValueError()) == nothing
    error = FailedError()
    error.usage = Usage()
    assert extract(error) == nothing | {"input_tokens": 7, "output_tokens": 3}
    error.usage = lambda: {"input_tokens": 5, "cached_input_tokens": 2}
    assert extract(error) == nothing | {"input_tokens": 5, "cached_input_tokens": 2}
    outer, inner = ValueError(), ValueError()
    inner.result = error  # type: ignore[attr-defined]  # as pydantic-ai does
    outer.__cause__ = inner
    assert extract(outer)["input_tokens"] == 5
    assert extract(TokenTrackingError("x", token_usage={"output_tokens": 4}))["output_tokens"] == 4
    error.usage = lambda: 1 / 0
    with caplog.at_level(logging.DEBUG, "spanloom"):
        assert extract(error) == nothing
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "token usage" in caplog.text
    total: dict[str, int] = {}
    TokenExtractor.accumulate(total, {"input_tokens": 2})
    TokenExtractor.accumulate(total, {"input_tokens": 3, "total_tokens": 3})
    assert total == nothing | {"input_tokens": 5, "total_tokens": 3}


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (ProcessorConfig, {"timeout_per_item": "60"}, r"timeout_per_item must be > 0 \(got '60'\)"),
        (ProcessorConfig, {"max_workers": "5"}, r"max_workers must be >= 1 \(got '5'\)"),
        (
            ProcessorConfig,
            {"max_requests_per_minute": math.inf},
            r"max_requests_per_minute must be .*\(got inf\)",
        ),
        (RetryConfig, {"initial_wait": None}, r"initial_wait must be > 0 \(got None\)"),
        (RetryConfig, {"max_wait": [9]}, r"\(got max_wait=\[9\], initial_wait=1.0\)"),
        (RateLimitConfig, {"cooldown_seconds": math.inf}, r"cooldown_seconds must be >= 0 \(got inf\)"),
        (
            RateLimitConfig,
            {"slow_start_final_delay": -0.1},
            r"slow_start_final_delay must be >= 0 \(got -0.1\)",
        ),
        (RateLimitConfig, {"slow_start_initial_delay": "2"}, r"\(got initial='2', final=0.1\)"),
    ],
)
def test_what_is_no_number_is_told_as_it_was_given(kind: Any, given: dict[str, Any], message: str) -> None:
    """With its name, as one that is out of range is: Python alone would only say that a str is not compared."""
    with pytest.raises(ValueError, match=message):
        kind(**given)


@pytest.mark.parametrize("given", [{"retry": None}, {"retry": 5}, {"rate_limit": RetryConfig()}])
def test_a_part_of_a_configuration_is_one(given: Any) -> None:
    """What stands there instead is told, with what is to."""
    (name,) = given
    with pytest.raises(TypeError, match=rf"{name} must be a R\w+Config \(got .*\). Leave it out"):
        ProcessorConfig(**given)


class Three:
    """A whole number of somebody else's, as NumPy's are."""

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize("more", [{}, {"max_requests_per_minute": Decimal("60.5")}])
def test_numbers_of_others_are_as_good(more: dict[str, Any]) -> None:
    """What is no int or float of Python's becomes one: neither a loop nor a limiter would take it."""
    three: Any = Three()
    half: Any = Decimal("0.5")
    reports: list[int] = []

    async def main() -> list[bool]:
        processor: Processor = ParallelBatchProcessor(
            config=ProcessorConfig(
                max_workers=three,
                max_queue_size=three,
                progress_interval=three,
                timeout_per_item=8 * half,
                post_processor_timeout=half,
                progress_callback_timeout=half,
                retry=RetryConfig(three, half, 4 * half, 4 * half),
                rate_limit=RateLimitConfig(half, three, half, half, 4 * half),
                **more,
            ),
            guard_rails=GuardRails(item_timeout=200 * half, batch_timeout=400 * half),
            post_processor=lambda result: None,
            progress_callback=progress,
        )
        async with processor:
            await add(
                processor,
                Calls(lambda prompt, attempt: ConnectionError() if attempt < 3 else attempt),
                "a",
                "b",
            )
            await add(
                processor, Calls(lambda prompt, attempt: RuntimeError("429") if attempt < 3 else 1), "c"
            )
            return [result.success for result in (await processor.process_all()).results]

    async def progress(completed: int, total: int, item_id: str) -> None:
        reports.append(completed)

    assert run(main()) == [True] * 3
    assert reports == [3]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (ProcessorConfig, {"max_workers": True}),
        (ProcessorConfig, {"timeout_per_item": True}),
        (RetryConfig, {"max_attempts": True}),
        (RateLimitConfig, {"slow_start_items": False}),
    ],
)
def test_truth_values_are_no_numbers(kind: Any, given: dict[str, Any]) -> None:
    """They are told as they were given, and not by the runner, later."""
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=rf"{name} must be .*\(got {value}\)"):
        kind(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"error_classifier": 5},
            r"error_classifier must be like ErrorClassifier, and lacks classify \(got 5\)",
        ),
        (
            {"error_classifier": DefaultErrorClassifier},
            r"give DefaultErrorClassifier\(...\), not DefaultErrorC",
        ),
        (
            {"rate_limit_strategy": object()},
            "be like RateLimitStrategy, and lacks on_rate_limit and should_apply_slow_start",
        ),
        ({"observers": MetricsObserver()}, "observers must be a list of ProcessorObserver objects, or None"),
        ({"observers": [MetricsObserver]}, r"observers\[0\] must be an object, not its class"),
        (
            {"observers": [MetricsObserver(), None]},
            r"observers\[1\] must be like ProcessorObserver \(got None\)",
        ),
        ({"middlewares": "ab"}, r"middlewares must be a list of Middleware objects, or None \(got 'ab'\)"),
        (
            {"middlewares": [object()]},
            r"middlewares\[0\] must be like Middleware, and lacks before_process and after_proc",
        ),
        ({"post_processor": "log"}, r"post_processor must be a function, or None \(got 'log'\)"),
        ({"progress_callback": 1}, r"progress_callback must be a function, or None \(got 1\)"),
    ],
)
def test_parts_of_a_processor_are_checked_when_they_are_given(given: dict[str, Any], message: str) -> None:
    """A part that cannot do its work would be logged with each item, or when the first one fails, or never."""
    with pytest.raises(TypeError, match=message):
        ParallelBatchProcessor(**given)


def test_parts_are_taken_for_what_they_can() -> None:
    """Of whatever class they are, and also where they count as false."""

    class Classifier(DefaultErrorClassifier):
        def __len__(self) -> int:
            return 0

    class Strategy(FixedDelayStrategy):
        def __bool__(self) -> bool:
            return False

    class Observer:
        async def on_event(self, event: object, data: object) -> None: ...

    classifier, strategy, observer = Classifier(), Strategy(), Observer()
    processor: Processor = ParallelBatchProcessor(
        error_classifier=classifier,
        rate_limit_strategy=strategy,
        observers=(observer,),  # type: ignore[arg-type]  # it is one, but for its class
    )
    assert processor.error_classifier is classifier
    assert processor.rate_limit_strategy is strategy
