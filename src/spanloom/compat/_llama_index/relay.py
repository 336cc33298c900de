"""Jobs for LlamaIndex handlers: whatever runner runs them, each is a ``CBEventType.ASYNC_JOB``."""

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
    """Stands for an exception of which only its type and its text are known any more."""


class _JobRelay(Handler):
    """Tells the managers whose events a job is in of its start and of its end, in the job's own context."""

    wants: frozenset[str] | None = frozenset({EventType.JOB})

    def on_event_start(self, event: Event) -> None:
        """Tell each manager once, and put a frame into the job's context: what happens inside is under the job."""
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
        """Tell those who were told of the start."""
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
    """Return what ended `event`: the very exception if it is being handled now, as it is at the end of a job.

    An event keeps no exception. Where it is gone, something that has its text stands for it.
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
"""The managers that have asked for jobs."""


def relay_jobs(owner: Owner) -> None:
    """Have all jobs from now on told to those whom they concern, in all managers of the process.

    It ends when no owner that has asked for it has handlers any more; see `stop_idle_relay`.
    """
    global _guard  # noqa: PLW0603 -- there is one relay in a process, and none where nobody uses this module
    if _guard is None or owner not in OWNERS:
        with _lock:
            OWNERS.add(owner)
            if _guard is None:
                _guard = EVERYWHERE.add(_RELAY)


def stop_idle_relay() -> bool:
    """Stop telling of jobs if nobody listens; return whether there is no relay now.

    Called whenever a manager loses handlers. One that is collected with its handlers leaves the relay behind until the
    next job starts: a lock must not be waited for while memory is collected.
    """
    global _guard  # noqa: PLW0603 -- as above
    with _lock:
        if _guard is not None and not any(owner.handlers for owner in OWNERS):
            EVERYWHERE.remove(_guard)
            _guard = None
            OWNERS.clear()
        return _guard is None
