"""Making the events of a retried call: the retry, and its first attempt, which mostly is the only one."""

from __future__ import annotations

from typing import Final

import msgspec

from spanloom.callbacks.emitter import Emitter
from spanloom.callbacks.first_try import FirstTry, end_first, fail_first, new_pair_id
from spanloom.callbacks.route import Route
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import Event, ScopeEvent
from spanloom.events.types import EventType

__all__ = ["Begun", "BegunRetry", "RetryEmitter"]

_RETRY: Final = EventType.RETRY
_ATTEMPT: Final = EventType.ATTEMPT

Begun = tuple[ScopeEvent, Route]


class BegunRetry(msgspec.Struct, eq=False):
    """A retry and its first attempt as two events, for handlers that get the one and the other.

    Attributes:
        whole: The retry.
        attempt: Its first attempt.
        outer: What was current before.
    """

    whole: Begun
    attempt: Begun
    outer: Event | None


class RetryEmitter(Emitter):
    """An `Emitter` that takes one record for a retry and its first attempt where no handler listens."""

    def begin_retry(self, name: str) -> FirstTry | BegunRetry:
        """Open a retry and its first attempt, and make that current; `end_retry` or `fail_retry` must follow."""
        current = self.current
        outer = current.get()
        if self._table.guards or (outer is not None and outer.end_ns is not None):
            return self._begin_both(name, outer)
        event_id = new_pair_id()
        if outer is not None:
            outer.trace.add_both(outer.event_id, event_id ^ 1, event_id)
        first = FirstTry(name, event_id, monotonic_ns(), outer or self._traces)
        self._open[event_id] = first
        current.set(first)
        return first

    def _begin_both(self, name: str, outer: Event | None) -> BegunRetry:
        current = self.current
        whole = self.begin(_RETRY, name, None, outer)
        current.set(whole[0])
        attempt = self.begin(_ATTEMPT, name, None, whole[0], None, 1)
        current.set(attempt[0])
        return BegunRetry(whole, attempt, outer)

    def end_retry(self, begun: FirstTry | BegunRetry) -> None:
        """End both: the first attempt has succeeded."""
        if isinstance(begun, BegunRetry):
            self.leave(begun.attempt, begun.whole[0], None)
            self.leave(begun.whole, begun.outer, None)
            return
        current = self.current
        if current.get() is begun:
            current.set(begun.outer)
        end_first(begun, monotonic_ns())
        if self._open.pop(begun.event_id, None) is None:
            return  # this is a forked child: see finish
        if begun.made is not None or begun.root is not None:
            begun.settle()
        self._produced += 2
        if self.recorder is not None:
            self.recorder.record(begun)

    def fail_retry(self, begun: FirstTry | BegunRetry, error: BaseException) -> tuple[Begun, Event | None]:
        """End the first attempt, make the retry current, and return that, for `leave`, and what was current before."""
        if isinstance(begun, BegunRetry):
            self.leave(begun.attempt, begun.whole[0], error)
            return begun.whole, begun.outer
        whole = fail_first(begun, error)
        current = self.current
        if current.get() is begun:
            current.set(whole)
        end_first(begun, monotonic_ns())
        route = self.route(_RETRY)
        if begun.event_id in self._open:  # else this is a forked child
            self._open[whole.event_id] = whole
            del self._open[begun.event_id]
            self._produced += 1
            if self.recorder is not None:
                self.recorder.record(begun)
        return (whole, route), begun.outer
