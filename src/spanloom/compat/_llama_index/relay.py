"""Jobs for LlamaIndex handlers: each is a ``CBEventType.ASYNC_JOB``, whatever its runner."""

from __future__ import annotations

import sys
import threading
import weakref
from asyncio import CancelledError
from typing import Final

from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.callbacks.guard import Guard
from spanloom.compat._llama_index.frames import HERE, Frame, Owner, settle
from spanloom.compat._llama_index.schema import CBEventType, EventPayload, hex_id
from spanloom.events.error import ErrorInfo
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.events.types import EventStatus, EventType

__all__ = ["OWNERS", "RelayedError", "error_of", "relay_jobs", "stop_idle_relay"]


class RelayedError(Exception):
    """Stands in for an exception of which only type and text are left."""


class _JobRelay(Handler):
    """Reports the start and end of a job to the managers whose events enclose it, in the job's own context."""

    wants: frozenset[str] | None = frozenset({EventType.JOB})

    def on_event_start(self, event: Event) -> None:
        """Tell each manager once, and push a frame in the job's context, which encloses what happens inside."""
        around: list[Frame] = []
        frame = HERE.get()
        if frame is None and not OWNERS:
            stop_idle_relay()
        while frame is not None:
            if (
                frame.holds
                and frame.owner.handlers
                and all(frame.owner is not other.owner for other in around)
            ):
                around.append(frame)
            frame = frame.outer
        for outer in reversed(around):
            inner = Frame(outer.owner, outer.trace, event_id=hex_id(event.event_id))
            inner.event = event
            inner.push()
            if outer.trace is not None:
                outer.trace.note(outer.event_id, inner.event_id)
            inner.owner.tell(
                "on_event_start", CBEventType.ASYNC_JOB, None, inner.event_id, outer.event_id, {}
            )

    def on_event_end(self, event: Event) -> None:
        """Tell the managers that were told of the start."""
        told: list[Frame] = []
        frame = HERE.get()
        while frame is not None:
            if frame.event is event and not frame.ended:
                told.append(frame)
            frame = frame.outer
        if not told:
            return
        error = error_of(event)
        payload = None if error is None else {EventPayload.EXCEPTION: error}
        for inner in told:
            inner.ended = True
            if inner.trace is not None and error is not None:
                inner.trace.told = error
            inner.owner.tell("on_event_end", CBEventType.ASYNC_JOB, payload, inner.event_id, {})
        settle()


def error_of(event: Event) -> BaseException | None:
    """Return what ended `event`: the exception itself if it is being handled now, as at the end of a job.

    An event does not keep its exception. Later, a stand-in with its text is returned.
    """
    info = event.error
    if info is None:
        return None
    error = sys.exception()
    if error is not None and ErrorInfo.of(error) == info:
        return error
    if event.status == EventStatus.CANCELLED:
        return CancelledError(info.message) if info.message else CancelledError()
    return RelayedError(f"{info.type}: {info.message}")


_RELAY: Final = _JobRelay()
_lock = threading.RLock()
_guard: Guard | None = None
OWNERS: Final[weakref.WeakSet[Owner]] = weakref.WeakSet()
"""The managers that get jobs."""


def relay_jobs(owner: Owner) -> None:
    """From now on, report all jobs in the process to the managers whose events enclose them.

    Ends when no owner has handlers any more; see `stop_idle_relay`.
    """
    global _guard  # noqa: PLW0603 -- there is one relay in a process, and none where nobody uses this module
    if _guard is None or owner not in OWNERS:
        with _lock:
            OWNERS.add(owner)
            if _guard is None:
                _guard = EVERYWHERE.add(_RELAY)


def stop_idle_relay() -> bool:
    """Stop the relay if no owner has handlers; return whether there is no relay now.

    Called whenever a manager loses handlers. When a manager is garbage-collected, the relay stays until the next job
    starts, as the garbage collector must not wait for a lock.
    """
    global _guard  # noqa: PLW0603 -- as above
    with _lock:
        if _guard is not None and not any(owner.handlers for owner in OWNERS):
            EVERYWHERE.remove(_guard)
            _guard = None
            OWNERS.clear()
        return _guard is None
