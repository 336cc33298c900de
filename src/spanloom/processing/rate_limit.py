"""How long to pause after a rate limit, and how slowly to start again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from spanloom.processing.bounds import check_amount, check_whole

__all__ = ["LONGEST_S", "ExponentialBackoffStrategy", "FixedDelayStrategy", "RateLimitStrategy"]

LONGEST_S: Final = 600.0
"""Seconds of the longest pause by default."""


class RateLimitStrategy(ABC):
    """Decides about pauses; the processor carries them out."""

    @abstractmethod
    async def on_rate_limit(self, worker_id: int, consecutive_limit_count: int) -> float:
        """Return how long all workers are to pause, in seconds; 0 for not at all.

        Called once per pause, however many calls are refused at the same time.

        Args:
            worker_id: Number of the worker whose call was refused.
            consecutive_limit_count: Number of this pause since the last successful call, from 1.
        """

    @abstractmethod
    def should_apply_slow_start(self, items_since_resume: int) -> tuple[bool, float]:
        """Return whether to delay an item, and by how many seconds.

        Called for each item that starts after a pause, until it returns False; never before the first pause.

        Args:
            items_since_resume: Items started since the pause, from 0.
        """


class ExponentialBackoffStrategy(RateLimitStrategy):
    """Pauses longer each time; then starts slowly, with falling delays.

    Pause number k in a row lasts ``min(initial_cooldown * backoff_multiplier ** (k - 1), max_cooldown)`` seconds.
    Item number n, from 0, of the `slow_start_items` after it is delayed by
    ``max(final, initial - (initial - final) * n / slow_start_items)`` seconds, with the two delays of the slow start.

    Args:
        initial_cooldown: Seconds of the first pause, 0 or more.
        max_cooldown: Seconds of the longest, 0 or more.
        backoff_multiplier: Factor from one pause to the next, at least 1.
        slow_start_items: Number of items that are delayed; 0 for none.
        slow_start_initial_delay: Seconds by which the first of them is delayed, 0 or more.
        slow_start_final_delay: Seconds towards which the delays fall, 0 or more.

    Raises:
        ValueError: a number is out of range.
        TypeError: one is not a number.
    """

    def __init__(
        self,
        initial_cooldown: float = 60.0,
        max_cooldown: float = LONGEST_S,
        backoff_multiplier: float = 2.0,
        slow_start_items: int = 50,
        slow_start_initial_delay: float = 2.0,
        slow_start_final_delay: float = 0.1,
    ) -> None:
        self.initial_cooldown: float = check_amount(initial_cooldown, "initial_cooldown", more=" seconds")
        self.max_cooldown: float = check_amount(max_cooldown, "max_cooldown", finite=False, more=" seconds")
        self.backoff_multiplier: float = check_amount(backoff_multiplier, "backoff_multiplier", least=1)
        self.slow_start_items: int = check_whole(slow_start_items, "slow_start_items")
        self.slow_start_initial_delay: float = check_amount(
            slow_start_initial_delay, "slow_start_initial_delay", more=" seconds"
        )
        self.slow_start_final_delay: float = check_amount(
            slow_start_final_delay, "slow_start_final_delay", more=" seconds"
        )

    async def on_rate_limit(self, worker_id: int, consecutive_limit_count: int) -> float:
        """Return the seconds of the pause."""
        try:
            cooldown = self.initial_cooldown * self.backoff_multiplier ** (consecutive_limit_count - 1)
        except OverflowError:
            return self.max_cooldown if self.initial_cooldown else 0.0
        return min(cooldown, self.max_cooldown)

    def should_apply_slow_start(self, items_since_resume: int) -> tuple[bool, float]:
        """Return whether to delay the item, and by how many seconds."""
        if items_since_resume >= self.slow_start_items:
            return False, 0.0
        initial, final = self.slow_start_initial_delay, self.slow_start_final_delay
        return True, max(final, initial - (initial - final) * items_since_resume / self.slow_start_items)


class FixedDelayStrategy(RateLimitStrategy):
    """Pauses for the same time each time, and delays every item after the first pause.

    Args:
        cooldown: Seconds of each pause, 0 or more.
        delay_between_requests: Seconds by which each item after the first pause is delayed, 0 or more.

    Raises:
        ValueError: a number is out of range.
        TypeError: one is not a number.
    """

    def __init__(self, cooldown: float = 300.0, delay_between_requests: float = 1.0) -> None:
        self.cooldown: float = check_amount(cooldown, "cooldown", more=" seconds")
        self.delay: float = check_amount(delay_between_requests, "delay_between_requests", more=" seconds")

    async def on_rate_limit(self, worker_id: int, consecutive_limit_count: int) -> float:
        """Return the seconds of the pause."""
        return self.cooldown

    def should_apply_slow_start(self, items_since_resume: int) -> tuple[bool, float]:
        """Return True and the delay."""
        return True, self.delay
