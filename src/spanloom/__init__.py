"""Run async batches and see everything.

`run_jobs` and its kin run awaitables, a bounded number at a time; every batch, job, attempt,
back-off and wait is an event, which handlers turn into statistics, bars, logs and spans.
"""

import typing

from spanloom import _command as _command  # isort: skip # first: keeps the garbage collector off what follows
from spanloom import _wiring as _wiring  # registers the factory of the default manager
from spanloom._offers import offered as _offered
from spanloom.callbacks import (
    CallbackManager,
    EventContext,
    FlightRecorder,
    HandlerStats,
    ManagerStats,
    current_event,
    get_callback_manager,
    in_flight,
    link,
    propagate,
    use_callback_manager,
)
from spanloom.events import BatchCounts, ErrorInfo, Event, EventStatus, EventType, Frame, Handler
from spanloom.exceptions import (
    CheckpointCodecError,
    CheckpointError,
    HandlerError,
    MissingDependencyError,
    NestedLimiterError,
    NestedLoopError,
    SpanloomError,
    TooManyFailuresError,
)
from spanloom.instrument import instrument, instrumented, uninstrument

if typing.TYPE_CHECKING:
    from spanloom.concurrency.adaptive import AdaptiveLimiter as AdaptiveLimiter
    from spanloom.concurrency.checkpoint import Checkpointing as Checkpointing
    from spanloom.concurrency.checkpoint import ResultLog as ResultLog
    from spanloom.concurrency.cooldown import Cooldown as Cooldown
    from spanloom.concurrency.fill import fill_batch as fill_batch
    from spanloom.concurrency.gather import batch_gather as batch_gather
    from spanloom.concurrency.gather import gather as gather
    from spanloom.concurrency.jobs import run_jobs as run_jobs
    from spanloom.concurrency.limits import FixedLimiter as FixedLimiter
    from spanloom.concurrency.limits import Limiter as Limiter
    from spanloom.concurrency.map import async_map as async_map
    from spanloom.concurrency.outcome import Outcome as Outcome
    from spanloom.concurrency.race import race as race
    from spanloom.concurrency.rate import RateLimiter as RateLimiter
    from spanloom.concurrency.resume import partial_outcomes as partial_outcomes
    from spanloom.concurrency.retry import RetryPolicy as RetryPolicy
    from spanloom.concurrency.retry import retry as retry
    from spanloom.concurrency.stream import OutcomeStream as OutcomeStream
    from spanloom.concurrency.stream import stream as stream
    from spanloom.concurrency.sync import run_sync as run_sync
    from spanloom.diagnosis.why import why as why
    from spanloom.instrument.limiting import limited as limited
    from spanloom.instrument.tracing import instrument_class as instrument_class
    from spanloom.instrument.tracing import instrument_module as instrument_module
    from spanloom.instrument.tracing import traced as traced
    from spanloom.store.checkpoint import Checkpoint as Checkpoint

__all__ = [
    "AdaptiveLimiter",
    "BatchCounts",
    "CallbackManager",
    "Checkpoint",
    "CheckpointCodecError",
    "CheckpointError",
    "Checkpointing",
    "Cooldown",
    "ErrorInfo",
    "Event",
    "EventContext",
    "EventStatus",
    "EventType",
    "FixedLimiter",
    "FlightRecorder",
    "Frame",
    "Handler",
    "HandlerError",
    "HandlerStats",
    "Limiter",
    "ManagerStats",
    "MissingDependencyError",
    "NestedLimiterError",
    "NestedLoopError",
    "Outcome",
    "OutcomeStream",
    "RateLimiter",
    "ResultLog",
    "RetryPolicy",
    "SpanloomError",
    "TooManyFailuresError",
    "async_map",
    "batch_gather",
    "current_event",
    "fill_batch",
    "gather",
    "get_callback_manager",
    "in_flight",
    "instrument",
    "instrument_class",
    "instrument_module",
    "instrumented",
    "limited",
    "link",
    "partial_outcomes",
    "propagate",
    "race",
    "retry",
    "run_jobs",
    "run_sync",
    "stream",
    "traced",
    "uninstrument",
    "use_callback_manager",
    "why",
]

_LATE: typing.Final = {
    "AdaptiveLimiter": "spanloom.concurrency.adaptive",
    "Checkpointing": "spanloom.concurrency.checkpoint",
    "ResultLog": "spanloom.concurrency.checkpoint",
    "Cooldown": "spanloom.concurrency.cooldown",
    "fill_batch": "spanloom.concurrency.fill",
    "batch_gather": "spanloom.concurrency.gather",
    "gather": "spanloom.concurrency.gather",
    "run_jobs": "spanloom.concurrency.jobs",
    "FixedLimiter": "spanloom.concurrency.limits",
    "Limiter": "spanloom.concurrency.limits",
    "async_map": "spanloom.concurrency.map",
    "Outcome": "spanloom.concurrency.outcome",
    "race": "spanloom.concurrency.race",
    "RateLimiter": "spanloom.concurrency.rate",
    "partial_outcomes": "spanloom.concurrency.resume",
    "RetryPolicy": "spanloom.concurrency.retry",
    "retry": "spanloom.concurrency.retry",
    "OutcomeStream": "spanloom.concurrency.stream",
    "stream": "spanloom.concurrency.stream",
    "run_sync": "spanloom.concurrency.sync",
    "why": "spanloom.diagnosis.why",
    "limited": "spanloom.instrument.limiting",
    "instrument_class": "spanloom.instrument.tracing",
    "instrument_module": "spanloom.instrument.tracing",
    "traced": "spanloom.instrument.tracing",
    "Checkpoint": "spanloom.store.checkpoint",
}
"""Public names imported on first access, and their modules."""


def __getattr__(name: str) -> object:
    return _offered(__name__, _LATE, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
