"""How one call of a model is made: the part of a batch that its user writes."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from spanloom.processing.retry_state import RetryState
from spanloom.processing.tokens import TokenUsage

__all__ = ["LLMCallStrategy", "takes_state"]

TOutput = TypeVar("TOutput")

SHOWN: Final = 50
"""Characters of the prompt in the answer of a dry run."""
BEFORE_STATE: Final = {"execute": 3, "on_error": 2}
"""Number of arguments before `state`, by method."""


class LLMCallStrategy(ABC, Generic[TOutput]):
    """Makes the calls for the items that name it.

    The processor awaits `prepare` once for each instance, before its first item; `execute` for each attempt;
    `on_error` after each that failed; and `cleanup` once for each instance that was prepared, when the processor
    is left or shut down. Each item has a task and a context of its own, so what `execute` sets in a
    context variable is not seen by the next item; what `prepare` sets is seen by one item only.

    An `execute` or `on_error` without the parameter `state` is called without it.
    """

    _without_state: ClassVar[frozenset[str]] = frozenset()
    """Methods that do not take `state`."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._without_state = frozenset(
            name for name, before in BEFORE_STATE.items() if _is_without_state(cls, name, before)
        )

    async def prepare(self) -> None:
        """Get ready. If this raises, the item fails, and the next item tries again."""

    @abstractmethod
    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[TOutput, TokenUsage]:
        """Make one call.

        Args:
            prompt: The item's prompt.
            attempt: Number of the attempt, from 1.
            timeout: Seconds after which the processor cancels the call.
            state: Values shared by the attempts of this item.

        Returns:
            The output, and the tokens that the call used.
        """

    async def cleanup(self) -> None:
        """Release what `prepare` acquired. An `Exception` is logged and otherwise ignored."""

    async def on_error(self, exception: Exception, attempt: int, state: RetryState | None = None) -> None:
        """React to a failed attempt, before the next one. An `Exception` is logged and otherwise ignored.

        Args:
            exception: What `execute` raised, or the timeout.
            attempt: Number of the attempt, from 1.
            state: Values shared by the attempts of this item.
        """

    async def dry_run(self, prompt: str) -> tuple[TOutput, TokenUsage]:
        """Return an answer without a call, for ``ProcessorConfig(dry_run=True)``."""
        answer = f"[DRY-RUN] Mock output for prompt: {prompt[:SHOWN]}..."
        return cast("TOutput", answer), {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}


def takes_state(strategy: LLMCallStrategy[Any], method: str) -> bool:
    """Return whether `method` of `strategy` takes the argument `state`.

    Args:
        strategy: Any object used as a strategy.
        method: ``execute`` or ``on_error``.
    """
    without: frozenset[str] = getattr(type(strategy), "_without_state", frozenset())
    return method not in without


def _is_without_state(kind: type, method: str, before: int) -> bool:
    is_plain = not isinstance(inspect.getattr_static(kind, method), (staticmethod, classmethod))
    given = [None] * (before + is_plain)  # with self
    try:
        signature = inspect.signature(getattr(kind, method))
        signature.bind(*given)  # if it fits neither way, the call itself says what is wrong
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(*given, None)
    except TypeError:
        return True
    return False
