"""Layers that may change an item before its calls, and its result after them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from spanloom.processing.result import WorkItemResult
from spanloom.processing.tokens import readable_usage
from spanloom.processing.work_item import LLMWorkItem

__all__ = ["BaseMiddleware", "Middleware", "MiddlewareChain"]

_log = logging.getLogger(__name__)

TInput = TypeVar("TInput")
TOutput = TypeVar("TOutput")
TContext = TypeVar("TContext")


class Middleware(ABC, Generic[TInput, TOutput, TContext]):
    """One layer around each item: the first of a processor's list is the outermost.

    Each method is awaited at most once per item, however many attempts it takes. One that raises an `Exception`, or
    returns the wrong type, is logged and skipped.
    """

    @abstractmethod
    async def before_process(
        self, work_item: LLMWorkItem[TInput, TOutput, TContext]
    ) -> LLMWorkItem[TInput, TOutput, TContext] | None:
        """Return the item to process, this one or another; ``None`` to skip it."""

    @abstractmethod
    async def after_process(
        self, result: WorkItemResult[TOutput, TContext]
    ) -> WorkItemResult[TOutput, TContext]:
        """Return the result of a successful item, as given or changed."""

    @abstractmethod
    async def on_error(
        self, work_item: LLMWorkItem[TInput, TOutput, TContext], error: Exception
    ) -> WorkItemResult[TOutput, TContext] | None:
        """Return the result of an item that has failed for good; ``None`` to leave that to the next layer."""


class BaseMiddleware(Middleware[TInput, TOutput, TContext]):
    """A layer that changes nothing: for subclasses that need one method only."""

    async def before_process(
        self, work_item: LLMWorkItem[TInput, TOutput, TContext]
    ) -> LLMWorkItem[TInput, TOutput, TContext] | None:
        """Return the item."""
        return work_item

    async def after_process(
        self, result: WorkItemResult[TOutput, TContext]
    ) -> WorkItemResult[TOutput, TContext]:
        """Return the result."""
        return result

    async def on_error(
        self, work_item: LLMWorkItem[TInput, TOutput, TContext], error: Exception
    ) -> WorkItemResult[TOutput, TContext] | None:
        """Return ``None``."""
        return None


class MiddlewareChain:
    """All layers: inwards in order, outwards in reverse.

    Args:
        layers: From the outermost to the innermost.
    """

    def __init__(self, layers: Sequence[Middleware[Any, Any, Any]]) -> None:
        self._layers = layers

    async def before(self, item: LLMWorkItem[Any, Any, Any]) -> LLMWorkItem[Any, Any, Any] | None:
        """Return the item to process; ``None`` to skip it."""
        for layer in self._layers:
            try:
                changed = await layer.before_process(item)
            except Exception:  # noqa: BLE001 -- a layer must not fail the item
                _passed_over(layer, "before_process")
                continue
            if changed is None:
                return None
            if _is_a(LLMWorkItem, changed, layer, "before_process"):
                item = changed
        return item

    async def after(self, result: WorkItemResult[Any, Any]) -> WorkItemResult[Any, Any]:
        """Return the result of a successful item."""
        for layer in reversed(self._layers):
            try:
                changed = await layer.after_process(result)
            except Exception:  # noqa: BLE001 -- the same
                _passed_over(layer, "after_process")
                continue
            if _is_a(WorkItemResult, changed, layer, "after_process"):
                result = _readable(changed, layer)
        return result

    async def recover(
        self, item: LLMWorkItem[Any, Any, Any], error: Exception
    ) -> WorkItemResult[Any, Any] | None:
        """Return the first result that a layer's ``on_error`` gives, the innermost first; ``None`` without one."""
        for layer in reversed(self._layers):
            try:
                result: WorkItemResult[Any, Any] | None = await layer.on_error(item, error)
            except Exception:  # noqa: BLE001 -- the same
                _passed_over(layer, "on_error")
                continue
            if result is not None and _is_a(WorkItemResult, result, layer, "on_error"):
                return _readable(result, layer)
        return None


def _passed_over(layer: object, method: str) -> None:
    _log.warning("%s.%s failed and is passed over", type(layer).__name__, method, exc_info=True)


def _is_a(wanted: type, given: object, layer: object, method: str) -> bool:
    if isinstance(given, wanted):
        return True
    _log.warning(
        "%s.%s has returned a %s, not a %s, and is passed over",
        type(layer).__name__,
        method,
        type(given).__name__,
        wanted.__name__,
    )
    return False


def _readable(result: WorkItemResult[Any, Any], layer: object) -> WorkItemResult[Any, Any]:
    result.token_usage = readable_usage(result.token_usage, type(layer).__name__)
    return result
