"""`fill_batch`: a batch of a given size, where a failed item makes room for the next one."""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TypeVar, cast

from spanloom._numbers import check_count, check_number
from spanloom.callbacks.standing import StallAfter
from spanloom.concurrency.functions import check_function
from spanloom.concurrency.runner import Run
from spanloom.concurrency.sink import Sink
from spanloom.concurrency.source import Source
from spanloom.concurrency.window import Window
from spanloom.events.event import JobEvent
from spanloom.exceptions import TooManyFailuresError

__all__ = ["fill_batch"]

T = TypeVar("T")
R = TypeVar("R")


class _FillSink(Sink):
    """Keeps the successes; every failure allows one more item, up to a number."""

    def __init__(self, allowed: int, size: int, total: int | None) -> None:
        self.results: dict[int, object] = {}
        self.failures = 0
        self.last: Exception | None = None
        self.gave_up = False
        self._allowed = allowed
        self._size = size
        self._total = total
        self.window: Window | None = None

    @property
    def total(self) -> int | None:
        """Number of items that will be taken if no more fail; ``None`` if the input has no known length."""
        return None if self._total is None else min(self._total, self._size + self.failures)

    def ok(self, index: int, record: JobEvent | None, value: object) -> bool:
        self.results[index] = value
        return False

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        self.failures += 1
        self.last = error
        self.gave_up = self.failures > self._allowed
        if self.window is not None:
            self.window.quota = self._size + self.failures
        if record is not None:
            record.family.counts.total = self.total
        return self.gave_up


def _allowed(share: float) -> int:
    """Return the largest integer not above `share`, up to rounding errors: ``0.29 * 100`` is 28.999999999999996."""
    if share >= sys.maxsize:
        return sys.maxsize
    nearest = round(share)
    return nearest if math.isclose(share, nearest, rel_tol=1e-12) else int(share)


async def fill_batch(
    func: Callable[[T], Awaitable[R]],
    source: Iterable[T] | AsyncIterable[T],
    size: int,
    *,
    max_failure_fraction: float = 0.5,
    desc: str | None = None,
    stall_after: StallAfter = "default",
) -> list[R]:
    """Return `size` results of ``await func(item)``; a failed item is replaced by the next one.

    Starts `size` items at once. A failed item is not retried: the next item of `source` takes its
    place. For loops that need batches of a constant size. An iterator is left after the last item
    taken, so the next call goes on from there.

    Args:
        func: Takes one item and returns an awaitable.
        source: Iterable, iterator, async iterable or async iterator.
        size: Results wanted, at least 1.
        max_failure_fraction: Give up when more than this share of `size` has failed, 0 or more.
        desc: Name of the batch; by default the name of `func`.
        stall_after: As for `run_jobs`.

    Returns:
        The results in the order of their items in `source`; fewer than `size` if it ran out of items.

    Raises:
        TooManyFailuresError: more than ``max_failure_fraction * size`` items failed; its
            ``__cause__`` is the last failure, and running items have been cancelled.
        asyncio.CancelledError: if this call or one of the items is cancelled.
        ValueError: a number is out of range; nothing has been consumed.
        TypeError: an argument is of the wrong type; nothing has been consumed.
    """
    check_function(func, "fill_batch")
    check_count(size, "size")
    max_failure_fraction = check_number(max_failure_fraction, "max_failure_fraction")
    if not max_failure_fraction >= 0:
        raise ValueError(f"max_failure_fraction must be at least 0 (got {max_failure_fraction!r})")
    items = Source.of(source, "source", jobs=False)
    sink = _FillSink(_allowed(max_failure_fraction * size), size, items.total)
    items.total = sink.total
    run = Run.bounded(
        "fill_batch",
        items,
        sink,
        limit=size,
        call=func,
        function=func,
        desc=desc,
        stall_after=stall_after,
        quota=size,
    )
    sink.window = cast("Window", run.engine)
    try:
        await run.run()
    except Exception as error:
        if sink.gave_up and error is sink.last:
            raise TooManyFailuresError(
                f"{sink.failures} items failed, more than max_failure_fraction={max_failure_fraction:g} of size={size} "
                f"allows; the last one with {type(error).__name__}"
            ) from error
        raise
    finally:
        sink.window = sink.last = None  # its traceback leads to the sink: see ListSink.results
    return cast("list[R]", [sink.results[index] for index in sorted(sink.results)])
