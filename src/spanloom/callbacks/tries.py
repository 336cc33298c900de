"""The record of an attempt when there are no handlers; it also stands for the retry around its first attempt.

Nearly every retried call succeeds at once. Then its ``retry`` and its ``attempt`` start together, end together and have
the same name. So until the first attempt fails, one record stands for both, in the table of open events and in the
flight recorder. It is the attempt; `Try.whole` makes the retry when someone reads it.

Everything that can be derived is derived on access: most attempts are never read.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, ClassVar, final

import msgspec

from spanloom.callbacks.traces import TraceTable
from spanloom.events.error import ErrorInfo
from spanloom.events.event import Event, JobEvent, ScopeEvent, write_event
from spanloom.events.ids import random_bits
from spanloom.events.trace import Trace
from spanloom.events.types import OK, EventStatus, EventType, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Try", "both", "fail_try", "new_pair_id"]

_making = threading.RLock()
"""Held while a retry, or the trace of one, is made: the working thread and a reader may make it at the same time.
Re-entrant, because a reader may be a signal handler."""


def new_pair_id() -> int:
    """Return a fresh id for an attempt; with its lowest bit flipped it is the id of the retry. Neither is 0."""
    event_id = random_bits(64)
    return event_id if event_id > 1 else new_pair_id()


@final
class Try(Event, msgspec.Struct, frozen=True, eq=False, weakref=True):
    """An attempt; the first one may stand for its retry, too. See `Event` for the fields.

    The thread that ends it writes `end_ns`, then looks for a retry or trace made meanwhile. A reader that makes one
    stores it, then looks at `end_ns`. So in either order, one of the two ends the retry and the trace.
    """

    name: str
    event_id: int
    start_ns: int
    home: Event | TraceTable
    """The event around it or, if `is_retry`, around its retry. If that retry is a root, the table for its trace."""
    attempt: int
    is_retry: bool
    """Whether it is the first attempt of a retry, and stands for the retry, too, as long as it has not failed."""
    end_ns: int | None = None
    failure: EventStatus | None = None
    error: ErrorInfo | None = None
    data: dict[str, object] | None = None
    made: ScopeEvent | None = None
    """The retry, once it has been read."""
    root: Trace | None = None
    """The trace, if the retry is its root, once it has been read."""

    type: ClassVar[EventType] = EventType.ATTEMPT
    counts: ClassVar[None] = None
    is_point: ClassVar[bool] = False
    queue_ns: ClassVar[None] = None
    busy_ns: ClassVar[None] = None

    @property
    def parent_id(self) -> int:
        home = self.home
        return self.event_id ^ 1 if self.is_retry or isinstance(home, TraceTable) else home.event_id

    @property
    def status(self) -> EventStatus | None:
        return None if self.end_ns is None else self.failure or OK

    @property
    def outer(self) -> Event | None:
        """The event around the attempt or, if `is_retry`, around its retry; ``None`` if the retry is a root."""
        home = self.home
        return None if isinstance(home, TraceTable) else home

    @property
    def job(self) -> JobEvent | None:
        return None if self.outer is None else self.outer.job

    @property
    def job_index(self) -> int | None:
        return None if self.job is None else self.job.index

    @property
    def batch_id(self) -> int | None:
        return None if self.job is None else self.job.batch_id

    @property
    def trace(self) -> Trace:
        home = self.home
        if isinstance(home, TraceTable):
            return self.root or self._make_root(home)
        return home.trace

    @property
    def whole(self) -> ScopeEvent:
        """The retry. It ends with this attempt, unless this has failed: then its runner ends it."""
        return self.made or self._make_whole()

    def _make_root(self, traces: TraceTable) -> Trace:
        with _making:
            if self.root is not None:
                return self.root
            trace = Trace(self.name, self.parent_id)
            trace.add(self.parent_id, self.event_id)
            traces.open[trace.trace_id] = trace
            write_event(self, "root", trace)
        if self.end_ns is not None and self.failure is None:
            traces.ended(trace)
        return trace

    def _make_whole(self) -> ScopeEvent:
        trace, outer = self.trace, self.outer
        outer_id = None if outer is None else outer.event_id
        with _making:
            if self.made is not None:
                return self.made
            whole = ScopeEvent(
                EventType.RETRY, self.name, self.parent_id, outer_id, trace, self.start_ns, None, self.job
            )
            write_event(self, "made", whole)
        if self.end_ns is not None and self.failure is None:
            write_event(whole, "end_ns", self.end_ns)
        return whole

    def settle(self) -> None:
        """End the retry and the trace that were made of it, if it has succeeded."""
        if self.failure is not None:
            return
        if self.made is not None:
            write_event(self.made, "end_ns", self.end_ns)
        if self.root is not None and isinstance(self.home, TraceTable):
            self.home.ended(self.root)


def fail_try(event: Try, error: BaseException) -> None:
    """Set the status and the error of `event` from `error`; call before setting ``end_ns``."""
    write_event(event, "failure", status_of(error))
    write_event(event, "error", ErrorInfo.of(error))


def _after_fork() -> None:
    global _making  # noqa: PLW0603 -- it may have been held by a thread that the child does not have
    _making = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def both(events: Iterable[Event]) -> list[Event]:
    """Return `events` with the retries that a `Try` stands for: an open one before its attempt, an ended one after."""
    found: list[Event] = []
    for event in events:
        if type(event) is not Try or not event.is_retry or event.failure is not None:
            found.append(event)
        elif event.end_ns is None:
            found += (event.whole, event)
        else:
            found += (event, event.whole)
    return found
