"""What a handler may define. Every hook is optional, and one that is not defined costs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spanloom.events.event import Event

__all__ = ["Handler"]


class Handler:
    """Base for handlers, for the type checker's sake; any object with one of these hooks will do.

    *Inline* hooks run in the task or thread whose event it is, before its work goes on: be quick.
    *Batch* hooks run on a thread of this handler's own, off every event loop.
    Whatever a hook raises is logged once and counted, the handler gets no more calls, and the work
    goes on as if the handler were not there.

    Attributes:
        wants: The event types to receive; ``None`` means all.
        wants_inline: Those of them for which the inline hooks on events are called, too; ``None``
            means all. A handler that takes jobs in lists and only needs to see batches start says
            ``frozenset({"batch"})`` and puts no call into any job.

    Hooks:
        ``on_event_start(event)``: inline, at the start of every event with a duration.
        ``on_event_end(event)``: inline, the same event, now with its end and status.
        ``on_event_pause(event)``, ``on_event_resume(event)``: inline, for the event of a generator, at each
            of its yields and when its body goes on after that, perhaps in another task.
        ``on_event(event)``: inline, a point event.
        ``job_hooks(batch)``: inline, at the start of every batch, for a handler with ``on_events``. What it
        returns, a pair of functions or ``None``, is called instead of ``on_event_start`` and
        ``on_event_end`` with the jobs of that batch: bind in them what is the same for all jobs, and
        give ``None`` for what need not be called a million times.
        ``on_events(events)``: batch; events that have ended and point events, in order of their
        end, in lists of at most 512, at most some 100 ms late. May be ``async def``: it then runs
        on an event loop of the handler's thread.
        ``start_trace(trace_id, name)``, ``end_trace(trace_id, trace_map)``: around the events of
        one trace; on the handler's thread, in order with ``on_events``, if that is defined, else
        inline. ``trace_map`` maps a parent's event id to its children's ids.
        ``flush(timeout)``: hand over what is buffered within `timeout` seconds; return False if that
            could not be done.
        ``close()``: the last call.
    """

    wants: frozenset[str] | None = None
    wants_inline: frozenset[str] | None = None

    if TYPE_CHECKING:

        def on_event_start(self, event: Event) -> None: ...
        def on_event_end(self, event: Event) -> None: ...
        def on_event_pause(self, event: Event) -> None: ...
        def on_event_resume(self, event: Event) -> None: ...
        def on_event(self, event: Event) -> None: ...
        def job_hooks(
            self, batch: Event
        ) -> tuple[Callable[[Event], object] | None, Callable[[Event], object] | None]: ...
        def on_events(self, events: Sequence[Event]) -> Awaitable[None] | None: ...
        def start_trace(self, trace_id: int, name: str) -> None: ...
        def end_trace(self, trace_id: int, trace_map: Mapping[int, Sequence[int]]) -> None: ...
        def flush(self, timeout: float) -> object: ...
        def close(self) -> None: ...
