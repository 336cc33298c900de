"""Strategies that call a pydantic-ai agent, or a model of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast, overload

from spanloom.compat._async_batch_llm.models import LLMModel, LLMResponse, ManagedLLMModel
from spanloom.processing import LLMCallStrategy, RetryState, TokenTrackingError, TokenUsage

__all__ = ["GeminiStrategy", "PydanticAIStrategy"]

TOutput = TypeVar("TOutput")


class _Agent(Protocol):
    async def run(self, prompt: str) -> Any: ...  # pydantic-ai's AgentRunResult, or what looks like it


class PydanticAIStrategy(LLMCallStrategy[TOutput]):
    """Runs an agent for each attempt.

    Args:
        agent: A pydantic-ai ``Agent``, or anything with an async ``run(prompt)`` whose result has ``output`` and
            ``usage()``.
    """

    def __init__(self, agent: _Agent) -> None:
        self.agent = agent

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[TOutput, TokenUsage]:
        """Run the agent. The error of an output that does not validate carries the tokens of the call."""
        result = await self.agent.run(prompt)
        usage = _usage_of(result.usage())
        try:
            return cast("TOutput", result.output), usage
        except Exception as error:
            tracked = _with_tokens(error, usage)
            if tracked is error:
                raise
            raise tracked from error

    async def dry_run(self, prompt: str) -> tuple[TOutput, TokenUsage]:
        """Return an empty instance of the agent's pydantic model; a text if it has none."""
        wanted = getattr(self.agent, "result_type", None) or getattr(self.agent, "output_type", None)
        base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
        if not (base is not None and isinstance(wanted, type) and issubclass(wanted, base)):
            return await super().dry_run(prompt)
        words = len(prompt.split())
        answer = cast("TOutput", cast("Any", wanted).model_construct())
        return answer, {"input_tokens": words, "output_tokens": 50, "total_tokens": words + 50}


class GeminiStrategy(LLMCallStrategy[TOutput]):
    """Asks a model and parses its answer.

    Args:
        model: Any `LLMModel`; one with ``prepare`` and ``cleanup`` is prepared and cleaned up with the strategy.
        response_parser: Makes the output of the answer; ``None`` for its text.
        temperature: Temperature of each call.
    """

    @overload
    def __init__(
        self: GeminiStrategy[str], model: LLMModel, response_parser: None = None, *, temperature: float = 0.0
    ) -> None: ...

    @overload
    def __init__(
        self, model: LLMModel, response_parser: Callable[[LLMResponse], TOutput], *, temperature: float = 0.0
    ) -> None: ...

    def __init__(
        self,
        model: LLMModel,
        response_parser: Callable[[LLMResponse], TOutput] | None = None,
        *,
        temperature: float = 0.0,
    ) -> None:
        self.model = model
        self.response_parser: Callable[[LLMResponse], TOutput] = response_parser or _text
        self.temperature = temperature

    async def prepare(self) -> None:
        """Prepare the model, if it has something to prepare."""
        if isinstance(self.model, ManagedLLMModel):
            await self.model.prepare()

    async def cleanup(self) -> None:
        """Clean up the model, if it has something to clean up."""
        if isinstance(self.model, ManagedLLMModel):
            await self.model.cleanup()

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[TOutput, TokenUsage]:
        """Ask the model. The error of an answer that cannot be parsed carries the tokens of the call."""
        response = await self.model.generate(prompt, temperature=self.temperature)
        usage = response.token_usage
        try:
            return self.response_parser(response), usage
        except Exception as error:
            tracked = _with_tokens(error, usage)
            if tracked is error:
                raise
            raise tracked from error


def _text(response: LLMResponse) -> Any:  # the output type is str then, as the overload says
    return response.text


def _usage_of(usage: Any) -> TokenUsage:  # pydantic-ai's RunUsage, whose names have changed between versions
    def count(*names: str) -> int:
        return int(next((value for name in names if (value := getattr(usage, name, None))), 0) or 0)

    tokens: TokenUsage = {
        "input_tokens": count("request_tokens", "input_tokens"),
        "output_tokens": count("response_tokens", "output_tokens"),
        "total_tokens": count("total_tokens"),
    }
    cached = count("cache_read_tokens")
    if cached:
        tokens["cached_input_tokens"] = cached
    return tokens


def _with_tokens(error: Exception, usage: TokenUsage) -> Exception:
    """Return `error` with the tokens of its call where `TokenExtractor` looks for them.

    It may be changed, as the call has just raised it and nobody else has it; one without attributes is wrapped.
    """
    try:
        error.__dict__["_failed_token_usage"] = usage
    except AttributeError:
        return TokenTrackingError(str(error), token_usage=cast("dict[str, int]", usage))
    return error
