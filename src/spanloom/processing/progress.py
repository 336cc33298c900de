"""Reports of how far a batch is."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial

from spanloom.callbacks.decorate import is_coroutine_function
from spanloom.processing.channel import Channel
from spanloom.processing.stats import ProcessingStats

__all__ = ["ProgressCallback", "ProgressReports"]

ProgressCallback = Callable[[int, int, str], Awaitable[None] | None]
"""Called with the number of items that have ended, the number of items, and the id of the one that ended last."""


class ProgressReports:
    """Reports after each `interval` items, and after the last.

    Reports are made one at a time, while the work goes on. One that takes too long is cancelled, or, in a thread,
    abandoned; reports that became outdated meanwhile are dropped. After three such timeouts in a row, only the last
    report is made: that one always is.

    Args:
        callback: A coroutine function, or a function, which is called in a thread so that it may block.
        interval: Items from one report to the next.
        timeout_s: Seconds for a report; ``None`` for no bound.
        stats: The batch's numbers.
    """

    def __init__(
        self, callback: ProgressCallback, *, interval: int, timeout_s: float | None, stats: ProcessingStats
    ) -> None:
        self._callback = callback if is_coroutine_function(callback) else partial(_in_thread, callback)
        self._timeout_s = timeout_s
        self._channel = self._new_channel()
        self._interval = interval
        self._stats = stats
        self._told = 0
        self._begun = 0
        self._latest = ""

    def ended(self, item_id: str) -> None:
        """Note the end of an item, and report if the interval is reached."""
        self._latest = item_id
        if self._stats.processed % self._interval == 0:
            self._tell()

    async def close(self) -> None:
        """Report the last item, and return when the reports have been made."""
        if self._told != self._stats.processed:
            self._tell()
        try:
            await self._channel.close()
            if self._begun != self._told:  # the channel gave up the callback before
                self._channel = self._new_channel()
                self._tell()
                await self._channel.close()
        except BaseException:
            self._channel.abandon()
            await self._channel.gone()
            raise

    def _new_channel(self) -> Channel:
        return Channel("the progress callback", self._report, timeout_s=self._timeout_s, newest_only=True)

    def _report(self, completed: int, total: int, item_id: str) -> Awaitable[None] | None:
        self._begun = completed
        return self._callback(completed, total, item_id)

    def _tell(self) -> None:
        self._told = self._stats.processed
        self._channel.post(self._stats.processed, self._stats.total, self._latest)


async def _in_thread(callback: ProgressCallback, completed: int, total: int, item_id: str) -> None:
    answer = await asyncio.to_thread(callback, completed, total, item_id)
    if inspect.isawaitable(answer):  # a plain function may still return a coroutine
        await answer
