"""The kinds of events and the ways in which an event ends."""

from __future__ import annotations

from asyncio import CancelledError
from enum import StrEnum
from typing import Final

__all__ = ["FAILED", "EventStatus", "EventType", "status_of"]


class EventType(StrEnum):
    """The event types that spanloom itself emits. Any other ``str`` is a valid type, too.

    Members compare equal to their string value, so a reader need not know the enum.
    """

    TRACE = "trace"
    """The root of one trace, opened by ``as_trace`` or ``start_trace``."""
    BATCH = "batch"
    """The jobs of one call of a runner."""
    JOB = "job"
    """One awaitable, or one item given to a function, run once by a runner."""
    RETRY = "retry"
    """One call of ``retry``: encloses its attempts and back-offs."""
    ATTEMPT = "attempt"
    """One try of a retried call."""
    BACKOFF = "backoff"
    """The pause before the next try."""
    SLOT_WAIT = "slot_wait"
    """A wait for a slot of a limiter that was not free at once."""
    LIMIT_CHANGE = "limit_change"
    """Point event: an `AdaptiveLimiter` has another number of slots from now on."""
    COOLDOWN = "cooldown"
    """Point event: a `Cooldown` pauses all who share it."""
    STALL = "stall"
    """Point event: a batch, or the program, stands still, and this is why; or it goes on again."""
    LOOP_LAG = "loop_lag"
    """Point event: a callback has held the event loop for long."""
    CALL = "call"
    """A function under the ``trace`` decorator, or one of a library that is instrumented."""
    REQUEST = "request"
    """An HTTP request of a client library that is instrumented, until its response is read or closed."""
    TASK = "task"
    """A task that the program has started by itself, outside of any batch."""
    DEADLINE = "deadline"
    """A block or a wait under a deadline."""
    LOG = "log"
    """Point event: what the program has logged; see `LogEventHandler`."""
    STEP = "step"
    """A scope named by the user; the type to take when no other fits."""
    MARK = "mark"
    """A point event named by the user."""
    # What pipelines around language models usually name; see `spanloom.instrument`.
    LLM = "llm"
    EMBEDDING = "embedding"
    RETRIEVE = "retrieve"
    CHUNKING = "chunking"
    TOOL = "tool"


class EventStatus(StrEnum):
    """How an event ended. An event that is still open has the status ``None``."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    """Ended by ``asyncio.CancelledError`` or by closing a generator: neither ok nor an error."""
    TIMEOUT = "timeout"
    """Ended by a ``TimeoutError``: its own deadline, or one inside it."""
    SKIPPED = "skipped"
    """Never ran: dropped before its start."""
    INTERRUPTED = "interrupted"
    """Given only by a reader of a run whose process died while the event was open."""


# Plain names for hot paths: reading an enum member through its class costs a descriptor call.
OK: Final = EventStatus.OK
ERROR: Final = EventStatus.ERROR
CANCELLED: Final = EventStatus.CANCELLED
TIMEOUT: Final = EventStatus.TIMEOUT

FAILED: Final = frozenset({ERROR, TIMEOUT, EventStatus.INTERRUPTED})
"""Statuses that count as failed. Members are ``str``, so a status read from a file is found here, too."""


def status_of(error: BaseException | None) -> EventStatus:
    """Return the status of an event that `error` ended; ``None`` means success."""
    if error is None:
        return OK
    kind = type(error)  # not isinstance(): that asks the exception for its class, which may raise
    if issubclass(kind, (CancelledError, GeneratorExit)):
        return CANCELLED
    return TIMEOUT if issubclass(kind, TimeoutError) else ERROR
