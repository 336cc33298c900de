"""Make the events of a retried call: the retry, and its first attempt, mostly the only one."""

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
    """A retry and its first attempt as two events, for when there are handlers.

    Attributes:
        whole: The retry.
        attempt: Its first attempt.
        outer: The event that was current before.
    """

    whole: Begun
    attempt: Begun
    outer: Event | None


class RetryEmitter(Emitter):
    """An `Emitter` that uses a lighter record, `Try`, for retries and attempts when there are no handlers."""

    def begin_retry(self, name: str) -> Try | BegunRetry:
        """Open a retry and its first attempt, and make the attempt current; `end_retry` or `fail_retry` must follow."""
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
        ):  # not isinstance(): for a Struct it goes through the metaclass, at ten times the cost
            self.leave(begun.attempt, begun.whole[0], None)
            self.leave(begun.whole, begun.outer, None)
        elif self.end_attempt(begun, begun.outer, None):
            self._produced += 1  # the retry

    def fail_retry(self, begun: Try | BegunRetry, error: BaseException) -> tuple[Begun, Event | None]:
        """End the first attempt and make the retry current; return the arguments for the `leave` that ends the retry.

        Returns:
            The retry, and the event that was current before it.
        """
        if type(begun) is not Try:
            self.leave(begun.attempt, begun.whole[0], error)
            return begun.whole, begun.outer
        whole = begun.whole
        self._open[whole.event_id] = whole
        if not self.end_attempt(begun, whole, error):
            del self._open[whole.event_id]
        return (whole, self.route(_RETRY)), begun.outer

    def begin_attempt(self, name: str, number: int, outer: Event | None) -> Try | Begun:
        """Open attempt `number` under the current event, `outer`, and make it current; `end_attempt` must follow."""
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
        """End an attempt, and make `outer` current again.

        Args:
            begun: What `begin_attempt` returned.
            outer: What was current before.
            error: What ended it; ``None`` if it succeeded.

        Returns:
            False in a forked child for an event of its parent process, which ends it.
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
