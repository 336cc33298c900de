"""`ParallelBatchProcessor`: items in, results out, many at a time."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast

from spanloom.concurrency.rate import RateLimiter
from spanloom.processing.batch import Batch, PostProcessor
from spanloom.processing.classifier import DefaultErrorClassifier, ErrorClassifier
from spanloom.processing.config import ProcessorConfig, RateLimitConfig
from spanloom.processing.dispatch import Dispatcher
from spanloom.processing.guard_rails import GuardRails, Guards
from spanloom.processing.item import ItemProcessor
from spanloom.processing.lifecycle import Lifecycle
from spanloom.processing.middleware import Middleware, MiddlewareChain
from spanloom.processing.observer import ProcessorObserver
from spanloom.processing.parts import check_part, check_parts
from spanloom.processing.pause import SharedPause
from spanloom.processing.progress import ProgressCallback, ProgressReports
from spanloom.processing.rate_limit import LONGEST_S, ExponentialBackoffStrategy, RateLimitStrategy
from spanloom.processing.result import BatchResult, WorkItemResult
from spanloom.processing.stats import ProcessingStats
from spanloom.processing.tokens import TokenExtractor
from spanloom.processing.work_item import LLMWorkItem
from spanloom.processing.work_queue import WorkQueue

__all__ = ["BatchProcessor", "ParallelBatchProcessor"]

_within: ContextVar[tuple[object, ...]] = ContextVar("spanloom_processing_within", default=())
"""Marks of the processors whose item, observer or callback, or a task of one, is the running code; outermost first."""

TInput = TypeVar("TInput")
TOutput = TypeVar("TOutput")
TContext = TypeVar("TContext")

AHEAD: Final = 8
"""Times `max_workers`: items that may be started, if ordered, ahead of the oldest whose result was not handed over."""
PROCESSED: Final = (
    "Cannot add work after process_all() has started. Create a new processor instance for additional batches."
)
FINISHED: Final = (
    "Cannot add work after finish() was called. Create a new processor instance for additional batches."
)


class BatchProcessor(ABC, Generic[TInput, TOutput, TContext]):
    """What every processor of batches can do."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        await self.cleanup()
        return False

    @abstractmethod
    async def add_work(self, work_item: LLMWorkItem[TInput, TOutput, TContext]) -> None:
        """Add an item to the batch."""

    @abstractmethod
    async def process_all(self) -> BatchResult[TOutput, TContext]:
        """Process the items, and return when all have ended."""

    @abstractmethod
    async def cleanup(self) -> None:
        """Cancel what runs."""


class ParallelBatchProcessor(BatchProcessor[TInput, TOutput, TContext]):
    """Calls a model for many items, several at a time, and keeps the result of each.

    All at once::

        async with ParallelBatchProcessor(config=config) as processor:
            for number, prompt in enumerate(prompts):
                await processor.add_work(LLMWorkItem(str(number), strategy, prompt))
            result = await processor.process_all()

    Or as a stream, with results while items are added. Call `add_work` and run the loop in different tasks, as each
    may wait for the other: results that nobody takes hold back the calls, and a full queue holds back `add_work`::

        async with ParallelBatchProcessor(config=config) as processor:
            await processor.start()
            producer = asyncio.create_task(produce(processor))  # add_work(...) and, at the end, finish()
            async for result in processor:
                ...

    A processor runs one batch. Each item is a job of our engine, in a task and a context of its own; its
    attempts, pauses and waits are events like those of any batch. An item that fails is a result with an error,
    and the batch goes on; a cancel of `process_all` cancels all items, waits for them, and is raised.

    Args:
        max_workers, timeout_per_item, rate_limit_cooldown: Deprecated; set them in `config`.
        post_processor: Called with each result, also of failed items, but not of those that were cancelled or never
            ran; may return an awaitable. Its failure is logged.
        config: See `ProcessorConfig`.
        error_classifier: Decides which errors are worth another attempt; by default `DefaultErrorClassifier`.
        rate_limit_strategy: Decides about pauses after rate limits; by default an `ExponentialBackoffStrategy` made
            from ``config.rate_limit``.
        middlewares: Layers around each item, the outermost first.
        observers: Receive the events of the batch.
        progress_callback: Called with (ended, total, item id) after each ``config.progress_interval`` items and
            after the last; a coroutine function, or a function, which is called in a thread.
        guard_rails: What stops the batch early.
        ordered: Give results in input order, not in the order in which items end.

    Raises:
        ValueError: a number is out of range.
        TypeError: `config` or `guard_rails` is of another type; another part lacks a method, is a class instead of an
            instance, or is not callable.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        post_processor: PostProcessor | None = None,
        timeout_per_item: float | None = None,
        rate_limit_cooldown: float | None = None,
        config: ProcessorConfig | None = None,
        error_classifier: ErrorClassifier | None = None,
        rate_limit_strategy: RateLimitStrategy | None = None,
        middlewares: Sequence[Middleware[TInput, TOutput, TContext]] | None = None,
        observers: Sequence[ProcessorObserver] | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        guard_rails: GuardRails | None = None,
        ordered: bool = False,
    ) -> None:
        for name, given, kind in (
            ("config", config, ProcessorConfig),
            ("guard_rails", guard_rails, GuardRails),
        ):
            if given is not None and not isinstance(given, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, or None (got {given!r})")
        check_part("error_classifier", error_classifier, ErrorClassifier, "classify")
        check_part(
            "rate_limit_strategy",
            rate_limit_strategy,
            RateLimitStrategy,
            "on_rate_limit",
            "should_apply_slow_start",
        )
        check_parts("middlewares", middlewares, Middleware, "before_process", "after_process", "on_error")
        check_parts("observers", observers, ProcessorObserver, "on_event")
        for name, function in (("post_processor", post_processor), ("progress_callback", progress_callback)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be a function, or None (got {function!r})")
        config = _configured(config, max_workers, timeout_per_item, rate_limit_cooldown)
        self.config: ProcessorConfig = config
        self.max_workers: int = config.max_workers
        self.post_processor = post_processor
        # Not `or`: a user's object may have a length, and be empty.
        self.error_classifier: ErrorClassifier = (
            DefaultErrorClassifier() if error_classifier is None else error_classifier
        )
        self.rate_limit_strategy: RateLimitStrategy = (
            _default_strategy(config.rate_limit) if rate_limit_strategy is None else rate_limit_strategy
        )
        self.middlewares: Sequence[Middleware[TInput, TOutput, TContext]] = (
            [] if middlewares is None else middlewares
        )
        self.observers: Sequence[ProcessorObserver] = [] if observers is None else observers
        self.progress_callback = progress_callback
        self._ordered = ordered
        self._stats = ProcessingStats()
        self._lifecycle = Lifecycle()
        self._guards = Guards(guard_rails or GuardRails(), self._stopped)
        self._queue = WorkQueue(config.max_queue_size, AHEAD * config.max_workers if ordered else None)
        self._proactive_rate_limiter = _rate_limiter(config.max_requests_per_minute)
        self._batch: Batch | None = None
        self._collecting = False
        self._mark = object()  # not the processor: tasks of items may outlive it, and keep their context

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        await self.shutdown()
        return False

    # in -----------------------------------------------------------------------------------------------

    async def add_work(self, work_item: LLMWorkItem[TInput, TOutput, TContext]) -> None:
        """Add an item to the batch; while the batch runs, wait for room if ``config.max_queue_size`` items are waiting.

        Before `start` or `process_all` any number can be added. A cancel while waiting adds nothing.

        Raises:
            RuntimeError: `process_all` has started, `finish` was called, or the batch has ended.
            TypeError: it is not an `LLMWorkItem`.
        """
        given: object = work_item
        if not isinstance(given, LLMWorkItem):
            raise TypeError(
                f"add_work takes an LLMWorkItem, not {type(given).__name__}: LLMWorkItem(item_id, strategy, prompt)"
            )
        await self._queue.put(work_item)
        self._stats.total += 1

    async def start(self) -> None:
        """Start processing; more items may be added meanwhile. Iterate over the processor for the results.

        Raises:
            RuntimeError: the processor has been started before.
        """
        if self._batch is not None:
            raise RuntimeError("a processor runs one batch: create a new instance for the next one")
        token = _within.set((*_within.get(), self._mark))
        try:
            await self._start()
        finally:
            _within.reset(token)

    async def _start(self) -> None:
        config = self.config
        events = Dispatcher(self.observers)
        progress: ProgressReports | None = None
        if self.progress_callback is not None:
            progress = ProgressReports(
                self.progress_callback,
                interval=config.progress_interval,
                timeout_s=config.progress_callback_timeout,
                stats=self._stats,
            )
        items = ItemProcessor(
            config=config,
            classifier=self.error_classifier,
            chain=MiddlewareChain(self.middlewares),
            lifecycle=self._lifecycle,
            pause=SharedPause(self.rate_limit_strategy, events),
            rate=self._proactive_rate_limiter,
            guards=self._guards,
            events=events,
            stats=self._stats,
            tokens=TokenExtractor(),
        )
        self._batch = Batch(
            type(self).__name__,
            self._queue,
            items,
            progress=progress,
            post_processor=self.post_processor,
            ordered=self._ordered,
        )
        await self._batch.start()

    async def finish(self) -> None:
        """Declare the input complete: iteration ends after the results of the items added so far. Does not wait."""
        self._queue.close(FINISHED)

    # out ----------------------------------------------------------------------------------------------

    async def process_all(self) -> BatchResult[TOutput, TContext]:
        """Process all items added, and return when all have ended.

        After `start`, this also calls for no more items, as `finish` does, and returns the results not taken yet.

        Raises:
            asyncio.CancelledError: this call was cancelled; all items have ended, and observers have been told.
            RuntimeError: the processor has been used before.
        """
        self._queue.close(PROCESSED)
        self._collecting = True
        try:
            if self._batch is None or self._batch.ended.is_set():
                await self.start()
            return BatchResult([result async for result in self])
        except BaseException:
            if self._batch is not None:
                await self._batch.end()
            raise
        finally:
            self._collecting = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WorkItemResult[TOutput, TContext]:
        if self._batch is None:
            raise RuntimeError("the processor has not been started: await processor.start() first")
        return cast("WorkItemResult[TOutput, TContext]", await self._batch.next())

    async def get_stats(self) -> dict[str, Any]:
        """Return the numbers so far: ``total``, ``processed``, ``succeeded``, ``failed`` and more; a copy."""
        return self._stats.copy()

    # the end ------------------------------------------------------------------------------------------

    async def cleanup(self) -> None:
        """Stop the batch, if it runs: cancel its items and wait for them.

        Items that never ran fail. A `process_all` that is waiting in another task returns all results. Called by an
        item, an observer or a progress callback, this does not wait, as the batch waits for them.
        """
        self._queue.close(
            "Cannot add work after the processor was shut down. Create a new processor instance."
        )
        self._guards.stop("the processor was shut down")
        batch = self._batch
        if batch is None or batch.ended.is_set() or self._mark in _within.get():
            return
        if self._collecting:
            await batch.ended.wait()
        else:
            await batch.end()

    async def shutdown(self) -> None:
        """Stop the batch as `cleanup` does, and clean up each strategy that was prepared."""
        try:
            await self.cleanup()
        finally:
            await self._cleanup_strategies()

    async def _cleanup_strategies(self) -> None:
        await self._lifecycle.clean_up()

    def _stopped(self) -> None:
        self._queue.close(f"Cannot add work: {self._guards.reason}.")


def _default_strategy(config: RateLimitConfig) -> RateLimitStrategy:
    return ExponentialBackoffStrategy(
        initial_cooldown=config.cooldown_seconds,
        max_cooldown=max(LONGEST_S, config.cooldown_seconds),
        backoff_multiplier=config.backoff_multiplier,
        slow_start_items=config.slow_start_items,
        slow_start_initial_delay=config.slow_start_initial_delay,
        slow_start_final_delay=config.slow_start_final_delay,
    )


def _configured(
    config: ProcessorConfig | None, workers: int | None, timeout: float | None, cooldown: float | None
) -> ProcessorConfig:
    """Return the configuration; deprecated arguments are set in a copy of the caller's."""
    for name, given, instead in (
        ("max_workers", workers, "ProcessorConfig(max_workers=...)"),
        ("timeout_per_item", timeout, "ProcessorConfig(timeout_per_item=...)"),
        (
            "rate_limit_cooldown",
            cooldown,
            "ProcessorConfig(rate_limit=RateLimitConfig(cooldown_seconds=...))",
        ),
    ):
        if given is not None:
            warnings.warn(
                f"The '{name}' parameter is deprecated. Use {instead} instead.",
                DeprecationWarning,
                stacklevel=3,
            )
    if config is None:
        config = ProcessorConfig()
    changes: dict[str, Any] = {}
    if workers is not None:
        changes["max_workers"] = workers
    if timeout is not None:
        changes["timeout_per_item"] = timeout
    if cooldown is not None:
        changes["rate_limit"] = dataclasses.replace(config.rate_limit, cooldown_seconds=cooldown)
    if not changes:
        config.validate()
        return config
    return dataclasses.replace(config, **changes)


def _rate_limiter(per_minute: float | None) -> RateLimiter | None:
    """Return a limiter of whole attempts for a rate that may be fractional; ``None`` for no bound."""
    if not per_minute:
        return None
    return RateLimiter(max(1, int(per_minute)), max(60.0, 60.0 / per_minute), name="max_requests_per_minute")
