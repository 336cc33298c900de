"""One run of a processor: the engine's stream of outcomes, with a queue in front.

Theory of operation. The queue is the input of `stream`, and each item is a job: bounded, isolated, cancelled, awaited
and reported like any job. The job of a failed item raises the item's error, so that its event shows it; the item's
result is kept apart, in its queue entry. A result that nobody has taken holds a slot: that is the back-pressure.

Observers are notified by calls that never wait, so that an item's end can be reported while it is being cancelled.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import logging
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any

from spanloom.concurrency.stream import OutcomeStream, stream
from spanloom.exceptions import BatchStoppedError
from spanloom.processing.dispatch import Dispatcher
from spanloom.processing.guard_rails import Guards
from spanloom.processing.item import Ended, ItemProcessor
from spanloom.processing.observer import ProcessingEvent
from spanloom.processing.progress import ProgressReports
from spanloom.processing.result import WorkItemResult, text_of
from spanloom.processing.stats import ProcessingStats, error_type_of
from spanloom.processing.work_queue import Entry, WorkQueue

__all__ = ["Batch", "PostProcessor"]

_log = logging.getLogger(__name__)

PostProcessor = Callable[[WorkItemResult[Any, Any]], Awaitable[None] | None]


class Batch:
    """A run, from `start` to `end`.

    Args:
        name: Name of the batch in its events.
        queue: The items.
        items: Processes them.
        progress: Notified of each end; ``None`` for no reports.
        post_processor: Called with each result but those of items that were cancelled or never started; ``None`` for
            no such call.
        ordered: Hand results over in input order.
    """

    def __init__(
        self,
        name: str,
        queue: WorkQueue,
        items: ItemProcessor,
        *,
        progress: ProgressReports | None,
        post_processor: PostProcessor | None,
        ordered: bool,
    ) -> None:
        self._name = name
        self._queue = queue
        self._items = items
        self._progress = progress
        self._post_processor = post_processor
        self._ordered = ordered
        self._early: dict[int, Entry] = {}
        """Results whose turn has not come yet, in input order."""
        self._next_index = 0
        self._began = 0.0
        self._free = list(range(items.config.max_workers))
        self._stream: OutcomeStream[None] | None = None
        self._taking = asyncio.Lock()
        self._ending = asyncio.Lock()
        self.ended: asyncio.Event = asyncio.Event()
        """Set when all items have ended; observers may still have to process the last events."""

    @property
    def _events(self) -> Dispatcher:
        return self._items.events

    @property
    def _stats(self) -> ProcessingStats:
        return self._items.stats

    @property
    def _guards(self) -> Guards:
        return self._items.guards

    async def start(self) -> None:
        """Start processing what is in the queue, and what will be added."""
        workers = self._items.config.max_workers

        async def process_item(entry: Entry) -> None:
            await self._run(entry)

        opened = stream(process_item, self._queue, limit=workers, on_error="return", desc=self._name)
        self._stats.start_time = time.time()
        self._began = time.perf_counter()
        self._events.post(
            ProcessingEvent.BATCH_STARTED,
            total=self._stats.total,
            max_workers=workers,
            start_time=self._stats.start_time,
        )
        for worker_id in range(workers):
            self._events.post(ProcessingEvent.WORKER_STARTED, worker_id=worker_id)
        self._queue.open()
        self._guards.start()
        self._stream = await opened.__aenter__()

    async def next(self) -> WorkItemResult[Any, Any]:
        """Return the next result. A cancel while waiting takes none, and the batch goes on.

        Raises:
            StopAsyncIteration: no result is left; the batch has ended.
            BaseException: what ended the batch early.
        """
        async with self._taking:  # else one of two callers could end the stream under the other
            while True:
                if self._ordered and (entry := self._early.pop(self._next_index, None)) is not None:
                    self._next_index += 1
                    return self._handed_over(entry)
                if self._stream is None:
                    raise StopAsyncIteration
                try:
                    outcome = await anext(self._stream)
                except CancelledError:
                    raise
                except BaseException:
                    await self.end()
                    raise
                entry = self._queue.taken.pop(outcome.index)
                if not self._ordered:
                    return self._handed_over(entry)
                self._early[outcome.index] = entry

    async def end(self) -> None:
        """Cancel running items, fail those that never started, and notify all observers. Later calls do nothing.

        Raises:
            BaseException: what ended the batch early, unless it was raised before.
        """
        async with self._ending:
            if self.ended.is_set() or self._stream is None:
                return
            self._queue.close("Cannot add work: the batch has ended. Create a new processor instance.")
            try:
                await self._stream.__aexit__(None, None, None)
            finally:
                await self._tell_end()

    # one item -----------------------------------------------------------------------------------------

    async def _run(self, entry: Entry) -> None:
        worker_id = heapq.heappop(self._free)
        item_id = entry.item.item_id
        began = time.perf_counter()
        self._events.post(ProcessingEvent.ITEM_STARTED, item_id=item_id, worker_id=worker_id)
        try:
            ended = await self._items.process(entry.item, worker_id)
            self._account(entry, ended, time.perf_counter() - began)
            await self._post_process(ended.result)
            await self._events.room()
            if ended.error is not None:
                raise ended.error
        except BaseException as error:
            ended = None  # or the traceback and this frame would keep each other alive
            if entry.result is None:
                self._lose(entry, error)
            raise
        finally:
            heapq.heappush(self._free, worker_id)

    def _account(self, entry: Entry, ended: Ended, seconds: float) -> None:
        result = ended.result
        entry.result = result
        self._stats.count(result)
        item_id = entry.item.item_id
        if result.success:
            self._events.post(
                ProcessingEvent.ITEM_COMPLETED,
                item_id=item_id,
                duration=seconds,
                tokens=result.token_usage.get("total_tokens", 0),
            )
        else:
            self._events.post(ProcessingEvent.ITEM_FAILED, item_id=item_id, error_type=error_type_of(result))
        self._guards.count(result, ended.category)
        if self._progress is not None:
            self._progress.ended(item_id)

    def _lose(self, entry: Entry, error: BaseException) -> None:
        """Record the failure of an item that was cancelled or never started."""
        item = entry.item
        result: WorkItemResult[Any, Any] = WorkItemResult(
            item.item_id, False, error=text_of(error), context=item.context
        )
        self._account(entry, Ended(result), 0.0)

    async def _post_process(self, result: WorkItemResult[Any, Any]) -> None:
        if self._post_processor is None:
            return
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._items.config.post_processor_timeout):
                answer = self._post_processor(result)
                if inspect.isawaitable(answer):
                    await answer
        except CancelledError:
            if task is None or task.cancelling():
                raise
            _log.exception("the post-processor was cancelled by itself for %s", result.item_id)
        except Exception:  # noqa: BLE001 -- the result is there, and stays
            _log.exception("the post-processor failed for %s; its result stands", result.item_id)

    def _handed_over(self, entry: Entry) -> WorkItemResult[Any, Any]:
        self._queue.done()
        result = entry.result
        if result is None:
            raise RuntimeError(f"item {entry.item.item_id!r} has ended without a result")
        return result

    # the end ------------------------------------------------------------------------------------------

    async def _tell_end(self) -> None:
        stats = self._stats
        self._stream = None
        reason = self._guards.reason
        lost: BaseException = CancelledError() if reason is None else BatchStoppedError(reason)
        for entry in self._queue.drain():
            self._lose(entry, lost)
        self._guards.end()
        self._items.pause.end()
        for worker_id in range(self._items.config.max_workers):
            self._events.post(ProcessingEvent.WORKER_STOPPED, worker_id=worker_id)
        self._events.post(
            ProcessingEvent.BATCH_COMPLETED,
            processed=stats.processed,
            succeeded=stats.succeeded,
            failed=stats.failed,
            total=stats.total,
            total_tokens=stats.total_tokens,
            cached_input_tokens=stats.cached_input_tokens,
            duration=time.perf_counter() - self._began,
        )
        self.ended.set()
        try:
            if self._progress is not None:
                await self._progress.close()
        finally:
            await self._events.close()
