"""Batches of calls to models: a queue in front of the engine, and what such calls need around them."""

from spanloom.processing.call_strategy import LLMCallStrategy
from spanloom.processing.classifier import DefaultErrorClassifier, ErrorClassifier, ErrorInfo
from spanloom.processing.config import ProcessorConfig, RateLimitConfig, RetryConfig
from spanloom.processing.errors import FrameworkTimeoutError, TokenTrackingError
from spanloom.processing.guard_rails import GuardRails
from spanloom.processing.metrics import MetricsObserver
from spanloom.processing.middleware import BaseMiddleware, Middleware
from spanloom.processing.observer import BaseObserver, ProcessingEvent, ProcessorObserver
from spanloom.processing.processor import BatchProcessor, ParallelBatchProcessor
from spanloom.processing.rate_limit import ExponentialBackoffStrategy, FixedDelayStrategy, RateLimitStrategy
from spanloom.processing.result import BatchResult, WorkItemResult
from spanloom.processing.retry_state import RetryState
from spanloom.processing.stats import ProcessingStats
from spanloom.processing.tokens import TokenExtractor, TokenUsage
from spanloom.processing.work_item import LLMWorkItem

__all__ = [
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
    "GuardRails",
    "LLMCallStrategy",
    "LLMWorkItem",
    "MetricsObserver",
    "Middleware",
    "ParallelBatchProcessor",
    "ProcessingEvent",
    "ProcessingStats",
    "ProcessorConfig",
    "ProcessorObserver",
    "RateLimitConfig",
    "RateLimitStrategy",
    "RetryConfig",
    "RetryState",
    "TokenExtractor",
    "TokenTrackingError",
    "TokenUsage",
    "WorkItemResult",
]
