"""Run async batches and see everything.

`run_jobs` and its kin run awaitables, a bounded number at a time; every batch, job, attempt,
back-off and wait is an event, which handlers turn into statistics, bars, logs and spans.
"""

import typing

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
    link,
    propagate,
    use_callback_manager,
)
from spanloom.concurrency import (
    AdaptiveLimiter,
    Checkpointing,
    Cooldown,
    FixedLimiter,
    Limiter,
    Outcome,
    OutcomeStream,
    RateLimiter,
    ResultLog,
    RetryPolicy,
    async_map,
    batch_gather,
    fill_batch,
    gather,
    partial_outcomes,
    race,
    retry,
    run_jobs,
    run_sync,
    stream,
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
from spanloom.instrument import (
    instrument,
    instrument_class,
    instrument_module,
    instrumented,
    limited,
    traced,
    uninstrument,
)

if typing.TYPE_CHECKING:
    from spanloom.diagnosis.why import why as why
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


def __getattr__(name: str) -> object:
    if name == "Checkpoint":  # brings SQLite, which most programs do without
        from spanloom.store.checkpoint import Checkpoint

        return Checkpoint
    if name == "why":  # brings the diagnosis, which most runs do without
        from spanloom.diagnosis.why import why

        return why
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
