"""The names of async-batch-llm 0.8: change the import, and its programs run on our engine.

::

    from spanloom.compat.async_batch_llm import LLMWorkItem, ParallelBatchProcessor

``docs/how-to/migrate-from-async-batch-llm.md`` lists the differences.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from spanloom.compat._async_batch_llm.agents import AgentLike, ResultLike, UsageLike
from spanloom.compat._async_batch_llm.gemini import GeminiErrorClassifier
from spanloom.compat._async_batch_llm.gemini_models import GeminiCachedModel, GeminiModel
from spanloom.compat._async_batch_llm.mocks import MockAgent, MockResult, MockUsage, mock_strategy
from spanloom.compat._async_batch_llm.models import LLMModel, LLMResponse, ManagedLLMModel
from spanloom.compat._async_batch_llm.strategies import GeminiStrategy, PydanticAIStrategy
from spanloom.processing import (
    BaseMiddleware,
    BaseObserver,
    BatchProcessor,
    BatchResult,
    DefaultErrorClassifier,
    ErrorClassifier,
    ErrorInfo,
    ExponentialBackoffStrategy,
    FixedDelayStrategy,
    FrameworkTimeoutError,
    GuardRails,
    LLMCallStrategy,
    LLMWorkItem,
    MetricsObserver,
    Middleware,
    ParallelBatchProcessor,
    ProcessingEvent,
    ProcessingStats,
    ProcessorConfig,
    ProcessorObserver,
    RateLimitConfig,
    RateLimitStrategy,
    RetryConfig,
    RetryState,
    TokenExtractor,
    TokenTrackingError,
    TokenUsage,
    WorkItemResult,
)
from spanloom.processing.progress import ProgressCallback as ProgressCallbackFunc

__all__ = [
    "AgentLike",
    "BaseMiddleware",
    "BaseObserver",
    "BatchProcessor",
    "BatchResult",
    "DefaultErrorClassifier",
    "ErrorClassifier",
    "ErrorInfo",
    "ExponentialBackoffStrategy",
    "FixedDelayStrategy",
    "FrameworkTimeoutError",
    "GeminiCachedModel",
    "GeminiErrorClassifier",
    "GeminiModel",
    "GeminiStrategy",
    "GuardRails",
    "LLMCallStrategy",
    "LLMModel",
    "LLMResponse",
    "LLMWorkItem",
    "ManagedLLMModel",
    "MetricsObserver",
    "Middleware",
    "MockAgent",
    "MockResult",
    "MockUsage",
    "ParallelBatchProcessor",
    "PostProcessorFunc",
    "ProcessingEvent",
    "ProcessingStats",
    "ProcessorConfig",
    "ProcessorObserver",
    "ProgressCallbackFunc",
    "PydanticAIStrategy",
    "RateLimitConfig",
    "RateLimitStrategy",
    "ResultLike",
    "RetryConfig",
    "RetryState",
    "SimpleBatchProcessor",
    "SimpleResult",
    "SimpleWorkItem",
    "TokenExtractor",
    "TokenTrackingError",
    "TokenUsage",
    "UsageLike",
    "WorkItemResult",
    "mock_strategy",
]

T = TypeVar("T")
TOutput = TypeVar("TOutput")
TContext = TypeVar("TContext")

PostProcessorFunc = Callable[[WorkItemResult[TOutput, TContext]], Awaitable[None] | None]
"""Called with each result."""
SimpleBatchProcessor = ParallelBatchProcessor[str, T, None]
"""A processor of texts, without a context."""
SimpleWorkItem = LLMWorkItem[str, T, None]
"""An item of such a processor."""
SimpleResult = WorkItemResult[T, None]
"""A result of such a processor."""
