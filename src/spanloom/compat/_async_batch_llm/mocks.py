"""A mock agent, for tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from spanloom.compat._async_batch_llm.strategies import PydanticAIStrategy

__all__ = ["MockAgent", "MockResult", "MockUsage", "mock_strategy"]

TOutput = TypeVar("TOutput")

FOREVER_S: Final = 999.0
"""Seconds of a call that is to time out."""
SHOWN: Final = 50
"""Characters of the prompt in the default answer."""


class MockUsage:
    """Tokens of a mock answer.

    Args:
        request_tokens: Of the prompt.
        response_tokens: Of the answer.
    """

    def __init__(self, request_tokens: int = 100, response_tokens: int = 50) -> None:
        self.request_tokens = request_tokens
        self.response_tokens = response_tokens

    @property
    def total_tokens(self) -> int:
        """The sum of both."""
        return self.request_tokens + self.response_tokens


class MockResult(Generic[TOutput]):
    """A mock answer.

    Args:
        output: The output.
        usage_info: The tokens used; by default a `MockUsage`.
    """

    def __init__(self, output: TOutput, usage_info: MockUsage | None = None) -> None:
        self.output = output
        self._usage = usage_info or MockUsage()

    def usage(self) -> MockUsage:
        """Return the tokens."""
        return self._usage

    def all_messages(self) -> list[Any]:
        """Return no messages."""
        return []


class MockAgent(Generic[TOutput]):
    """An agent that answers, fails or is slow as configured.

    Args:
        response_factory: Makes the output of a prompt; by default a dict that repeats it.
        latency: Seconds that each call takes.
        failure_rate: Share of the calls that fail by chance, 0 to 1.
        rate_limit_on_call: Number of the call, from 1, that is refused with an error like Gemini's; ``None`` for none.
        timeout_on_call: Number of the call, from 1, that hangs; ``None`` for none.
        tokens_per_call: ``input_tokens`` and ``output_tokens`` of each answer; by default 10 and 20.
    """

    def __init__(
        self,
        response_factory: Callable[[str], TOutput] | None = None,
        latency: float = 0.1,
        failure_rate: float = 0.0,
        rate_limit_on_call: int | None = None,
        timeout_on_call: int | None = None,
        tokens_per_call: Mapping[str, int] | None = None,
    ) -> None:
        self.response_factory: Callable[[str], Any] = response_factory or _repeat
        self.latency = latency
        self.failure_rate = failure_rate
        self.rate_limit_on_call = rate_limit_on_call
        self.timeout_on_call = timeout_on_call
        self.tokens_per_call: dict[str, int] = dict(
            tokens_per_call or {"input_tokens": 10, "output_tokens": 20}
        )
        self.call_count: int = 0

    async def run(self, prompt: str, **_options: Any) -> MockResult[TOutput]:
        """Return the answer to `prompt`.

        Raises:
            Exception: the call is one that fails.
        """
        self.call_count += 1
        call = self.call_count
        await asyncio.sleep(self.latency)
        if call == self.rate_limit_on_call:
            raise _ClientError("429 RESOURCE_EXHAUSTED")
        if call == self.timeout_on_call:
            await asyncio.sleep(FOREVER_S)
        if random.random() < self.failure_rate:  # noqa: S311 -- a dice, not crypto
            raise _RandomFailureError(f"Random failure on call {call}")
        usage = MockUsage(
            self.tokens_per_call.get("input_tokens", 10), self.tokens_per_call.get("output_tokens", 20)
        )
        return MockResult(self.response_factory(prompt), usage)


def mock_strategy(mock_agent: MockAgent[TOutput]) -> PydanticAIStrategy[TOutput]:
    """Return a strategy that calls `mock_agent`."""
    return PydanticAIStrategy(agent=mock_agent)


def _repeat(prompt: str) -> dict[str, str]:
    return {"response": f"Mock response to: {prompt[:SHOWN]}"}


class _ClientError(Exception):
    """Has the name and text of google-genai's error for a rate limit."""


_ClientError.__name__ = "ClientError"


class _RandomFailureError(Exception):
    """A failure by chance."""
