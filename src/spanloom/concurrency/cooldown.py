"""A pause for all callers of a server, when it tells one of them that there are too many requests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from spanloom._numbers import check_count, check_number, finite
from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.blocks import HeedfulBlock
from spanloom.concurrency.limits import FixedLimiter, Limiter
from spanloom.concurrency.line import Line
from spanloom.concurrency.overload import Judge, is_rate_limit
from spanloom.concurrency.rate import RateLimiter
from spanloom.concurrency.retry_after import retry_after_of
from spanloom.concurrency.slots import Slots
from spanloom.concurrency.ticking import loop_time
from spanloom.events import keys
from spanloom.events.types import EventType

__all__ = ["Cooldown"]


class Cooldown(HeedfulBlock):
    """Pause all calls when one of them is refused for exceeding a rate limit; then start slowly.

    Pause number k in a row lasts ``min(longest_s, pause_s * multiplier ** (k - 1))`` seconds, or longer if the
    ``Retry-After`` of the refusal asks for it. A successful call that started after the last pause ends the row. A
    refusal of a call that started before the present pause begins no new one, so fifty refusals at once make one
    pause, not fifty; the longest ``Retry-After`` among them counts.

    After a pause, start number n (from 0) of the next `slow_start_items` comes no earlier than
    ``initial + (final - initial) * n / slow_start_items`` seconds after the start before it, or after the end of the
    pause; initial and final are the two delays of the slow start. Running calls go on. First come, first served; waits
    are events of type ``slot_wait``, and each pause is a point event of type ``cooldown``.

    Use it as ``limit=`` of runners: each attempt of a job waits for the end of a pause and is observed; its
    exception still reaches the job's retry policy. By itself, ``async with cooldown:`` does the same for a block.
    It can wrap another limiter: ``Cooldown(AdaptiveLimiter())``.

    Args:
        limiter: Further bound of the calls: a number of slots, a limiter, or ``None`` for none. A `RateLimiter`
            counts a call when it starts, after a pause, not in `acquire`.
        pause_s: Seconds of the first pause in a row, 0 or more.
        longest_s: Seconds of the longest pause, at least `pause_s`, unless a server asks for more.
        multiplier: Factor from one pause in a row to the next, at least 1.
        slow_start_items: Starts after a pause that are spread; 0 to start all at once.
        slow_start_initial_delay_s: Seconds before the first of them.
        slow_start_final_delay_s: Seconds that the delay approaches with the last of them.
        is_refusal: Tells which exceptions are refusals; by default `is_rate_limit`: HTTP 429, 503 with a
            ``Retry-After``, and what clients call rate-limit errors.
        name: Its name in events.
        clock: Monotonic seconds; by default the running loop's clock.

    Raises:
        ValueError: a number is out of range.
        TypeError: `limiter` is neither an int nor a limiter, or another argument is not a number.
    """

    def __init__(
        self,
        limiter: int | Limiter | None = None,
        *,
        pause_s: float = 60.0,
        longest_s: float = 600.0,
        multiplier: float = 2.0,
        slow_start_items: int = 50,
        slow_start_initial_delay_s: float = 2.0,
        slow_start_final_delay_s: float = 0.1,
        is_refusal: Callable[[Exception], bool] = is_rate_limit,
        name: str = "cooldown",
        clock: Callable[[], float] = loop_time,
    ) -> None:
        self._pause_s = _at_least(0.0, pause_s, "pause_s")
        self._longest_s = _at_least(self._pause_s, longest_s, "longest_s", "pause_s, ")
        self._multiplier = _at_least(1.0, multiplier, "multiplier")
        self._items = _at_least(0.0, slow_start_items, "slow_start_items")
        self._initial_s = _at_least(0.0, slow_start_initial_delay_s, "slow_start_initial_delay_s")
        self._final_s = _at_least(0.0, slow_start_final_delay_s, "slow_start_final_delay_s")
        if isinstance(limiter, int):
            limiter = FixedLimiter(check_count(limiter, "limiter"), name=name)
        if limiter is not None and not isinstance(limiter, Limiter):
            raise TypeError(f"limiter must be an int, a limiter or None, not {type(limiter).__name__}")
        self._rate = limiter if isinstance(limiter, RateLimiter) else None
        # A call waits for the rate when it starts. A single slot lets one call at a time wait for it: else a batch
        # would start all its jobs only to have them wait.
        self._limiter = limiter if self._rate is None else Slots(1, name)
        self._is_refusal = Judge(is_refusal, name)
        self.name = name
        self._clock = clock
        self._until = -math.inf
        self._in_a_row = 0
        self._slow = 0
        """Starts since the last pause, while the slow start lasts."""
        self._slowly = False
        self._last_start = -math.inf
        self._line = Line(clock)
        HeedfulBlock.__init__(self)
        self.generation: int = 0
        """Number of pauses so far."""

    def __repr__(self) -> str:
        state = f"paused for {self.remaining_s:.1f} s" if self.remaining_s else "open"
        return f"<Cooldown {self.name} {state}, {self.generation} pauses so far>"

    @property
    def remaining_s(self) -> float:
        """Seconds until the present pause ends; 0 if there is none."""
        return max(0.0, self._until - self._clock())

    # the limiter ----------------------------------------------------------------------------------------

    def try_acquire(self) -> bool:
        """Take a slot if one is free and there is no pause; return whether it did."""
        return self._until <= self._clock() and (self._limiter is None or self._limiter.try_acquire())

    async def acquire(self) -> None:
        """Take a slot, and wait for the end of a pause. If cancelled while waiting, it has taken none."""
        if self.try_acquire():
            return
        limiter = self._limiter
        if limiter is not None:
            await limiter.acquire()
        try:
            if self._until > self._clock():
                with get_callback_manager().event(
                    EventType.SLOT_WAIT, {keys.LIMITER: self.name}, name=self.name
                ):
                    while (delay := self._until - self._clock()) > 0:  # noqa: ASYNC110 -- time has no event
                        await asyncio.sleep(delay)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the slot back."""
        if self._rate is not None:
            self._let_next_wait()
        elif self._limiter is not None:
            self._limiter.release()

    def _let_next_wait(self) -> None:
        door = self._limiter
        if isinstance(door, Slots) and door.in_use and not self._line:
            door.release()

    def attempt(self) -> _Attempt:
        """Return an async context manager for one call: waits for its start, observes its end. Runners enter it."""
        return _Attempt(self)

    # pausing --------------------------------------------------------------------------------------------

    def pause(self, seconds: float | None = None, *, reason: str = "pause()") -> None:
        """Begin a pause, or extend the present one: no call starts before it ends.

        Args:
            seconds: Duration from now, 0 or more; ``None`` for that of the next pause in the row.
            reason: The reason in the event.

        Raises:
            ValueError: `seconds` is negative or not finite.
            TypeError: it is not a number.
        """
        self._begin(self._next_s() if seconds is None else _at_least(0.0, seconds, "seconds"), reason, None)

    def _refused(self, generation: int, error: Exception) -> None:
        retry_after_s = retry_after_of(error) or 0.0
        if generation == self.generation:
            reason = "Retry-After" if retry_after_s else "refused"
            self._begin(max(self._next_s(), retry_after_s), reason, error)
        else:  # the call started before this pause
            self._until = max(self._until, self._clock() + retry_after_s)

    def _next_s(self) -> float:
        try:
            return min(self._longest_s, self._pause_s * self._multiplier**self._in_a_row)
        except OverflowError:
            return self._longest_s if self._pause_s else 0.0

    def _begin(self, seconds: float, reason: str, error: Exception | None) -> None:
        self.generation += 1
        self._in_a_row += 1
        self._until = max(self._until, self._clock() + seconds)
        self._slow, self._slowly = 0, self._items > 0
        payload: dict[str, object] = {keys.LIMITER: self.name, keys.DELAY_S: seconds, keys.REASON: reason}
        if error is not None:
            payload[keys.ERROR] = type(error).__name__
        get_callback_manager().emit(EventType.COOLDOWN, payload, name=self.name)

    # starting -------------------------------------------------------------------------------------------

    async def _pass(self) -> None:
        """Wait until one more call may start."""
        now = self._clock()
        if not self._line and self._allowed_at(now) <= now:
            self._start(now)
            return
        with get_callback_manager().event(EventType.SLOT_WAIT, {keys.LIMITER: self.name}, name=self.name):
            await self._line.wait(self._allowed_at, self._start)

    def _allowed_at(self, now: float) -> float:
        opens_at = self._opens_at()
        if self._rate is None:
            return opens_at
        delay_s = self._rate.delay_s()  # by a clock of its own
        return max(opens_at, now + delay_s) if delay_s > 0 else opens_at

    def _opens_at(self) -> float:
        if not self._slowly:
            return self._until
        delay_s = self._initial_s + (self._final_s - self._initial_s) * self._slow / self._items
        return max(self._until, max(self._last_start, self._until) + delay_s)

    def _start(self, now: float) -> None:
        self._last_start = now
        if self._rate is not None:
            self._rate.charge(1)
        if self._slowly:
            self._slow += 1
            self._slowly = self._slow < self._items


def _at_least(low: float, value: float, what: str, named: str = "") -> float:
    number = check_number(value, what)
    if not low <= number < math.inf:
        raise ValueError(f"{what} must be at least {named}{low:g}{finite(number)} (got {value!r})")
    return number


class _Attempt:
    """One call: waits for its start, and remembers the number of the last pause before it."""

    __slots__ = ("_cooldown", "_generation", "_inner")

    def __init__(self, cooldown: Cooldown) -> None:
        self._cooldown = cooldown
        self._generation = 0
        attempt = getattr(cooldown._limiter, "attempt", None)  # noqa: SLF001 -- a part of it
        self._inner = None if attempt is None else attempt()

    async def __aenter__(self) -> Self:
        cooldown = self._cooldown
        await cooldown._pass()  # noqa: SLF001 -- a part of it
        if cooldown._rate is not None:  # noqa: SLF001 -- the same
            cooldown._let_next_wait()  # noqa: SLF001 -- the same
        self._generation = cooldown.generation
        if self._inner is not None:
            await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cooldown = self._cooldown
        if self._inner is not None:
            await self._inner.__aexit__(kind, error, traceback)
        if error is None:
            if self._generation == cooldown.generation:
                cooldown._in_a_row = 0  # noqa: SLF001 -- a part of it
        elif isinstance(error, Exception) and cooldown._is_refusal(error):  # noqa: SLF001 -- the same
            cooldown._refused(self._generation, error)  # noqa: SLF001 -- the same
