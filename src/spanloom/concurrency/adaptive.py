"""A limiter that finds out how many concurrent calls a server can take.

Here is the measuring: when a measurement begins, counts, and ends. What follows from it is decided by
`spanloom.concurrency.gradient`.

One noun, and a little long: the documentation of its parameters is a sixth of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, NamedTuple, Self

from spanloom._numbers import check_count, check_number, finite
from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.blocks import HeedfulBlock
from spanloom.concurrency.evidence import Measurement, is_collapse
from spanloom.concurrency.gradient import GradientRule
from spanloom.concurrency.overload import Judge
from spanloom.concurrency.slots import Slots
from spanloom.concurrency.ticking import loop_time
from spanloom.events import keys
from spanloom.events.types import EventType

__all__ = ["AdaptiveLimiter", "LimitChange"]

HISTORY: Final = 100
"""Changes kept in `AdaptiveLimiter.changes`."""
LEAST_SPREAD: Final = 0.35
"""Least coefficient of variation assumed for call durations, as calls tend to end in bunches."""
SHORTEST_S: Final = 1e-6
"""Least duration assumed for a call, in seconds."""
LEAST_USE: Final = 0.5
"""Share of the slots that must be in use on average; else the server is not the bottleneck, as in Netflix's limits."""

ALL_USED: Final = 0.9
"""Share of the slots that must be in use on average for a collapse; else few calls ended because few were made."""
LEFT_OVER: Final = 0.25
"""Share of the slots that may still be held by calls from before the last change when a measurement begins."""

REFUSED: Final = 0.5
"""Share of failed calls above which a measurement ends early, if the limit was raised last."""

WHOLE: Final = 0.02
"""Share by which slot time and the duration of ended calls may differ; measurements are no more exact than that."""
ALIKE: Final = 0.25
"""Coefficient of variation of call durations below which calls are taken to end in bunches."""

LONGEST_LEFT_OVER: Final = 10
"""Mean call durations after which a measurement begins even so: calls from before the change may hang."""


class LimitChange(NamedTuple):
    """One change of an adaptive limit."""

    at_s: float
    """When it happened, on the limiter's clock."""
    previous: int
    limit: int
    reason: str
    """``slow start``, ``slow start is over``, ``room``, ``latency``, ``errors``, ``throughput fell``, ``try again``,
    ``probe``, ``no queue``, ``resize``."""


class AdaptiveLimiter(HeedfulBlock, Slots):
    """As many holders at once as the server can take: finds that limit by trial, and follows its changes.

    The limit starts at `initial` and doubles until calls become slower, or until more of them bring no more
    throughput. From then on it stays where a few calls queue at the server. Errors lower it at once. A limit that
    failed is remembered, approached again in ever smaller steps, and retried after ever longer waits. Now and then,
    and when calls become slower, the limit is lowered for one measurement, to tell a queue from a server that has
    become slower. `spanloom.concurrency.gradient` documents the rule and its sources.

    Use it as ``limit=`` of one or several runners: it then measures each attempt of a job, without the back-offs of a
    retry policy. By itself, ``async with limiter:`` takes a slot and measures the block.

    Each change is a point event of type ``limit_change``, with the reason. First come, first served; waits are
    events of type ``slot_wait``. Lowering the limit revokes no slot that is held. Calls that are cancelled, or raise
    anything else but an `Exception`, are not counted. Not safe to use from several event loops at the same time.

    Args:
        initial: Slots at the start, from `minimum` to `maximum`.
        minimum: Fewest slots, at least 1.
        maximum: Most slots.
        adaptation_interval: Least duration of a measurement in seconds; where all calls take about the same time, up to
            one mean duration of a call is added. A measurement begins when most calls that were running at the last
            change have ended. It ends early if most calls fail after the limit was raised.
        throughput_window: Least number of calls in a measurement, or twice the number of slots, whichever is less.
        increase_threshold: The limit grows only while the throughput is above this share of what it was before.
        decrease_threshold: A growth after which the throughput is below this share of what it was is taken back.
        stability_window: Measurements that must agree before the limit changes its direction.
        error_backoff_factor: Factor on the limit when calls fail, between 0 and 1. If calls were queueing, the limit
            also falls to 0.85 of what the server holds without a queue, or below.
        error_tolerance: Share of failed calls that is normal, from 0 to below 1; 0 backs off at every single error.
        is_overload: Tells which exceptions count as errors; by default every `Exception` does.
        name: Its name in events.
        clock: Monotonic seconds; by default the running loop's clock.

    Raises:
        ValueError: a number is out of range, or they contradict each other.
        TypeError: a number of slots, calls or measurements is not an int, or another argument is not a number.
    """

    def __init__(
        self,
        initial: int = 5,
        minimum: int = 1,
        maximum: int = 100,
        adaptation_interval: float = 2.0,
        throughput_window: int = 20,
        increase_threshold: float = 0.98,
        decrease_threshold: float = 0.90,
        stability_window: int = 3,
        error_backoff_factor: float = 0.7,
        *,
        error_tolerance: float = 0.05,
        is_overload: Callable[[Exception], bool] | None = None,
        name: str = "adaptive limiter",
        clock: Callable[[], float] = loop_time,
    ) -> None:
        check_count(minimum, "minimum")
        check_count(stability_window, "stability_window")
        if not minimum <= check_count(initial, "initial") <= check_count(maximum, "maximum"):
            raise ValueError(
                f"initial must be from minimum to maximum (got minimum={minimum}, initial={initial}, maximum={maximum})"
            )
        interval_s = _above_zero(adaptation_interval, "adaptation_interval")
        backoff_factor = _above_zero(error_backoff_factor, "error_backoff_factor", below=1.0)
        decrease_threshold = _above_zero(decrease_threshold, "decrease_threshold")
        increase_threshold = _above_zero(increase_threshold, "increase_threshold")
        error_tolerance = check_number(error_tolerance, "error_tolerance")
        if not 0 <= error_tolerance < 1:
            raise ValueError(f"error_tolerance must be at least 0 and below 1 (got {error_tolerance!r})")
        HeedfulBlock.__init__(self)
        Slots.__init__(self, initial, name)
        self._rule = GradientRule(
            minimum,
            maximum,
            increase_threshold,
            decrease_threshold,
            stability_window,
            backoff_factor,
            error_tolerance,
        )
        self._interval_s = interval_s
        self._window = check_count(throughput_window, "throughput_window")
        self._is_overload = None if is_overload is None else Judge(is_overload, name)
        self._clock = clock
        self._changed_at = -math.inf
        self._running = 0
        """Calls running now; fewer than the slots in use while some jobs back off."""
        self._left_over = 0
        """Calls still running that began before the last change."""
        self._latency_s: float | None = None
        """Moving average of call durations; used only to decide how long to measure."""
        self._measure = _Measure(-math.inf)
        self.changes: deque[LimitChange] = deque(maxlen=HISTORY)
        """The last changes, oldest first."""

    @property
    def minimum(self) -> int:
        """Fewest slots there will be."""
        return self._rule.minimum

    @property
    def maximum(self) -> int:
        """Most slots there will be."""
        return self._rule.maximum

    def resize(self, size: int) -> None:
        """Set the limit to `size`, and go on adapting from there; for code that knows more about the server.

        Additional slots go to the longest waiting tasks at once. Slots that are held stay held. The reason of the
        change is ``resize``.

        Raises:
            ValueError: `size` is not from `minimum` to `maximum`.
            TypeError: `size` is not an int.
        """
        if not self.minimum <= check_count(size, "size") <= self.maximum:
            raise ValueError(f"size must be from {self.minimum} to {self.maximum} (got {size})")
        if size != self._size:
            self._rule.moved()
            self._change(self._clock(), size, "resize")

    def attempt(self) -> _Attempt:
        """Return an async context manager that measures one call of a slot's holder; runners enter it by themselves."""
        return _Attempt(self)

    # measuring ------------------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """Measure as at the start, as if no call were running: the ends of running calls will not be reported."""
        self._running = self._left_over = 0
        self._measure = _Measure(-math.inf)

    def _started(self) -> float:
        now, measure = max(self._clock(), self._changed_at), self._measure
        if not measure.started and measure.since_s == -math.inf:
            measure.since_s = now
        measure.use(self._running, now)
        self._running += 1
        measure.started += 1
        measure.was_full |= self._in_use >= self._size
        return now

    def _ended(self, started_at: float, error: BaseException | None) -> None:
        """Count the end of a call, and decide whether it completes a measurement."""
        now = self._clock()
        measure = self._measure
        measure.use(self._running, now)
        self._running -= 1
        if started_at < self._changed_at:
            self._left_over -= 1
        if error is None:
            self._succeeded(measure, started_at, now)
        elif not isinstance(error, Exception):
            if started_at >= measure.since_s:
                measure.started -= 1
            return
        elif started_at < self._changed_at:
            return  # a failure under an earlier limit has had its consequences
        elif self._is_overload is None or self._is_overload(error):
            measure.errors += 1
        self._decide(measure, now)

    def _succeeded(self, measure: _Measure, started_at: float, now: float) -> None:
        duration_s = now - started_at
        if self._latency_s is None:
            self._latency_s = duration_s
        else:
            self._latency_s += (duration_s - self._latency_s) * max(0.05, 1 / (self._size + 1))
        if measure.from_s is None:
            since_s = now - self._changed_at
            if since_s >= self._latency_s and (
                self._left_over <= LEFT_OVER * self._size or since_s >= LONGEST_LEFT_OVER * self._latency_s
            ):  # most calls that ran at the change have ended
                measure.begin(now)
            return
        measure.count += 1
        measure.total_s += duration_s
        measure.squares += duration_s * duration_s

    def _decide(self, measure: _Measure, now: float) -> None:
        started = max(measure.started, measure.errors)
        if now < measure.since_s + self._interval_s and not self._is_refused(measure, started, now):
            return
        if self._rule.is_overload(started, measure.errors):
            self._turn(now, Measurement(self._size, 0.0, 0.0, started, measure.errors, is_full=True))
            return
        if measure.from_s is None or not measure.count:
            return
        seconds = now - measure.from_s
        if seconds < self._interval_s:
            return
        if measure.count >= min(self._window, 2 * self._size):
            round_s = max(self._latency_s or 0.0, SHORTEST_S)
            # Within one more call duration, every bunch has ended once.
            if measure.is_whole() or seconds >= self._interval_s + round_s:
                self._turn(now, measure.result(self._size, now))
                return
        if measure.expected is None:
            measure.expected = self._rule.expected(self._size)
        # Less one round: calls of equal duration may all be about to end.
        if (
            is_collapse(measure.expected * seconds - self._size, measure.count)
            and measure.used_s >= ALL_USED * self._size * seconds
        ):
            self._turn(now, measure.result(self._size, now), collapsed=True)

    def _is_refused(self, measure: _Measure, started: int, now: float) -> bool:
        """Tell whether most calls of a whole round fail under a limit that was raised last: then do not wait longer.

        Only once, as congestion control reacts once to the losses of a round trip (RFC 9002, 7.3.2): the lowered limit
        is measured for an interval, so that a short failure of the server does not take the limit to its minimum.
        """
        return (
            self._rule.has_grown
            and started >= self._size
            and measure.errors > REFUSED * started
            and self._latency_s is not None
            and now >= measure.since_s + self._latency_s
        )

    def _turn(self, now: float, seen: Measurement, *, collapsed: bool = False) -> None:
        """End a measurement, and set the limit that follows from it."""
        change = self._rule.collapsed(seen) if collapsed else self._rule.next(seen)
        if change.limit == self._size:
            self._measure = _Measure(now)
            self._measure.begin(now)
        else:
            self._change(now, change.limit, change.reason)

    def _change(self, now: float, limit: int, reason: str) -> None:
        """Set another limit, emit its event, and start a new measurement."""
        previous = self._size
        self._measure = _Measure(now)
        # Later than all calls started so far, even if the clock has not advanced since; `_started` allows for it.
        self._changed_at = math.nextafter(now, math.inf)
        self._left_over = self._running
        self.changes.append(LimitChange(now, previous, limit, reason))
        self._resize(limit)
        payload = {
            keys.LIMITER: self.name,
            keys.PREVIOUS: previous,
            keys.LIMIT: limit,
            keys.REASON: reason,
        }
        get_callback_manager().emit(EventType.LIMIT_CHANGE, payload, name=self.name)


def _above_zero(value: float, what: str, *, below: float = math.inf) -> float:
    number = check_number(value, what)
    if not 0 < number < below:
        bound = f"between 0 and {below:g}" if below < math.inf else f"above 0{finite(number)}"
        raise ValueError(f"{what} must be {bound} (got {value!r})")
    return number


class _Measure:
    """The counters of a measurement, from one decision to the next."""

    __slots__ = (
        "at_s",
        "count",
        "errors",
        "expected",
        "from_s",
        "since_s",
        "squares",
        "started",
        "total_s",
        "used_s",
        "was_full",
    )

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.from_s: float | None = None
        """Since when ends of calls are counted; ``None`` while the effects of the last change last."""
        self.started = 0
        self.errors = 0
        self.count = 0
        self.was_full = False
        self.total_s = 0.0
        self.squares = 0.0
        self.expected: float | None = None
        """Throughput that the rule expects; ``None`` until it is needed."""
        self.used_s = 0.0
        """Slot-seconds in use since `from_s`."""
        self.at_s = since_s
        """Time up to which `used_s` counts."""

    def begin(self, now: float) -> None:
        """Count ends from now on."""
        self.from_s = self.at_s = now
        self.used_s = 0.0

    def use(self, slots: int, now: float) -> None:
        """Count `slots` as in use since the last call."""
        if self.from_s is not None:
            self.used_s += slots * (now - self.at_s)
            self.at_s = now

    def is_whole(self) -> bool:
        """Tell whether the measurement covers whole bunches of calls.

        Calls of equal duration end in bunches, and a bunch at either edge would count twice or not at all. By Little's
        law, slots were in use as long as the ended calls lasted if the calls now running are as old as those were
        that ran at the beginning.
        """
        return abs(self.used_s - self.total_s) <= WHOLE * self.total_s or self.spread() > ALIKE

    def spread(self) -> float:
        """Return the coefficient of variation of call durations; 0 if calls take no time."""
        mean_s = self.total_s / self.count
        variance = max(0.0, self.squares / self.count - mean_s * mean_s)
        return math.sqrt(variance) / mean_s if mean_s > 0 else 0.0

    def result(self, limit: int, now: float) -> Measurement:
        """Return the measurement; `count` and the time from `from_s` to `now` are above 0."""
        count = self.count
        spread = max(LEAST_SPREAD, self.spread())
        span_s = now - self.from_s if self.from_s is not None else math.inf
        return Measurement(
            limit,
            count / span_s,
            spread / math.sqrt(count),
            max(self.started, self.errors),
            self.errors,
            self.was_full and self.total_s >= LEAST_USE * limit * span_s,
        )


class _Attempt:
    """Measures one call."""

    __slots__ = ("_limiter", "_started_at")

    def __init__(self, limiter: AdaptiveLimiter) -> None:
        self._limiter = limiter
        self._started_at = 0.0

    async def __aenter__(self) -> Self:
        self._started_at = self._limiter._started()  # noqa: SLF001 -- a part of the limiter
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._limiter._ended(self._started_at, error)  # noqa: SLF001 -- the same
