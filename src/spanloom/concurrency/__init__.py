"""Running many awaitables: one engine, one noun per file on top."""

from spanloom.concurrency.adaptive import AdaptiveLimiter
from spanloom.concurrency.checkpoint import Checkpointing, ResultLog
from spanloom.concurrency.cooldown import Cooldown
from spanloom.concurrency.fill import fill_batch
from spanloom.concurrency.gather import batch_gather, gather
from spanloom.concurrency.jobs import run_jobs
from spanloom.concurrency.limits import FixedLimiter, Limiter
from spanloom.concurrency.map import async_map
from spanloom.concurrency.outcome import Outcome
from spanloom.concurrency.race import race
from spanloom.concurrency.rate import RateLimiter
from spanloom.concurrency.resume import partial_outcomes
from spanloom.concurrency.retry import RetryPolicy, retry
from spanloom.concurrency.stream import OutcomeStream, stream
from spanloom.concurrency.sync import run_sync

__all__ = [
    "AdaptiveLimiter",
    "Checkpointing",
    "Cooldown",
    "FixedLimiter",
    "Limiter",
    "Outcome",
    "OutcomeStream",
    "RateLimiter",
    "ResultLog",
    "RetryPolicy",
    "async_map",
    "batch_gather",
    "fill_batch",
    "gather",
    "partial_outcomes",
    "race",
    "retry",
    "run_jobs",
    "run_sync",
    "stream",
]
