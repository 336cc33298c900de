"""The traces that a manager can still tell about."""

from __future__ import annotations

from collections import deque
from typing import Final

from spanloom.events.trace import Trace

__all__ = ["TraceTable"]

KEPT_TRACES: Final = 1024
"""Ended traces whose map can still be asked for."""
KEPT_ENTRIES: Final = 100_000
"""Events that the kept traces remember all together: some 15 MB."""


class TraceTable:
    """All open traces, and the last ended ones as far as `KEPT_TRACES` and `KEPT_ENTRIES` allow.

    Safe from any thread: every step is one operation on a built-in container.

    Attributes:
        open: The traces whose root has started and not ended, by id; written by who starts a root.
    """

    __slots__ = ("_ended", "_entries", "open")

    def __init__(self) -> None:
        self.open: dict[int, Trace] = {}
        self._ended: deque[Trace] = deque()
        self._entries = 0

    def ended(self, trace: Trace) -> None:
        """Note that the root of `trace` has ended; forget the oldest ended ones if there are too many.

        A trace that is not open was noted before, and is not noted again.
        """
        if self.open.pop(trace.trace_id, None) is None:
            return
        ended = self._ended
        ended.append(trace)
        self._entries += trace.__len__()  # not len(trace): the same, for half of the price
        while len(ended) > KEPT_TRACES or (self._entries > KEPT_ENTRIES and len(ended) > 1):
            try:
                self._entries -= ended.popleft().__len__()
            except IndexError:  # another thread was here first
                return

    def __getitem__(self, trace_id: int) -> Trace:
        trace = self.open.get(trace_id)
        if trace is None:
            trace = next(
                (ended for ended in reversed(self._ended.copy()) if ended.trace_id == trace_id), None
            )
        if trace is None:
            raise KeyError(
                f"trace {trace_id:032x} is not open and not among the last {KEPT_TRACES} ended ones"
            )
        return trace
