"""One item: its middleware, its attempts, and what they come to."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, cast

import msgspec

from spanloom.concurrency.attempts import make_attempts
from spanloom.concurrency.rate import RateLimiter
from spanloom.concurrency.retry_after import retry_after_of
from spanloom.exceptions import BatchStoppedError
from spanloom.processing.call_strategy import takes_state
from spanloom.processing.classifier import ErrorClassifier, ErrorInfo
from spanloom.processing.config import ProcessorConfig
from spanloom.processing.dispatch import Dispatcher
from spanloom.processing.errors import FrameworkTimeoutError
from spanloom.processing.guard_rails import LAST_WORD_S, Guards
from spanloom.processing.lifecycle import Lifecycle
from spanloom.processing.middleware import MiddlewareChain
from spanloom.processing.observer import ProcessingEvent
from spanloom.processing.pause import SharedPause
from spanloom.processing.result import SKIPPED, WorkItemResult, text_of
from spanloom.processing.retry_state import RetryState
from spanloom.processing.stats import ProcessingStats
from spanloom.processing.tokens import COUNTED, TokenExtractor, TokenUsage, readable_usage
from spanloom.processing.work_item import LLMWorkItem

__all__ = ["Ended", "ItemProcessor"]

_log = logging.getLogger(__name__)

_VALIDATION_NAMES: Final = ("validation", "parse", "unexpectedmodelbehavior")
"""Parts, in lower case, of the names of exceptions that clients raise for an answer of the wrong form."""


class Ended(msgspec.Struct, eq=False):
    """How an item ended.

    Attributes:
        result: What its user gets.
        error: What the job raises, so that its event shows it; ``None`` for nothing.
        category: The classifier's category of `error`; ``None`` without one.
    """

    result: WorkItemResult[Any, Any]
    error: Exception | None = None
    category: str | None = None


class ItemProcessor(msgspec.Struct, eq=False, kw_only=True):
    """Processes items; holds what the items of one batch share."""

    config: ProcessorConfig
    classifier: ErrorClassifier
    chain: MiddlewareChain
    lifecycle: Lifecycle
    pause: SharedPause
    rate: RateLimiter | None
    guards: Guards
    events: Dispatcher
    stats: ProcessingStats
    tokens: TokenExtractor

    async def process(self, item: LLMWorkItem[Any, Any, Any], worker_id: int) -> Ended:
        """Return how the item ended. Its own `Exception` is never raised; a cancel always is."""
        attempts = _Attempts(self, item, worker_id)
        began = asyncio.get_running_loop().time()
        deadline = began + self.guards.item_timeout
        scope = self.guards.scope(deadline)
        error: Exception | None = None
        try:
            async with scope:
                with self.guards.watching(scope):
                    return Ended(await self._process(attempts, deadline))
        except TimeoutError as late:
            error = self._late(item, began, late) if scope.expired() else late
        except Exception as raised:  # noqa: BLE001 -- becomes the item's result
            error = raised
        try:
            return await self._failed(attempts, error, deadline)
        finally:
            # Break reference cycles: the error's traceback leads to this frame, and so does the scope, by its task.
            del error, scope

    async def _process(self, attempts: _Attempts, deadline: float) -> WorkItemResult[Any, Any]:
        given = attempts.item
        self.guards.check()
        await self.pause.before_item()
        item = await self.chain.before(given)
        if item is None:
            return WorkItemResult(given.item_id, False, error=SKIPPED, context=given.context)
        attempts.item = item
        await self.lifecycle.prepare(item.strategy)
        try:
            output, usage = await make_attempts(
                attempts.make,
                f"{type(item.strategy).__name__}.execute",
                attempts.pause_after,
                None,
                deadline,
            )
        except asyncio.CancelledError:
            attempts.verdict = None  # cut off: the item fails by another error than the classified one
            raise
        result = WorkItemResult(
            item.item_id, True, output, context=item.context, token_usage=attempts.tokens(usage)
        )
        return await self.chain.after(result)

    def _late(self, item: LLMWorkItem[Any, Any, Any], began: float, error: TimeoutError) -> Exception:
        elapsed = asyncio.get_running_loop().time() - began
        limit = self.guards.item_timeout
        if self.guards.reason is not None and elapsed < limit:
            return BatchStoppedError(self.guards.reason)
        late = FrameworkTimeoutError(
            f"Item timeout after {elapsed:.1f}s (limit: {limit}s, all attempts together)",
            item_id=item.item_id,
            elapsed=elapsed,
            timeout_limit=limit,
        )
        late.__cause__ = error
        return late

    async def _failed(self, attempts: _Attempts, error: Exception, deadline: float) -> Ended:
        item = attempts.item
        recovered: WorkItemResult[Any, Any] | None = None
        scope = self.guards.last_word(deadline)
        try:
            async with scope:
                with self.guards.watching(scope, grace_s=LAST_WORD_S):
                    recovered = await self.chain.recover(item, error)
        except TimeoutError:
            _log.warning("the middleware's on_error has taken too long for %s: no recovery", item.item_id)
        finally:
            del scope  # as above
        if recovered is not None:
            if not any(recovered.token_usage.values()):
                recovered.token_usage = attempts.tokens(attempts.paid)
            return Ended(recovered)
        _log.info("%s failed after %d attempts: %s", item.item_id, attempts.number, type(error).__name__)
        result: WorkItemResult[Any, Any] = WorkItemResult(
            item.item_id,
            False,
            error=text_of(error),
            context=item.context,
            token_usage=attempts.tokens(attempts.paid),
        )
        if isinstance(error, BatchStoppedError):
            return Ended(result, error)
        return Ended(result, error, (attempts.verdict or self.classify(error)).error_category)

    def classify(self, error: Exception) -> ErrorInfo:
        """Return the classifier's verdict; if it fails, ``unclassified``, which is not tried again."""
        try:
            info: object = self.classifier.classify(error)
        except Exception:  # noqa: BLE001 -- the user's class; the item has failed anyway
            _log.exception("%s.classify failed: not retried", type(self.classifier).__name__)
        else:
            if hasattr(info, "error_category"):
                return cast("ErrorInfo", info)
            _log.error(
                "%s.classify has returned a %s, not an ErrorInfo: not retried",
                type(self.classifier).__name__,
                type(info).__name__,
            )
        return ErrorInfo(False, False, False, "unclassified")


class _Attempts:
    """The attempts of one item."""

    def __init__(self, shared: ItemProcessor, item: LLMWorkItem[Any, Any, Any], worker_id: int) -> None:
        self._shared = shared
        self.item = item
        self._worker_id = worker_id
        self._state = RetryState()
        self._spent = dict.fromkeys(COUNTED, 0)
        self.verdict: ErrorInfo | None = None
        """The classifier's verdict on the error of the current attempt; ``None`` without one."""
        self.paid: TokenUsage = {}
        """Tokens of the successful attempt."""
        self.number = 0

    async def make(self) -> tuple[Any, TokenUsage]:
        """Make one attempt."""
        shared = self._shared
        self.verdict = None
        shared.guards.check()
        await self._wait_for_turn()
        shared.guards.check()  # again: that was a wait
        self.number += 1
        generation = shared.pause.generation
        try:
            output, usage = await self._call()
        except Exception as error:
            await self._take(error, generation)
            raise
        shared.pause.succeeded()
        self.paid = readable_usage(usage, type(self.item.strategy).__name__)
        return output, self.paid

    async def _wait_for_turn(self) -> None:
        """Wait until no pause is on and the rate allows a start."""
        pause, rate = self._shared.pause, self._shared.rate
        await pause.before_attempt()
        if rate is None:
            return
        await rate.acquire()
        while pause.is_on:  # begun while this one waited for the rate: give the start back
            rate.charge(-1)
            await pause.before_attempt()
            await rate.acquire()

    async def _call(self) -> tuple[Any, TokenUsage | None]:
        item, config = self.item, self._shared.config
        strategy = item.strategy
        if config.dry_run:
            return await strategy.dry_run(item.prompt)
        limit = config.timeout_per_item
        loop = asyncio.get_running_loop()
        began = loop.time()
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                if takes_state(strategy, "execute"):
                    return await strategy.execute(item.prompt, self.number, limit, self._state)
                return await strategy.execute(item.prompt, self.number, limit)
        except TimeoutError as error:
            if not scope.expired():
                raise  # of the provider's client
            elapsed = loop.time() - began
            late = FrameworkTimeoutError(
                f"Framework timeout after {elapsed:.1f}s (limit: {limit}s)",
                item_id=item.item_id,
                elapsed=elapsed,
                timeout_limit=limit,
            )
            late.__dict__["_failed_token_usage"] = self._shared.tokens.extract_from_exception(error)
            raise late from error
        finally:
            del scope  # knows the task, which knows the exception, which knows this frame

    async def _take(self, error: Exception, generation: int) -> None:
        """Handle a failed attempt: count its tokens, call ``on_error``, classify it, pause after a rate limit."""
        shared, item = self._shared, self.item
        shared.tokens.accumulate(self._spent, shared.tokens.extract_from_exception(error))
        try:
            if takes_state(item.strategy, "on_error"):
                await item.strategy.on_error(error, self.number, self._state)
            else:
                await item.strategy.on_error(error, self.number)
        except Exception:  # noqa: BLE001 -- the attempt has failed already, and by something else
            _log.warning("%s.on_error failed", type(item.strategy).__name__, exc_info=True)
        self.verdict = verdict = shared.classify(error)
        if verdict.is_rate_limit:
            shared.stats.rate_limit_count += 1
            shared.events.post(
                ProcessingEvent.RATE_LIMIT_HIT, item_id=item.item_id, worker_id=self._worker_id
            )
            await shared.pause.refused(self._worker_id, generation, error)

    def pause_after(self, error: Exception, number: int) -> float | None:
        """Return the seconds until the next attempt; ``None`` if there is none."""
        shared, verdict = self._shared, self.verdict
        retry = shared.config.retry
        if verdict is None or number >= retry.max_attempts or shared.guards.reason is not None:
            return None
        if not verdict.is_retryable:
            return None
        if verdict.is_rate_limit or verdict.error_category == "validation_error" or _is_malformed(error):
            return 0.0
        return max(retry.policy().delay(number), verdict.suggested_wait or 0.0, retry_after_of(error) or 0.0)

    def tokens(self, usage: TokenUsage) -> TokenUsage:
        """Return the sum of `usage` and the tokens of the failed attempts."""
        if usage and not any(self._spent.values()):
            return usage
        total = dict(self._spent)
        TokenExtractor.accumulate(total, cast("dict[str, int]", usage))
        return cast("TokenUsage", {**usage, **total})


def _is_malformed(error: Exception) -> bool:
    name = type(error).__name__.lower()
    try:
        text = str(error).lower()
    except Exception:  # noqa: BLE001 -- no text to look at; the classifier has judged the type
        text = ""
    return any(part in name for part in _VALIDATION_NAMES) or "result validation" in text
