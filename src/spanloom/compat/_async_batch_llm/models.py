"""The protocol of a model, as strategies call it, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from spanloom.processing.tokens import TokenUsage

__all__ = ["LLMModel", "LLMResponse", "ManagedLLMModel"]


@dataclass
class LLMResponse:
    """The answer of a model, whoever provides it.

    Attributes:
        text: The text of the answer.
        input_tokens, output_tokens, total_tokens: Tokens used.
        cached_input_tokens: Input tokens that came from a cache.
        metadata: Further data from the provider; ``None`` for none.
        raw: The provider's own object.
    """

    text: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int = 0
    metadata: dict[str, Any] | None = None
    raw: Any = None  # of a type that only the provider's client knows

    @property
    def token_usage(self) -> TokenUsage:
        """The tokens as a strategy returns them."""
        usage: TokenUsage = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
        }
        if self.cached_input_tokens:
            usage["cached_input_tokens"] = self.cached_input_tokens
        return usage


@runtime_checkable
class LLMModel(Protocol):
    """A model that can be asked."""

    async def generate(
        self,
        prompt: str | list[Any],
        *,
        temperature: float = 0.0,
        system_instruction: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> LLMResponse:
        """Return the answer to `prompt`.

        Args:
            prompt: A text, or a list of parts with other media.
            temperature: 0 for the least random answer.
            system_instruction: Replaces the model's own; ``None`` to keep that.
            config: Further options of the provider's client.
        """


@runtime_checkable
class ManagedLLMModel(LLMModel, Protocol):
    """A model with resources to prepare and to clean up."""

    async def prepare(self) -> None:
        """Get ready; may be called again."""

    async def cleanup(self) -> None:
        """Clean up; may be called again."""
