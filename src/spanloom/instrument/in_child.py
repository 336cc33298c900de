"""A call in another process, whose events belong to the trace of the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import hide_frame
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import ScopeEvent
from spanloom.events.trace import Trace
from spanloom.events.types import EventType

__all__ = ["InChild"]


class InChild:
    """A function and the ids of the event that it is called under; goes through pickle.

    Args:
        trace_id: The trace.
        event_id: The event there, of the process that this was made in.
        name: The event's name.
        function: Is called.
    """

    __slots__ = ("event_id", "function", "name", "trace_id")

    def __init__(self, trace_id: int, event_id: int, name: str, function: Callable[..., Any]) -> None:
        self.trace_id: int = trace_id
        self.event_id: int = event_id
        self.name: str = name
        self.function: Callable[..., Any] = function

    def __reduce__(self) -> tuple[type[InChild], tuple[Any, ...]]:
        return InChild, (self.trace_id, self.event_id, self.name, self.function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        current = get_callback_manager().current
        outer = current.get()
        # It stands for the event in the other process, and is never started or ended here.
        trace = Trace(self.name, self.event_id, self.trace_id)
        current.set(ScopeEvent(EventType.JOB, self.name, self.event_id, None, trace, monotonic_ns()))
        try:
            return self.function(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            raise
        finally:
            current.set(outer)
