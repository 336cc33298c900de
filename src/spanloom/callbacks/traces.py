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
    """

    __slots__ = ("_ended", "_entries", "_open")

    def __init__(self) -> None:
        self._open: dict[int, Trace] = {}
        self._ended: deque[Trace] = deque()
        self._entries = 0

    def opened(self, trace: Trace) -> None:
        """Note that the root of `trace` has started."""
        self._open[trace.trace_id] = trace

    def ended(self, trace: Trace) -> None:
        """Note that the root of `trace` has ended; forget the oldest ended ones if there are too many."""
        self._open.pop(trace.trace_id, None)
        self._ended.append(trace)
        self._entries += len(trace)
        while len(self._ended) > KEPT_TRACES or (self._entries > KEPT_ENTRIES and len(self._ended) > 1):
            try:
                self._entries -= len(self._ended.popleft())
            except IndexError:  # another thread was here first
                return

    def __getitem__(self, trace_id: int) -> Trace:
        trace = self._open.get(trace_id)
        if trace is None:
            trace = next(
                (ended for ended in reversed(self._ended.copy()) if ended.trace_id == trace_id), None
            )
        if trace is None:
            raise KeyError(
                f"trace {trace_id:032x} is not open and not among the last {KEPT_TRACES} ended ones"
            )
        return trace
