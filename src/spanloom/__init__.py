"""Run async batches and see everything.

`run_jobs` and its kin run awaitables, a bounded number at a time; every batch, job, attempt,
back-off and wait is an event, which handlers turn into statistics, bars, logs and spans.
"""

from spanloom import _wiring as _wiring  # tells the ambient manager how to be made
from spanloom.callbacks import (
    CallbackManager,
    EventContext,
    FlightRecorder,
    HandlerStats,
    ManagerStats,
    current_event,
    get_callback_manager,
    in_flight,
    propagate,
    use_callback_manager,
)
from spanloom.concurrency import (
    FixedLimiter,
    Limiter,
    Outcome,
    OutcomeStream,
    RateLimiter,
    RetryPolicy,
    async_map,
    batch_gather,
    fill_batch,
    gather,
    race,
    retry,
    run_jobs,
    run_sync,
    stream,
)
from spanloom.events import BatchCounts, ErrorInfo, Event, EventStatus, EventType, Frame, Handler
from spanloom.exceptions import (
    HandlerError,
    MissingDependencyError,
    NestedLoopError,
    SpanloomError,
    TooManyFailuresError,
)

__all__ = [
    "BatchCounts",
    "CallbackManager",
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
    "NestedLoopError",
    "Outcome",
    "OutcomeStream",
    "RateLimiter",
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
    "propagate",
    "race",
    "retry",
    "run_jobs",
    "run_sync",
    "stream",
    "use_callback_manager",
]
