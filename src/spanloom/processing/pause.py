"""The pause of all workers after a rate limit, as a `RateLimitStrategy` decides."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Final

from spanloom.concurrency.cooldown import Cooldown
from spanloom.concurrency.retry_after import retry_after_of
from spanloom.processing.dispatch import Dispatcher
from spanloom.processing.observer import ProcessingEvent
from spanloom.processing.rate_limit import RateLimitStrategy
from spanloom.processing.result import text_of

__all__ = ["SharedPause"]

_log = logging.getLogger(__name__)

MAX_TEXT: Final = 200
"""Characters of an exception's text in an event."""


class SharedPause:
    """One pause for all workers: a `Cooldown` whose length and slow start the strategy decides.

    A refusal of a call that started before the current pause belongs to that pause: fifty refusals at once ask
    the strategy once. A ``Retry-After`` of the refusal is a lower bound on the pause.

    Args:
        strategy: Decides.
        events: Gets an event when a pause begins and one when it ends.
    """

    def __init__(self, strategy: RateLimitStrategy, events: Dispatcher) -> None:
        self._strategy = strategy
        self._events = events
        self._gate = Cooldown(slow_start_items=0, name="rate limit")
        self._decided = asyncio.Event()
        self._decided.set()
        self._in_a_row = 0
        self._slowly = False
        self._since_resume = 0
        self._began: float | None = None
        self._until = 0.0
        """Time, on the loop's clock, until which servers have asked to wait."""
        self._error: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.generation: int = 0
        """Number of pauses so far."""

    @property
    def is_on(self) -> bool:
        """Whether calls are held back now."""
        return self._began is not None and not self._is_over

    @property
    def _is_over(self) -> bool:
        """Whether the pause's time has passed; the timer that ends it may fire a moment later."""
        return self._gate.remaining_s == 0 and self._decided.is_set()

    async def before_item(self) -> None:
        """Wait until no pause is on, and then for the delay of the slow start."""
        await self.before_attempt()
        if not self._slowly:
            return
        try:
            later, seconds = self._strategy.should_apply_slow_start(self._since_resume)
            seconds = float(seconds)
        except Exception:  # noqa: BLE001 -- the user's class; nobody may stay paused by it
            _log.exception("%s.should_apply_slow_start failed: no slow start", type(self._strategy).__name__)
            later, seconds = False, 0.0
        if not later:
            self._slowly, self._since_resume = False, 0
            return
        self._since_resume += 1
        if seconds > 0:
            await asyncio.sleep(seconds)
            await self.before_attempt()

    async def before_attempt(self) -> None:
        """Wait until no pause is on."""
        while self._began is not None:
            await self._decided.wait()
            await self._gate.acquire()
            if self._is_over:
                return

    def succeeded(self) -> None:
        """Note a successful call: the next pause counts from 1 again."""
        self._in_a_row = 0

    async def refused(self, worker_id: int, generation: int, error: Exception) -> None:
        """Begin a pause, unless the refusal belongs to one that has begun; a ``Retry-After`` may then extend that.

        Args:
            worker_id: Whose call was refused.
            generation: Value of `generation` when the call started.
            error: The refusal.
        """
        floor_s = retry_after_of(error) or 0.0
        now = asyncio.get_running_loop().time()
        if generation != self.generation:
            if self._began is not None and floor_s:
                self._until = max(self._until, now + floor_s)
                if self._decided.is_set() and floor_s > self._gate.remaining_s:
                    self._hold(floor_s)
            return
        self.end()  # the pause before, whose timer may be a moment late
        self.generation += 1
        self._in_a_row += 1
        self._slowly, self._since_resume = True, 0
        self._began, self._until = now, now + floor_s
        self._error = None
        self._decided.clear()  # no call starts until the strategy has answered, however long that takes
        seconds = 0.0
        try:
            wanted = float(await self._strategy.on_rate_limit(worker_id, self._in_a_row))
            if not math.isfinite(wanted):
                raise ValueError(f"a pause has an end: it must be a finite number of seconds (got {wanted})")
            seconds = max(wanted, now + floor_s - asyncio.get_running_loop().time())
        except Exception as failure:  # noqa: BLE001 -- the same
            _log.exception("%s.on_rate_limit failed: no pause", type(self._strategy).__name__)
            self._error = text_of(failure)[:MAX_TEXT]
        finally:
            self._events.post(
                ProcessingEvent.COOLDOWN_STARTED,
                worker_id=worker_id,
                duration=seconds,
                consecutive=self._in_a_row,
            )
            self._decided.set()
            self._hold(max(seconds, self._until - asyncio.get_running_loop().time()))

    def end(self) -> None:
        """End a pause now, if one is on."""
        if self._began is not None:
            self._over()

    def _hold(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds > 0:
            self._gate.pause(seconds, reason="rate limit")
        left_s = self._gate.remaining_s  # a longer one may have been asked for meanwhile
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._over)
        else:
            self._over()

    def _over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        began, self._began = self._began, None
        if began is None:
            return
        data: dict[str, object] = {"duration": asyncio.get_running_loop().time() - began}
        if self._error is not None:
            data["error"] = self._error
        self._events.post(ProcessingEvent.COOLDOWN_ENDED, **data)
