"""A bound on how much may start per time: requests a second, tokens a minute."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from spanloom._numbers import check_count, check_number, finite
from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.line import Line
from spanloom.concurrency.ticking import loop_time
from spanloom.events import keys
from spanloom.events.types import EventType

__all__ = ["RateLimiter"]


class RateLimiter:
    """At most `max_rate` in any span of `period_s` seconds, wherever the span begins: starts, tokens, bytes.

    The rule is the sliding-window log: with one unit a start, start number k may happen no earlier than
    `period_s` after start number ``k - max_rate``. A burst of `max_rate` is therefore allowed after a pause,
    and is followed by a pause. First come, first served: the first in line sleeps until its start is allowed,
    the others wait for their turn, so that a large request is not overtaken for ever by small ones. A
    cancelled one leaves the line without having taken anything.

    For tokens a minute, acquire as many as a call is expected to need, and charge the difference later::

        tokens = RateLimiter(90_000, 60, name="tokens")
        await tokens.acquire(estimate)
        answer = await client.complete(prompt)
        tokens.charge(answer.usage.total_tokens - estimate)

    aiolimiter, the usual library, is a leaky bucket: it allows up to ``2 * max_rate`` starts in one
    period (a full burst, and what leaks meanwhile), which providers answer with 429, and it cannot
    tell whether it would wait. Hence this one.

    As ``limit=`` of a runner it counts every attempt of a job. In a `Cooldown` it counts when a call starts, after a
    pause.

    A rate has no holders: `release` does nothing, and any number of jobs may overlap. Use
    ``async with FixedLimiter(n)`` inside the job to bound them, too.

    Args:
        max_rate: Units per period, at least 1.
        period_s: Length of the period in seconds, above 0.
        name: Its name in events.
        clock: Monotonic seconds; by default the running loop's clock.

    Raises:
        ValueError: `max_rate` is below 1, or `period_s` is not above 0 and finite.
        TypeError: `max_rate` is not an int, or `period_s` is not a number.
    """

    def __init__(
        self,
        max_rate: int,
        period_s: float = 60.0,
        *,
        name: str = "rate limiter",
        clock: Callable[[], float] = loop_time,
    ) -> None:
        self.period_s: float = check_number(period_s, "period_s")
        if not 0 < self.period_s < math.inf:
            raise ValueError(f"period_s must be above 0 seconds{finite(period_s)} (got {period_s})")
        self.max_rate: int = check_count(max_rate, "max_rate")
        self.name = name
        self._clock = clock
        self._log: deque[tuple[float, int]] = deque()  # what still counts: when, and how much
        self._used = 0
        self._line = Line(clock)

    def __repr__(self) -> str:
        return f"<RateLimiter {self.name} {self.max_rate} per {self.period_s} s>"

    def try_acquire(self, amount: int = 1) -> bool:
        """Take `amount` if that is allowed now and no task waits; return whether it did.

        Raises:
            ValueError: `amount` is below 1, or more than a period allows at all.
            TypeError: `amount` is not an int.
        """
        self._check(amount)
        now = self._clock()
        if self._line or self._allowed_at(amount, now) > now:
            return False
        self._take(amount, now)
        return True

    async def acquire(self, amount: int = 1) -> None:
        """Wait until `amount` is allowed, and take it. If cancelled while waiting, it has taken nothing.

        Raises:
            ValueError: `amount` is below 1, or more than a period allows at all: it could wait for ever.
            TypeError: `amount` is not an int.
        """
        if self.try_acquire(amount):
            return
        with get_callback_manager().event(EventType.SLOT_WAIT, {keys.LIMITER: self.name}, name=self.name):
            await self._line.wait(partial(self._allowed_at, amount), partial(self._take, amount))

    def delay_s(self, amount: int = 1) -> float:
        """Return the seconds until `amount` is allowed, if nothing else is taken before; 0 if it is allowed now.

        Raises:
            ValueError: `amount` is below 1, or more than a period allows at all.
            TypeError: `amount` is not an int.
        """
        self._check(amount)
        now = self._clock()
        return max(0.0, self._allowed_at(amount, now) - now)

    def charge(self, amount: int) -> None:
        """Count `amount` as used just now, whether it is allowed or not: later requests wait for it.

        Args:
            amount: How much more a call took than it had acquired. Below 0, so much is given back, and a waiting task
                that fits now goes on. It is taken off the oldest amounts that still count, whoever acquired them: the
                caller's own is no older, so no window ever holds more than is allowed. Amounts acquired longer than a
                period ago no longer count, and cannot be given back.

        Raises:
            TypeError: `amount` is not an int.
        """
        given: object = amount
        if not isinstance(given, int) or isinstance(given, bool):
            raise TypeError(
                f"amount must be an int, below 0 to give back (got {given!r}, {type(given).__name__})"
            )
        if amount > 0:
            self._take(amount, self._clock())
            return
        self._forget(self._clock())
        while amount < 0 and self._log:
            when, taken = self._log.popleft()
            back = min(taken, -amount)
            amount += back
            self._used -= back
            if taken > back:
                self._log.appendleft((when, taken - back))
        self._line.look_again()

    def release(self) -> None:
        """Do nothing: a start cannot be given back."""

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _check(self, amount: int) -> None:
        if check_count(amount, "amount") > self.max_rate:
            raise ValueError(
                f"{self.name} allows {self.max_rate} in {self.period_s} s, so {amount} at once could wait for ever"
            )

    def _take(self, amount: int, now: float) -> None:
        if self._log and self._log[-1][0] == now:
            self._log[-1] = now, self._log[-1][1] + amount
        else:
            self._log.append((now, amount))
        self._used += amount

    def _allowed_at(self, amount: int, now: float) -> float:
        """Return the earliest time, on the limiter's clock, at which `amount` more is allowed."""
        log, period_s = self._log, self.period_s
        self._forget(now)
        excess = self._used + amount - self.max_rate
        if excess <= 0:
            return -math.inf
        for when, taken in log:  # seldom more than the first few: the oldest expire first
            excess -= taken
            if excess <= 0:
                return when + period_s
        return now  # never reached: `amount` fits once everything has expired

    def _forget(self, now: float) -> None:
        """Remove what is too old to count."""
        while self._log and self._log[0][0] + self.period_s <= now:
            self._used -= self._log.popleft()[1]
