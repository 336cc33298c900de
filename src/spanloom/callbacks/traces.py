"""The traces that a manager remembers."""

from __future__ import annotations

from collections import deque
from typing import Final

from spanloom.events.trace import Trace

__all__ = ["TraceTable"]

KEPT_TRACES: Final = 1024
"""Ended traces that are kept at most."""
KEPT_ENTRIES: Final = 100_000
"""Events in all kept traces together, at most, unless one trace alone has more: some 15 MB."""


class TraceTable:
    """All open traces, and the last ended ones within `KEPT_TRACES` and `KEPT_ENTRIES`.

    Safe from any thread: every change of a container is one atomic operation. Only the number of entries, against which
    `KEPT_ENTRIES` is checked, may drift when two threads end traces at once.

    Attributes:
        open: The traces whose root has started and not ended, by id; written by the code that starts a root.
    """

    __slots__ = ("_ended", "_entries", "open")

    def __init__(self) -> None:
        self.open: dict[int, Trace] = {}
        self._ended: deque[Trace] = deque()
        self._entries = 0

    def ended(self, trace: Trace) -> None:
        """Move `trace`, whose root has ended, to the ended ones; drop the oldest of them if there are too many.

        Does nothing for a trace that is not open: it was moved before.
        """
        if self.open.pop(trace.trace_id, None) is None:
            return
        ended = self._ended
        ended.append(trace)
        self._entries += trace.__len__()  # half the cost of len(trace)
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
