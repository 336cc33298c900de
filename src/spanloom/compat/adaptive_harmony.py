"""The map functions of ``adaptive_harmony.core.utils``, on spanloom's engine.

Change the import and keep the code. Progress is tracked by events: switch a handler on, for example with
``SPANLOOM_HANDLERS=progress``, and it is seen.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar, cast

from spanloom._numbers import check_count
from spanloom.concurrency.fill import fill_batch
from spanloom.concurrency.functions import check_function
from spanloom.concurrency.map import async_map as own_map
from spanloom.concurrency.stream import stream

__all__ = ["StageNotifier", "async_map", "async_map_batch", "async_map_fallible", "batch_process_fallible"]

T = TypeVar("T")
R = TypeVar("R")

_logger = logging.getLogger("spanloom.compat")


class StageNotifier(Protocol):
    """What `batch_process_fallible` reports to."""

    def report_progress(self, total: int, done: int, /) -> object:
        """Report that `done` of `total` items have ended, failures included."""


async def async_map(f: Callable[[T], Awaitable[R]], data: Iterable[T] | AsyncIterable[T]) -> list[R]:
    """Call ``await f(item)`` for all items at once, and return the results in input order.

    Args:
        f: Takes one item and returns an awaitable.
        data: List, iterator, generator or async iterator.

    Raises:
        Exception: the first failure, the very object; the other items have been cancelled, and have ended.
        asyncio.CancelledError: if this call or one of the items is cancelled; so are the others.
    """
    return await own_map(f, data)


async def async_map_fallible(f: Callable[[T], Awaitable[R]], data: Iterable[T] | AsyncIterable[T]) -> list[R]:
    """Call ``await f(item)`` for all items at once, and return the results of those that succeed, in input order.

    Only handlers see failures. ``None`` is a result.

    Args:
        f: Takes one item and returns an awaitable.
        data: List, iterator, generator or async iterator.

    Raises:
        asyncio.CancelledError: if this call or one of the items is cancelled; so are the others.
    """
    return await own_map(f, data, on_error="skip")


async def batch_process_fallible(
    fn: Callable[[T], Awaitable[R]],
    data: Iterable[T],
    batch_size: int = 100,
    stage_notifier: StageNotifier | None = None,
) -> list[tuple[int, R]]:
    """Call ``await fn(item)`` for every item, at most `batch_size` at a time; leave failures out.

    A slot that comes free is filled at once: nothing waits for the slowest of a batch.

    Args:
        fn: Takes one item and returns an awaitable.
        data: The items. An iterator is pulled as slots come free, or, with a notifier, which has to be told
            how many there are, read into a list first.
        batch_size: How many run at once, at least 1.
        stage_notifier: ``report_progress(total, done)`` is called at the start with 0, after every `batch_size`
            items that have ended, failures included, and at the end with the total. One that raises is logged,
            once, and not called again.

    Returns:
        Pairs of an item's index in `data` and its result, sorted.

    Raises:
        asyncio.CancelledError: if this call or one of the items is cancelled; so are the others.
        Exception: what `data` raises.
        ValueError: `batch_size` is below 1; nothing has been consumed.
    """
    check_function(fn, "batch_process_fallible")
    check_count(batch_size, "batch_size")
    if stage_notifier is None:
        return await own_map(fn, data, limit=batch_size, on_error="skip", with_index=True)
    items = list(data)
    report = _Report(stage_notifier, len(items))
    report.tell(0)
    pairs: list[tuple[int, R]] = []
    done = 0
    async with stream(fn, items, limit=batch_size) as outcomes:
        async for outcome in outcomes:
            if outcome.error is None:
                pairs.append((outcome.index, cast("R", outcome.value)))
            done += 1
            if done % batch_size == 0 or done == len(items):
                report.tell(done)
    pairs.sort(key=lambda pair: pair[0])
    return pairs


class _Report:
    """Reports progress to a notifier, which cannot fail the work."""

    def __init__(self, notifier: StageNotifier, total: int) -> None:
        self._notifier: StageNotifier | None = notifier
        self._total = total

    def tell(self, done: int) -> None:
        if self._notifier is None:
            return
        try:
            self._notifier.report_progress(self._total, done)
        except Exception:
            self._notifier = None
            _logger.exception("stage_notifier.report_progress failed; it is not called any more")


async def async_map_batch(
    f: Callable[[T], Awaitable[R]],
    data: Iterable[T] | AsyncIterable[T],
    batch_size: int,
    max_failure_fraction: float = 0.5,
) -> list[R]:
    """Return `batch_size` results of ``await f(item)``; a failed item is replaced by the next one.

    Starts `batch_size` items at once. A failed item is not tried again. An iterator is left where the last
    item was taken, so the next call goes on from there.

    Args:
        f: Takes one item and returns an awaitable.
        data: Iterator of items.
        batch_size: Results wanted, at least 1.
        max_failure_fraction: Give up when more than this share of `batch_size` has failed, 0 or more.

    Returns:
        The results in order of their items; fewer than `batch_size` if `data` ran out.

    Raises:
        spanloom.TooManyFailuresError: a ``RuntimeError``: more than ``max_failure_fraction * batch_size`` items
            failed; its ``__cause__`` is the last failure, and running items have been cancelled.
        asyncio.CancelledError: if this call or one of the items is cancelled; so are the others.
        ValueError: a number is out of range; nothing has been consumed.
    """
    check_count(batch_size, "batch_size")
    return await fill_batch(f, data, batch_size, max_failure_fraction=max_failure_fraction)
