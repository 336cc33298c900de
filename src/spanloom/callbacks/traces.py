"""The traces that a manager can still tell about."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from spanloom.events.trace import Trace

__all__ = ["KEPT_TRACES", "TraceTable"]

KEPT_TRACES: Final = 1024
"""Ended traces whose map can still be asked for."""


class TraceTable:
    """All open traces and the last `KEPT_TRACES` ended ones. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Trace] = {}
        self._ended: OrderedDict[int, Trace] = OrderedDict()

    def opened(self, trace: Trace) -> None:
        """Note that the root of `trace` has started."""
        with self._lock:
            self._open[trace.trace_id] = trace

    def ended(self, trace: Trace) -> None:
        """Note that the root of `trace` has ended; forget the oldest ended trace if there are too many."""
        with self._lock:
            self._open.pop(trace.trace_id, None)
            self._ended[trace.trace_id] = trace
            if len(self._ended) > KEPT_TRACES:
                self._ended.popitem(last=False)

    def __getitem__(self, trace_id: int) -> Trace:
        with self._lock:
            trace = self._open.get(trace_id) or self._ended.get(trace_id)
        if trace is None:
            raise KeyError(
                f"trace {trace_id:032x} is not open and not among the last {KEPT_TRACES} ended ones"
            )
        return trace
