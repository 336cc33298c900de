"""Jobs for LlamaIndex handlers: whatever runner runs them, each is a ``CBEventType.ASYNC_JOB``."""

from __future__ import annotations

import sys
import threading
from asyncio import CancelledError
from typing import Final

from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.compat._llama_index.frames import HERE, Frame, settle
from spanloom.compat._llama_index.schema import CBEventType, EventPayload, hex_id
from spanloom.events.error import ErrorInfo
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.events.types import EventStatus, EventType

__all__ = ["RelayedError", "error_of", "relay_jobs"]


class RelayedError(Exception):
    """Stands for an exception of which only its type and its text are known any more."""


class _JobRelay(Handler):
    """Tells the managers whose events a job is in of its start and of its end, in the job's own context."""

    wants: frozenset[str] | None = frozenset({EventType.JOB})

    def on_event_start(self, event: Event) -> None:
        """Tell each manager once, and put a frame into the job's context: what happens inside is under the job."""
        around: list[Frame] = []
        frame = HERE.get()
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
_lock = threading.Lock()
_relaying = False


def relay_jobs() -> None:
    """Have all jobs from now on told to those whom they concern; for good, in all managers of the process."""
    global _relaying  # noqa: PLW0603 -- there is one relay in a process, and none where nobody uses this module
    if not _relaying:
        with _lock:
            if not _relaying:
                EVERYWHERE.add(_RELAY)
                _relaying = True
