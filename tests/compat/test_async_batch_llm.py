"""The facade of async-batch-llm: its names, and what is beside the processor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spanloom.compat import async_batch_llm as facade
from spanloom.compat.async_batch_llm import (
    ExponentialBackoffStrategy,
    GeminiErrorClassifier,
    GeminiStrategy,
    LLMResponse,
    LLMWorkItem,
    MockAgent,
    MockResult,
    MockUsage,
    ParallelBatchProcessor,
    ProcessorConfig,
    PydanticAIStrategy,
    RetryConfig,
    SimpleBatchProcessor,
    SimpleResult,
    SimpleWorkItem,
    TokenTrackingError,
    mock_strategy,
)
from tests.processing.work import run

RELEASED = """
BatchProcessor BatchResult LLMWorkItem PostProcessorFunc ProcessingStats ProgressCallbackFunc RetryState TokenUsage
WorkItemResult ProcessorConfig RateLimitConfig RetryConfig GeminiStrategy LLMCallStrategy PydanticAIStrategy
GeminiModel GeminiCachedModel LLMModel LLMResponse ManagedLLMModel ErrorClassifier ErrorInfo DefaultErrorClassifier
FrameworkTimeoutError TokenTrackingError RateLimitStrategy ExponentialBackoffStrategy FixedDelayStrategy Middleware
BaseMiddleware ProcessorObserver BaseObserver MetricsObserver ProcessingEvent GeminiErrorClassifier
ParallelBatchProcessor SimpleBatchProcessor SimpleWorkItem SimpleResult
"""
"""What version 0.8.0 exports."""


def test_every_released_name_is_there() -> None:
    """So that changing the import is enough; the helpers for tests come from the same module."""
    assert set(RELEASED.split()) <= set(facade.__all__)
    assert {"MockAgent", "MockResult", "MockUsage", "TokenExtractor"} <= set(facade.__all__)
    assert {"AgentLike", "ResultLike", "UsageLike"} <= set(facade.__all__)


def test_the_generic_names_can_be_subscripted_and_called() -> None:
    """With three, two or one types, as users' annotations have them."""
    agent: facade.AgentLike[str] = MockAgent(response_factory=str.upper)
    strategy = PydanticAIStrategy[str](agent)
    assert isinstance(mock_strategy(MockAgent()), PydanticAIStrategy)
    item: Any = SimpleWorkItem[str]("x", strategy, "hello")
    assert isinstance(item, LLMWorkItem)
    assert isinstance(SimpleBatchProcessor[str](config=ProcessorConfig()), ParallelBatchProcessor)
    assert SimpleResult[str]("x", True, "y").output == "y"
    assert facade.PostProcessorFunc[str, None] is not None
    assert ParallelBatchProcessor[str, int, None](config=ProcessorConfig()).max_workers == 5


def test_a_program_for_the_package_runs() -> None:
    """An agent that is refused once, late once and wrong now and then, with the tokens of its answers."""
    agent = MockAgent(
        response_factory=str.upper,
        latency=1,
        rate_limit_on_call=2,
        timeout_on_call=4,
        tokens_per_call={"input_tokens": 7, "output_tokens": 3},
    )

    async def scenario() -> None:
        config = ProcessorConfig(max_workers=2, timeout_per_item=30, retry=RetryConfig(max_attempts=3))
        waiting = ExponentialBackoffStrategy(initial_cooldown=5, slow_start_items=0)
        async with ParallelBatchProcessor[str, str, None](
            config=config, rate_limit_strategy=waiting
        ) as processor:
            for letter in "abcdef":
                await processor.add_work(LLMWorkItem(letter, PydanticAIStrategy(agent=agent), letter))
            result = await processor.process_all()
        assert sorted(one.output or "" for one in result.results) == list("ABCDEF")
        assert (result.total_input_tokens, result.total_output_tokens) == (42, 18)
        assert agent.call_count == 8
        assert (await processor.get_stats())["rate_limit_count"] == 1

    run(scenario())


def test_a_made_up_answer_has_tokens() -> None:
    """Those it is given, or some."""
    assert (MockUsage().total_tokens, MockUsage(1, 2).total_tokens) == (150, 3)
    assert MockResult("x").usage().request_tokens == 100
    assert MockResult("x", MockUsage(4, 5)).usage().response_tokens == 5
    assert MockResult("x").all_messages() == []


def test_a_mock_agent_fails_by_chance() -> None:
    """Always, if that is its rate; and answers with the prompt if it is told nothing else."""

    async def scenario() -> None:
        with pytest.raises(Exception, match="Random failure on call 1"):
            await MockAgent(failure_rate=1.0).run("x")
        answer = await MockAgent().run("x", model="any")
        assert answer.output == {"response": "Mock response to: x"}

    run(scenario())


class Unreadable:
    """An answer whose output does not validate."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def usage(self) -> MockUsage:
        return MockUsage(11, 4)

    @property
    def output(self) -> str:
        raise self._error


def test_an_answer_that_does_not_validate_takes_its_tokens_along() -> None:
    """They are counted for each attempt, and the exception is the one that was raised."""

    class Agent:
        async def run(self, prompt: str) -> Any:
            return Unreadable(ConnectionError("broken"))

    async def scenario() -> None:
        config = ProcessorConfig(max_workers=1, retry=RetryConfig(max_attempts=2))
        async with ParallelBatchProcessor[str, Any, None](config=config) as processor:
            await processor.add_work(LLMWorkItem("x", PydanticAIStrategy(agent=Agent()), "x"))
            result = await processor.process_all()
        assert result.results[0].error == "ConnectionError: broken"
        assert (result.total_input_tokens, result.total_output_tokens) == (22, 8)

    run(scenario())


class Model:
    """A model with something to prepare."""

    def __init__(self) -> None:
        self.prepared = self.cleaned = 0

    async def prepare(self) -> None:
        self.prepared += 1

    async def cleanup(self) -> None:
        self.cleaned += 1

    async def generate(self, prompt: str | list[Any], **options: Any) -> LLMResponse:
        assert options == {"temperature": 0.5}
        return LLMResponse(f"<{prompt}>", 10, 5, 15, cached_input_tokens=8)


def test_a_model_is_prepared_asked_and_cleaned_up_with_its_strategy() -> None:
    """The parser gets the whole answer; without one, the output is its text."""

    async def scenario() -> None:
        model = Model()
        plain: GeminiStrategy[str] = GeminiStrategy(model, temperature=0.5)
        parsing = GeminiStrategy(model, lambda response: response.total_tokens, temperature=0.5)
        async with ParallelBatchProcessor[str, Any, None](config=ProcessorConfig(max_workers=1)) as processor:
            await processor.add_work(LLMWorkItem("a", plain, "a"))
            await processor.add_work(LLMWorkItem("b", parsing, "b"))
            result = await processor.process_all()
        assert [one.output for one in result.results] == ["<a>", 15]
        assert result.total_cached_tokens == 16
        assert (model.prepared, model.cleaned) == (2, 2)

    run(scenario())


def test_an_answer_that_cannot_be_parsed_takes_its_tokens_along() -> None:
    """In the very exception that the parser raised."""

    def parse(response: LLMResponse) -> int:
        return int(response.text)

    async def scenario() -> None:
        with pytest.raises(ValueError, match="invalid literal") as caught:
            await GeminiStrategy(Model(), parse, temperature=0.5).execute("a", 1, 1.0)
        assert caught.value.__dict__["_failed_token_usage"]["cached_input_tokens"] == 8
        assert caught.value.__cause__ is None

    run(scenario())


def named(module: str, name: str) -> type[Exception]:
    """Return a class that is called like one of a client's, which need not be installed."""
    return type(name, (Exception,), {"__module__": module})


def of_google(name: str) -> type[Exception]:
    """Return a class that is called like one of google-genai."""
    return named("google.genai.errors", name)


@pytest.mark.parametrize(
    ("error", "category", "retryable"),
    [
        (Exception("429 RESOURCE_EXHAUSTED"), "rate_limit", True),
        (of_google("ClientError")("429 quota"), "rate_limit", True),
        (of_google("ClientError")("400 bad request"), "client_error", True),
        (of_google("ServerError")("504 deadline exceeded"), "server_timeout", True),
        (of_google("ServerError")("500 internal"), "server_error", False),
        (Exception("504 Gateway Timeout"), "timeout", True),
        (facade.FrameworkTimeoutError("too long"), "framework_timeout", True),
        (named("pydantic_ai.exceptions", "UnexpectedModelBehavior")("x"), "validation_error", True),
        (ValueError("x"), "logic_error", False),
        (Exception("x"), "unknown", True),
    ],
)
def test_errors_of_gemini_are_classified_without_its_client(
    error: Exception, category: str, retryable: bool
) -> None:
    """By the names of their classes, and by their texts."""
    info = GeminiErrorClassifier().classify(error)
    assert (info.error_category, info.is_retryable) == (category, retryable)
    assert info.is_rate_limit == (category == "rate_limit")
    assert info.is_timeout == ("timeout" in category)


def test_an_error_keeps_the_tokens_it_is_given() -> None:
    """Where `TokenExtractor` finds them; none by default."""
    usage = facade.TokenExtractor().extract_from_exception
    assert usage(TokenTrackingError("x", token_usage={"total_tokens": 150}))["total_tokens"] == 150
    assert usage(TokenTrackingError("x"))["total_tokens"] == 0


def test_a_dry_run_of_an_agent_answers_in_words_where_there_is_no_model_class() -> None:
    """As the base class does."""
    answer, usage = asyncio.run(mock_strategy(MockAgent()).dry_run("two words"))
    assert "[DRY-RUN]" in str(answer)
    assert usage["total_tokens"] == 150
