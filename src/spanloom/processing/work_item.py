"""The input of a processor: one prompt, and the strategy that makes its calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from spanloom.processing.call_strategy import LLMCallStrategy

__all__ = ["LLMWorkItem"]

TInput = TypeVar("TInput")
TOutput = TypeVar("TOutput")
TContext = TypeVar("TContext")

SHOWN: Final = 80
"""Characters of a wrong prompt that its error message shows."""


@dataclass
class LLMWorkItem(Generic[TInput, TOutput, TContext]):
    """One item of a batch.

    Attributes:
        item_id: Name of the item in results, events and progress; not blank. Nothing checks that it is unique.
        strategy: Makes the calls. One instance may be shared by any number of items: it is prepared once.
        prompt: The text to call it with.
        context: Anything; it comes back with the result, and no part of spanloom looks at it.

    Raises:
        ValueError: `item_id` is not a str, or blank, or there is no strategy.
        TypeError: `strategy` is a class instead of an instance, or `prompt` is not a str.
    """

    item_id: str
    strategy: LLMCallStrategy[TOutput]
    prompt: str = ""
    context: TContext | None = None

    def __post_init__(self) -> None:
        given: object = self.item_id
        if not isinstance(given, str) or not given:
            raise ValueError(
                f"item_id must be a non-empty string (got {type(given).__name__}: {given!r}). "
                f"Provide a unique string identifier for this work item."
            )
        if not given.strip():
            raise ValueError(
                f"item_id cannot be whitespace only (got {given!r}). "
                f"Provide a non-whitespace string identifier."
            )
        strategy: object = self.strategy
        if strategy is None:
            raise ValueError(
                "strategy must not be None. Pass an LLMCallStrategy instance (e.g., PydanticAIStrategy, "
                "GeminiStrategy, or your custom subclass)."
            )
        if isinstance(strategy, type):
            raise TypeError(
                f"strategy must be an object, not its class: give {strategy.__name__}(...), not {strategy.__name__}"
            )
        prompt: object = self.prompt
        if not isinstance(prompt, str):
            raise TypeError(
                f"prompt must be a string (got {type(prompt).__name__}: {repr(prompt)[:SHOWN]}). "
                f"If you need to pass structured data, serialize it to a string first."
            )
