"""Making the events of a retried call: the retry, and its first attempt, which mostly is the only one."""

from __future__ import annotations

from typing import Final

import msgspec

from spanloom.callbacks.emitter import Emitter
from spanloom.callbacks.route import Route
from spanloom.callbacks.tries import Try, fail_try, new_pair_id
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import Event, ScopeEvent, write_event
from spanloom.events.ids import new_event_id, random_bits
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
    """An `Emitter` that takes a lighter record for attempts where no handler listens: `Try`."""

    def begin_retry(self, name: str) -> Try | BegunRetry:
        """Open a retry and its first attempt, and make that current; `end_retry` or `fail_retry` must follow."""
        current = self.current
        outer = current.get()
        if self._table.guards or (outer is not None and outer.end_ns is not None):
            whole = self.begin(_RETRY, name, None, outer)
            current.set(whole[0])
            attempt = self.begin(_ATTEMPT, name, None, whole[0], None, 1)
            current.set(attempt[0])
            return BegunRetry(whole, attempt, outer)
        event_id = new_pair_id()
        if outer is not None:
            outer.trace.add_both(outer.event_id, event_id ^ 1, event_id)
        begun = Try(name, event_id, monotonic_ns(), outer or self._traces, 1, True)
        self._open[event_id] = begun
        current.set(begun)
        return begun

    def end_retry(self, begun: Try | BegunRetry) -> None:
        """End both: the first attempt has succeeded."""
        if (
            type(begun) is not Try
        ):  # not isinstance(): that asks the metaclass of a Struct, at ten times the cost
            self.leave(begun.attempt, begun.whole[0], None)
            self.leave(begun.whole, begun.outer, None)
        elif self.end_attempt(begun, begun.outer, None):
            self._produced += 1  # the retry

    def fail_retry(self, begun: Try | BegunRetry, error: BaseException) -> tuple[Begun, Event | None]:
        """End the first attempt, make the retry current, and return that, for `leave`, and what was current before."""
        if type(begun) is not Try:
            self.leave(begun.attempt, begun.whole[0], error)
            return begun.whole, begun.outer
        whole = begun.whole
        self._open[whole.event_id] = whole
        if not self.end_attempt(begun, whole, error):
            del self._open[whole.event_id]
        return (whole, self.route(_RETRY)), begun.outer

    def begin_attempt(self, name: str, number: int, outer: Event | None) -> Try | Begun:
        """Open attempt `number` under `outer`, the current event, and make it current; `end_attempt` must follow."""
        if self._table.guards or outer is None or outer.end_ns is not None:
            begun = self.begin(_ATTEMPT, name, None, outer, None, number)
            self.current.set(begun[0])
            return begun
        event_id = random_bits(64) or new_event_id()
        outer.trace.add(outer.event_id, event_id)
        attempt = Try(name, event_id, monotonic_ns(), outer, number, False)
        self._open[event_id] = attempt
        self.current.set(attempt)
        return attempt

    def end_attempt(self, begun: Try | Begun, outer: Event | None, error: BaseException | None) -> bool:
        """End an attempt that `error` ended, if that is not ``None``, and make `outer` current again.

        Returns:
            False if this is a forked child, and the event its parent's: it ends over there.
        """
        if type(begun) is not Try:
            self.leave(begun, outer, error)
            return True
        current = self.current
        if current.get() is begun:  # see leave
            current.set(outer)
        if error is not None:
            fail_try(begun, error)
        write_event(begun, "end_ns", monotonic_ns())
        if self._open.pop(begun.event_id, None) is None:
            return False
        if begun.made is not None or begun.root is not None:
            begun.settle()
        self._produced += 1
        if self.recorder is not None:
            self.recorder.record(begun)
        return True
