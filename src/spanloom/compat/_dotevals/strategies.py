"""Strategies with ``execute``: tasks in, results out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar, cast

from spanloom._numbers import check_count
from spanloom.compat._dotevals.throughput import ThroughputTracker
from spanloom.concurrency.adaptive import AdaptiveLimiter
from spanloom.concurrency.limits import FixedLimiter, Limiter
from spanloom.concurrency.stream import stream

__all__ = [
    "Adaptive",
    "AsyncConcurrencyStrategy",
    "AsyncSequential",
    "Batch",
    "Sequential",
    "SlidingWindow",
    "StrategyLimiter",
    "SyncConcurrencyStrategy",
    "limit_of",
]

T = TypeVar("T")

SHOWN: Final = 10
"""Most recent changes of the limit that `Adaptive.get_stats` returns."""


class StrategyLimiter(AdaptiveLimiter):
    """The limiter of an `Adaptive`; reports every end of a call to it, in ``execute`` and in `ForEach`."""

    def __init__(self, owner: Adaptive, *numbers: Any) -> None:
        # Tolerance 0: this strategy promises to back off at every error.
        super().__init__(*numbers, error_tolerance=0.0, name="Adaptive")
        self._owner = owner

    def _ended(self, started_at: float, error: BaseException | None) -> None:
        before = self.size
        self._owner._before(error)  # noqa: SLF001 -- a part of it
        super()._ended(started_at, error)
        self._owner._after(before, self.size)  # noqa: SLF001 -- the same

    def _started(self) -> float:
        self._owner.total_tasks += 1
        return super()._started()


class Adaptive:
    """Runs as many tasks at once as add throughput, fewer when they fail: an `AdaptiveLimiter` with a history.

    Args:
        initial_concurrency: Tasks at once at the start, clamped to the bounds.
        min_concurrency: Least tasks at once.
        max_concurrency: Most tasks at once.
        adaptation_interval: Least seconds between decisions.
        throughput_window: Number of last ends of tasks from which the throughput is computed.
        increase_threshold: Increase only while the throughput is above this fraction of the former one.
        decrease_threshold: Undo an increase after which the throughput is below this fraction of the former one.
        stability_window: Measurements that must agree before the direction changes.
        error_backoff_factor: Factor by which the number is multiplied when tasks fail.

    Attributes:
        total_tasks: Tasks started.
        recent_errors: Failures since the number last changed.
        adaptation_history: At each change, the time, the new number, and the throughput or ``None``.
    """

    def __init__(
        self,
        initial_concurrency: int = 5,
        min_concurrency: int = 1,
        max_concurrency: int = 100,
        adaptation_interval: float = 2.0,
        throughput_window: int = 20,
        increase_threshold: float = 0.98,
        decrease_threshold: float = 0.90,
        stability_window: int = 3,
        error_backoff_factor: float = 0.7,
    ) -> None:
        self.min_concurrency = min_concurrency
        self.max_concurrency = max_concurrency
        self.adaptation_interval = adaptation_interval
        self.increase_threshold = increase_threshold
        self.decrease_threshold = decrease_threshold
        self.stability_window = stability_window
        self.error_backoff_factor = error_backoff_factor
        self.throughput_tracker: ThroughputTracker = ThroughputTracker(throughput_window)
        self.total_tasks: int = 0
        self.recent_errors: int = 0
        self.adaptation_history: list[tuple[float, int, float | None]] = []
        self._has_changed = False
        self.limiter: AdaptiveLimiter = StrategyLimiter(
            self,
            max(
                check_count(min_concurrency, "min_concurrency"),
                min(
                    check_count(initial_concurrency, "initial_concurrency"),
                    check_count(max_concurrency, "max_concurrency"),
                ),
            ),
            min_concurrency,
            max_concurrency,
            adaptation_interval,
            throughput_window,
            increase_threshold,
            decrease_threshold,
            stability_window,
            error_backoff_factor,
        )

    @property
    def current_concurrency(self) -> int:
        """Tasks that may run at once now."""
        return self.limiter.size

    def execute(
        self,
        tasks: Iterable[Callable[[], Awaitable[T]]],
        progress_callback: Callable[[T], object] | None = None,
    ) -> AsyncIterator[T]:
        """Run the tasks, and yield their results in completion order, without those that are ``None``.

        Args:
            tasks: Functions that return an awaitable; pulled as slots come free.
            progress_callback: Called with each result before it is yielded.

        Raises:
            Exception: what a task raises; the others are cancelled, and awaited.
        """
        return _execute(tasks, self.limiter, progress_callback, keep_none=False)

    def get_stats(self) -> dict[str, Any]:
        """Return the numbers so far: what runs at once, throughput, ends, starts, recent errors, the last changes."""
        return {
            "current_concurrency": self.current_concurrency,
            "throughput": self.throughput_tracker.get_throughput(),
            "total_completed": self.throughput_tracker.total_completed,
            "total_tasks": self.total_tasks,
            "recent_errors": self.recent_errors,
            "adaptation_history": self.adaptation_history[-SHOWN:],
        }

    def _before(self, error: BaseException | None) -> None:
        if self._has_changed:
            self.recent_errors, self._has_changed = 0, False
        if error is None:
            self.throughput_tracker.record_completion(time.time())
        elif isinstance(error, Exception):
            self.recent_errors += 1

    def _after(self, before: int, now: int) -> None:
        if before != now:
            self._has_changed = True
            self.adaptation_history.append((time.time(), now, self.throughput_tracker.get_throughput()))


class SlidingWindow:
    """Runs a fixed number of tasks at once.

    Args:
        max_concurrency: How many, at least 1.

    Raises:
        ValueError: `max_concurrency` is below 1.
    """

    def __init__(self, max_concurrency: int = 10) -> None:
        self.max_concurrency: int = check_count(max_concurrency, "max_concurrency")

    def execute(
        self,
        tasks: Iterable[Callable[[], Awaitable[T]]],
        progress_callback: Callable[[T], object] | None = None,
    ) -> AsyncIterator[T]:
        """Run the tasks, and yield all results in completion order; otherwise as `Adaptive.execute`."""
        return _execute(tasks, self.max_concurrency, progress_callback)


class AsyncSequential:
    """Runs one task after the other."""

    def execute(
        self,
        tasks: Iterable[Callable[[], Awaitable[T]]],
        progress_callback: Callable[[T], object] | None = None,
    ) -> AsyncIterator[T]:
        """Run the tasks, and yield all results in order; otherwise as `Adaptive.execute`."""
        return _execute(tasks, 1, progress_callback)


class Sequential:
    """Calls functions one after the other."""

    def execute(
        self, tasks: Iterable[Callable[[], T]], progress_callback: Callable[[T], object] | None = None
    ) -> Iterator[T]:
        """Call each task when its result is asked for.

        Args:
            tasks: Functions without arguments.
            progress_callback: Called with each result before it is yielded.

        Raises:
            Exception: what a task raises.
        """
        for task in tasks:
            yield _told(task(), progress_callback)


class Batch:
    """Calls functions one after the other, taking them from the input in batches.

    Args:
        batch_size: How many are taken at a time, at least 1.

    Raises:
        ValueError: `batch_size` is below 1.
    """

    def __init__(self, batch_size: int = 100) -> None:
        self.batch_size: int = check_count(batch_size, "batch_size")

    def execute(
        self, tasks: Iterable[Callable[[], T]], progress_callback: Callable[[T], object] | None = None
    ) -> Iterator[T]:
        """Call each task when its result is asked for; otherwise as `Sequential.execute`."""
        rest = iter(tasks)
        while batch := list(islice(rest, self.batch_size)):
            for task in batch:
                yield _told(task(), progress_callback)


AsyncConcurrencyStrategy: TypeAlias = SlidingWindow | Adaptive | AsyncSequential
SyncConcurrencyStrategy: TypeAlias = Batch | Sequential


def limit_of(strategy: object) -> int | Limiter | None:
    """Return the limit for a runner that corresponds to `strategy`.

    Args:
        strategy: One of this module's, a number or a limiter, or ``None``.

    Raises:
        TypeError: it is something else.
    """
    if strategy is None or isinstance(strategy, (int, Limiter)):
        return strategy
    if isinstance(strategy, Adaptive):
        return strategy.limiter
    if isinstance(strategy, SlidingWindow):
        return FixedLimiter(strategy.max_concurrency)
    if isinstance(strategy, (AsyncSequential, Sequential, Batch)):
        return 1
    raise TypeError(
        f"concurrency must be Adaptive(), SlidingWindow(), AsyncSequential() or Sequential(), a number or a limiter, "
        f"not {type(strategy).__name__}"
    )


async def _execute(
    tasks: Iterable[Callable[[], Awaitable[T]]],
    limit: int | Limiter,
    progress_callback: Callable[[T], object] | None,
    *,
    keep_none: bool = True,
) -> AsyncIterator[T]:
    async with stream(tasks, limit=limit, on_error="raise") as outcomes:
        async for outcome in outcomes:
            if keep_none or outcome.value is not None:
                yield _told(cast("T", outcome.value), progress_callback)


def _told(result: T, progress_callback: Callable[[T], object] | None) -> T:
    if progress_callback is not None:
        progress_callback(result)
    return result
