"""Configuration of a processor, checked when it is made."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, fields
from typing import Any

from spanloom._numbers import own_number
from spanloom.concurrency.retry import RetryPolicy

__all__ = ["ProcessorConfig", "RateLimitConfig", "RetryConfig"]

_log = logging.getLogger(__name__)


def _require(fact: bool, rule: str, got: object, hint: str) -> None:
    if not fact:
        several = got.items() if isinstance(got, dict) else ()
        shown = ", ".join(f"{name}={value!r}" for name, value in several) or repr(got)
        raise ValueError(f"{rule} (got {shown}). {hint}")


def _amount(value: object) -> float:
    """Return `value` as a number; NaN, which is in no range, if it is not one."""
    number = own_number(value)
    return math.nan if number is None else number


def _is_count(value: object, least: int) -> bool:
    """Return whether `value` is a whole number of at least `least`."""
    number = own_number(value)
    return isinstance(number, int) and number >= least


def _own(config: Any) -> None:
    """Convert the numbers in `config` to Python's own: a ``Decimal`` or a NumPy number is accepted."""
    for each in fields(config):
        number = own_number(getattr(config, each.name))
        if number is not None:
            setattr(config, each.name, number)


@dataclass
class RetryConfig:
    """How often an item is tried, and how long the pauses in between are.

    The pause after attempt k is ``min(max_wait, initial_wait * exponential_base ** (k - 1))`` seconds; jitter takes
    off up to half of it. A longer wait that the classifier suggests or a ``Retry-After`` demands replaces it. After
    a rate limit the cool-down replaces it; after a validation error there is no pause.

    Attributes:
        max_attempts: Most attempts of an item, at least 1.
        initial_wait: Seconds of the first pause, above 0.
        max_wait: Seconds of the longest pause.
        exponential_base: Factor from one pause to the next, at least 1.
        jitter: Whether pauses are randomized.

    Raises:
        ValueError: a number is out of range.
    """

    max_attempts: int = 3
    initial_wait: float = 1.0
    max_wait: float = 60.0
    exponential_base: float = 2.0
    jitter: bool = True

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check the numbers again, after one was changed.

        Raises:
            ValueError: one is out of range.
        """
        _own(self)
        _require(
            _is_count(self.max_attempts, 1),
            "max_attempts must be >= 1",
            self.max_attempts,
            "Set retry.max_attempts to a positive integer.",
        )
        _require(
            _amount(self.initial_wait) > 0,
            "initial_wait must be > 0",
            self.initial_wait,
            "Set retry.initial_wait to a positive number in seconds.",
        )
        _require(
            _amount(self.max_wait) >= _amount(self.initial_wait),
            "max_wait must be >= initial_wait",
            {"max_wait": self.max_wait, "initial_wait": self.initial_wait},
            "Set retry.max_wait to be at least as large as retry.initial_wait.",
        )
        _require(
            _amount(self.exponential_base) >= 1,
            "exponential_base must be >= 1",
            self.exponential_base,
            "Set retry.exponential_base to 1.0 or higher (typical values: 2.0-3.0).",
        )

    def policy(self, *, jitter: bool | None = None) -> RetryPolicy:
        """Return these pauses as a `RetryPolicy`; `jitter` overrides the configured one."""
        return RetryPolicy(
            attempts=self.max_attempts,
            base_delay=self.initial_wait,
            max_delay=self.max_wait,
            multiplier=self.exponential_base,
            jitter=0.5 if (self.jitter if jitter is None else jitter) else 0.0,
        )


@dataclass
class RateLimitConfig:
    """Options of the default `ExponentialBackoffStrategy`.

    Attributes:
        cooldown_seconds: Seconds of the first pause, 0 or more.
        slow_start_items: Number of items that are delayed after a pause; 0 for none.
        slow_start_initial_delay: Seconds by which the first of them is delayed.
        slow_start_final_delay: Seconds towards which the delays fall; from 0 to `slow_start_initial_delay`.
        backoff_multiplier: Factor from one pause to the next, at least 1.

    Raises:
        ValueError: a number is out of range.
    """

    cooldown_seconds: float = 300.0
    slow_start_items: int = 50
    slow_start_initial_delay: float = 2.0
    slow_start_final_delay: float = 0.1
    backoff_multiplier: float = 1.5

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check the numbers again, after one was changed.

        Raises:
            ValueError: one is out of range.
        """
        _own(self)
        _require(
            0 <= _amount(self.cooldown_seconds) < math.inf,
            "cooldown_seconds must be >= 0",
            self.cooldown_seconds,
            "Set rate_limit.cooldown_seconds to a non-negative number.",
        )
        _require(
            _is_count(self.slow_start_items, 0),
            "slow_start_items must be >= 0",
            self.slow_start_items,
            "Set rate_limit.slow_start_items to 0 to disable or a positive number.",
        )
        _require(
            0 <= _amount(self.slow_start_final_delay) < math.inf,
            "slow_start_final_delay must be >= 0",
            self.slow_start_final_delay,
            "Set rate_limit.slow_start_final_delay to a non-negative number of seconds.",
        )
        _require(
            _amount(self.slow_start_final_delay) <= _amount(self.slow_start_initial_delay) < math.inf,
            "slow_start_initial_delay must be >= slow_start_final_delay",
            {"initial": self.slow_start_initial_delay, "final": self.slow_start_final_delay},
            "The delay should decrease during slow start, not increase.",
        )
        _require(
            1.0 <= _amount(self.backoff_multiplier) < math.inf,
            "backoff_multiplier must be >= 1.0",
            self.backoff_multiplier,
            "Set rate_limit.backoff_multiplier to 1.0 (no increase) or higher (typical: 1.5-2.0).",
        )


@dataclass
class ProcessorConfig:
    """How a `ParallelBatchProcessor` works.

    Attributes:
        max_workers: Items at once, at least 1.
        timeout_per_item: Seconds for each attempt of an item, without its wait for a pause or the rate; for all
            attempts together see ``GuardRails.item_timeout``.
        post_processor_timeout: Seconds for each call of the post-processor.
        retry: Attempts and pauses.
        rate_limit: Pauses after rate limits.
        max_requests_per_minute: Most attempts started in any minute: 2.9 allows 2 a minute, 0.5 allows one in two
            minutes. ``None`` for no bound.
        progress_interval: Items from one progress report to the next; the last item is always reported.
        progress_callback_timeout: Seconds for each report; ``None`` for no bound.
        enable_detailed_logging: Ignored; existing configurations have it. What each item did is in its events.
        max_queue_size: Items that may wait while the batch runs; beyond that `add_work` waits. 0 for no bound.
        dry_run: Call `dry_run` of the strategies instead of `execute`.

    Raises:
        ValueError: a number is out of range. Numbers that do not fit together are logged as warnings.
    """

    max_workers: int = 5
    timeout_per_item: float = 120.0
    post_processor_timeout: float = 90.0
    retry: RetryConfig = field(default_factory=RetryConfig)
    rate_limit: RateLimitConfig = field(default_factory=RateLimitConfig)
    max_requests_per_minute: float | None = None
    progress_interval: int = 10
    progress_callback_timeout: float | None = 5.0
    enable_detailed_logging: bool = False
    max_queue_size: int = 0
    dry_run: bool = False

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check the numbers again, after one was changed; log a warning of each pair that does not fit together.

        Raises:
            ValueError: one is out of range.
            TypeError: `retry` or `rate_limit` is of another type.
        """
        _own(self)
        _require(
            _is_count(self.max_workers, 1),
            "max_workers must be >= 1",
            self.max_workers,
            "Set config.max_workers to a positive integer (typical: 5-20).",
        )
        _require(
            _amount(self.timeout_per_item) > 0,
            "timeout_per_item must be > 0",
            self.timeout_per_item,
            "Set config.timeout_per_item to a positive number in seconds (typical: 60-300).",
        )
        _require(
            _amount(self.post_processor_timeout) > 0,
            "post_processor_timeout must be > 0",
            self.post_processor_timeout,
            "Set config.post_processor_timeout to a positive number in seconds (typical: 30-120).",
        )
        _require(
            _is_count(self.progress_interval, 1),
            "progress_interval must be >= 1",
            self.progress_interval,
            "Set config.progress_interval to a positive integer.",
        )
        _require(
            self.progress_callback_timeout is None or _amount(self.progress_callback_timeout) > 0,
            "progress_callback_timeout must be > 0",
            self.progress_callback_timeout,
            "Set config.progress_callback_timeout to None to disable or a positive number of seconds.",
        )
        _require(
            _is_count(self.max_queue_size, 0),
            "max_queue_size must be >= 0",
            self.max_queue_size,
            "Set config.max_queue_size to 0 for unlimited, or a positive number to limit queue size.",
        )
        _require(
            self.max_requests_per_minute is None or 0 < _amount(self.max_requests_per_minute) < math.inf,
            "max_requests_per_minute must be > 0 or None",
            self.max_requests_per_minute,
            "Set config.max_requests_per_minute to None to disable proactive rate limiting, or a positive number "
            "(typical: 10-500 requests/minute).",
        )
        for what, part, kind in (
            ("retry", self.retry, RetryConfig),
            ("rate_limit", self.rate_limit, RateLimitConfig),
        ):
            if not isinstance(part, kind):
                raise TypeError(
                    f"{what} must be a {kind.__name__} (got {part!r}). Leave it out for the defaults."
                )
            part.validate()
        for warning in (
            self._starving(),
            self._no_time_to_wait(),
            self._no_time_to_retry(),
            self._too_many(),
        ):
            if warning is not None:
                _log.warning("%s", warning)

    def _starving(self) -> str | None:
        if not 0 < self.max_queue_size < self.max_workers:
            return None
        return (
            f"max_queue_size ({self.max_queue_size}) is less than max_workers ({self.max_workers}). "
            f"This may cause workers to starve waiting for work. "
            f"Consider setting max_queue_size >= max_workers or 0 for unlimited."
        )

    def _no_time_to_wait(self) -> str | None:
        if self.timeout_per_item >= self.retry.initial_wait:
            return None
        return (
            f"timeout_per_item ({self.timeout_per_item}s) is less than "
            f"retry.initial_wait ({self.retry.initial_wait}s). "
            f"This means the timeout may occur before the first retry delay completes. "
            f"Consider increasing timeout_per_item or decreasing retry.initial_wait."
        )

    def _no_time_to_retry(self) -> str | None:
        waits = self._waits()
        if self.timeout_per_item >= waits / 2:
            return None
        jitter = " (with jitter, actual delays will be 50-100% of this)" if self.retry.jitter else ""
        return (
            f"timeout_per_item ({self.timeout_per_item}s) may be too short for retry strategy. "
            f"With {self.retry.max_attempts} attempts, retry delays could total up to {waits:.1f}s{jitter}. "
            f"Consider increasing timeout_per_item to at least {waits * 2:.1f}s."
        )

    def _waits(self) -> float:
        """Return the sum of all pauses of an item in seconds, without jitter."""
        exact = self.retry.policy(jitter=False)
        waits = last = 0.0
        for attempt in range(1, self.retry.max_attempts):
            delay = exact.delay(attempt)
            if delay == last:  # they grow no more
                return waits + delay * (self.retry.max_attempts - attempt)
            waits, last = waits + delay, delay
        return waits

    def _too_many(self) -> str | None:
        if self.max_requests_per_minute is None:
            return None
        per_second = self.max_requests_per_minute / 60.0
        if per_second >= self.max_workers:
            return None
        return (
            f"max_requests_per_minute ({self.max_requests_per_minute}) is less than "
            f"max_workers ({self.max_workers}). "
            f"At {per_second:.2f} requests/second with {self.max_workers} workers, "
            f"workers may frequently wait for rate limit tokens. "
            f"Consider reducing max_workers to {max(1, int(per_second))} or increasing max_requests_per_minute."
        )
