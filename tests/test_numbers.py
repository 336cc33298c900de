"""What is no number where one is wanted is refused by name, and not by a comparison that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spanloom import (
    AdaptiveLimiter,
    Checkpoint,
    Cooldown,
    RateLimiter,
    RetryPolicy,
    async_map,
    fill_batch,
    run_jobs,
    run_sync,
)
from spanloom.compat import dotevals, lionherd
from spanloom.processing import MetricsObserver, ParallelBatchProcessor


async def same(item: Any = None) -> Any:
    return item


def named(kind: Callable[..., object], *names: str) -> list[tuple[str, Callable[[Any], object]]]:
    """Return the arguments of a function or class, with what gives each alone."""
    return [(name, lambda given, name=name: kind(**{name: given})) for name in names]  # type: ignore[misc]  # bound


NUMBERS = [
    *named(RetryPolicy, "base_delay", "max_delay", "multiplier", "jitter", "attempt_timeout"),
    *named(Cooldown, "pause_s", "longest_s", "multiplier", "slow_start_items"),
    *named(Cooldown, "slow_start_initial_delay_s", "slow_start_final_delay_s"),
    *named(AdaptiveLimiter, "adaptation_interval", "increase_threshold", "decrease_threshold"),
    *named(AdaptiveLimiter, "error_backoff_factor", "error_tolerance"),
    *named(dotevals.Adaptive, "initial_concurrency", "max_concurrency", "adaptation_interval"),
    *named(dotevals.fixed, "size"),
    *named(MetricsObserver, "max_processing_samples"),
    ("period_s", lambda given: RateLimiter(1, given)),
    ("grace_s", lambda given: Checkpoint("x.db", grace_s=given)),
    ("timeout", lambda given: run_sync(async_map(same, [1], timeout=given))),
    ("timeout", lambda given: run_sync(run_jobs([same], timeout=given))),
    ("max_failure_fraction", lambda given: run_sync(fill_batch(same, [1], 1, max_failure_fraction=given))),
    ("base_delay", lambda given: run_sync(lionherd.retry(same, base_delay=given))),
]


@pytest.mark.parametrize(("name", "call"), NUMBERS)
@pytest.mark.parametrize("given", ["3", [1], len])
def test_what_is_no_number_is_refused_by_name(
    name: str, call: Callable[[Any], object], given: object
) -> None:
    """The message has the name of the argument, and what was given."""
    with pytest.raises(TypeError) as raised:
        call(given)
    assert str(raised.value).startswith(f"{name} must be ")
    assert repr(given) in str(raised.value)


@pytest.mark.parametrize("given", ["3", [1], 2.5])
@pytest.mark.parametrize("name", ["config", "guard_rails"])
def test_what_is_no_configuration_is_refused_by_name(name: str, given: Any) -> None:
    """The message has its class as well."""
    with pytest.raises(TypeError, match=rf"{name} must be a (ProcessorConfig|GuardRails), or None \(got "):
        ParallelBatchProcessor(**{name: given})
