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
"""Marks of the processors that have started what runs here: items, observers, callbacks, and all tasks of these."""

TInput = TypeVar("TInput")
TOutput = TypeVar("TOutput")
TContext = TypeVar("TContext")

AHEAD: Final = 8
"""Times `max_workers`: how far, in input order, the newest item may be ahead of the oldest that has no result yet."""
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
    """Calls a model for many items, some of them at a time, and keeps what becomes of each.

    All at once::

        async with ParallelBatchProcessor(config=config) as processor:
            for number, prompt in enumerate(prompts):
                await processor.add_work(LLMWorkItem(str(number), strategy, prompt))
            result = await processor.process_all()

    Or as a stream, with results while items come. `add_work` and the loop are in different tasks then, because
    both may wait for the other: results that nobody takes hold back the calls, and a full queue holds back
    `add_work`::

        async with ParallelBatchProcessor(config=config) as processor:
            await processor.start()
            producer = asyncio.create_task(produce(processor))  # add_work(...) and, at the end, finish()
            async for result in processor:
                ...

    A processor runs one batch. Each item is a job of our engine, in a task and a context of its own; its
    attempts, pauses and waits are events like those of any batch. An item that fails is a result with an error,
    and the batch goes on; a cancel of `process_all` cancels all items, waits for them, and is raised.

    Args:
        max_workers, timeout_per_item, rate_limit_cooldown: Deprecated; they stand in `config`.
        post_processor: Called with each result, also of failed items; may return an awaitable. Its failure is logged.
        config: See `ProcessorConfig`.
        error_classifier: Tells which errors are worth another attempt; by default `DefaultErrorClassifier`.
        rate_limit_strategy: Decides about pauses after rate limits; by default an `ExponentialBackoffStrategy` made
            from ``config.rate_limit``.
        middlewares: Layers around each item, the outermost first.
        observers: Who is told what happens.
        progress_callback: Called with (ended, total, item id) after each ``config.progress_interval`` items and
            after the last; a coroutine function, or a function, which is called in a thread.
        guard_rails: What ends the batch before its time.
        ordered: Give results in input order, not in the order in which items end.

    Raises:
        ValueError: a number is out of range.
        TypeError: `config` or `guard_rails` is something else; another part lacks a method that it is to have, is a
            class and no object of one, or cannot be called.
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
        # Not `or`: what is the user's may have a length, and be empty.
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
        self._mark = object()  # not the processor: what items start may outlive it, and keeps its context

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        await self.shutdown()
        return False

    # in -----------------------------------------------------------------------------------------------

    async def add_work(self, work_item: LLMWorkItem[TInput, TOutput, TContext]) -> None:
        """Add an item to the batch; wait while ``config.max_queue_size`` items wait, if the batch runs.

        Before `start` or `process_all` any number can be added. Cancelled while it waits, it has added nothing.

        Raises:
            RuntimeError: `process_all` has started, `finish` was called, or the batch has ended.
            TypeError: it is no `LLMWorkItem`.
        """
        given: object = work_item
        if not isinstance(given, LLMWorkItem):
            raise TypeError(
                f"add_work takes an LLMWorkItem, not {type(given).__name__}: LLMWorkItem(item_id, strategy, prompt)"
            )
        await self._queue.put(work_item)
        self._stats.total += 1

    async def start(self) -> None:
        """Begin to process items, while more are added; results come by iterating over the processor.

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
        """Say that no more items come: the results end when those that are there have ended. Does not wait."""
        self._queue.close(FINISHED)

    # out ----------------------------------------------------------------------------------------------

    async def process_all(self) -> BatchResult[TOutput, TContext]:
        """Process what has been added, and return when all items have ended.

        After `start`, it is as `finish` and then taking all results that have not been taken yet.

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

        Items that did not come to run fail. If somebody else waits in `process_all`, that gets all results. An item, an
        observer or a progress callback that calls this does not wait, as the batch waits for them.
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
    """Return the configuration with what was given the old way; the caller's own is left as it is."""
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
    """Return the limiter of a rate that need not be a whole number; no minute ever holds a part of an attempt."""
    if not per_minute:
        return None
    return RateLimiter(max(1, int(per_minute)), max(60.0, 60.0 / per_minute), name="max_requests_per_minute")
