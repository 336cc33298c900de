"""The record of an attempt where no handler listens, and of the retry around it as far as that is the same.

Nearly every retried call succeeds at once, and then its ``retry`` and its ``attempt`` tell the same story twice: they
start together, end together and have one name. So as long as that is all there is, one record stands for both, in the
table of open events as in the flight recorder. It is the attempt; `Try.whole` makes the retry for whoever looks.

What a record can tell when it is asked is not worked out before: most attempts are never looked at.
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
"""Held while a retry, or the trace of one, is made: who works and who looks may want it at the same time. Re-entrant:
so may a signal handler that looks."""


def new_pair_id() -> int:
    """Return a fresh id for an attempt; with its lowest bit flipped it is that of the retry around it. Neither is 0."""
    event_id = random_bits(64)
    return event_id if event_id > 1 else new_pair_id()


@final
class Try(Event, msgspec.Struct, frozen=True, eq=False, weakref=True):
    """An attempt, and if it is the first one, perhaps in it the retry. See `Event` for the fields.

    Who ends it writes `end_ns` and then looks for a retry or a trace that was made meanwhile; who makes one writes it
    down and then looks for the end. So whichever is first, one of the two completes it.
    """

    name: str
    event_id: int
    start_ns: int
    home: Event | TraceTable
    """The event around it, or around its retry; of a retry that is the root of a trace, where that is to be kept."""
    attempt: int
    is_retry: bool
    """Whether it is the first one of a retry, and stands for that, too, as long as it has not failed."""
    end_ns: int | None = None
    failure: EventStatus | None = None
    error: ErrorInfo | None = None
    data: dict[str, object] | None = None
    made: ScopeEvent | None = None
    """The retry, once someone has looked at it."""
    root: Trace | None = None
    """The trace of a retry that is its root, once someone has asked for it."""

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
        """The event around the attempt or, if it stands for a retry, around that; ``None`` if that is a root."""
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
        """The retry: open as long as this is, unless this has failed and another attempt may follow."""
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
        """Complete what was made of it before its end, if it has succeeded."""
        if self.failure is not None:
            return
        if self.made is not None:
            write_event(self.made, "end_ns", self.end_ns)
        if self.root is not None and isinstance(self.home, TraceTable):
            self.home.ended(self.root)


def fail_try(event: Try, error: BaseException) -> None:
    """Write what ended `event`, before its end."""
    write_event(event, "failure", status_of(error))
    write_event(event, "error", ErrorInfo.of(error))


def _after_fork() -> None:
    global _making  # noqa: PLW0603 -- a thread that the child does not have may have held it
    _making = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def both(events: Iterable[Event]) -> list[Event]:
    """Return `events` with each retry in its place: an open one before its attempt, an ended one after it."""
    found: list[Event] = []
    for event in events:
        if type(event) is not Try or not event.is_retry or event.failure is not None:
            found.append(event)
        elif event.end_ns is None:
            found += (event.whole, event)
        else:
            found += (event, event.whole)
    return found
