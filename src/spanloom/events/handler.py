"""What a handler may define. Every hook is optional, and one that is not defined costs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spanloom.events.event import Event

__all__ = ["Handler", "OpenEvents", "QuickHook"]


class OpenEvents(Protocol):
    """View of the open events whose end a handler will get; passed to its hook ``attached``."""

    @property
    def deep(self) -> bool:
        """Whether busy time is measured."""

    def between(self, start_ns: int, end_ns: int) -> Iterable[Event]:
        """Return the events open now with ``start_ns <= event.start_ns < end_ns``; safe from any thread.

        Costs time in proportion to the events started since `start_ns`, not to all open ones. To see each event once,
        ask for adjacent intervals.
        """

    def account(self) -> tuple[int, int]:
        """Return how many events the handler should have received, and how many of those were lost."""


class Handler:
    """Optional base class for handlers, for type checkers; any object with at least one of these hooks will do.

    *Inline* hooks run in the task or thread whose event it is, before its work goes on: be quick.
    *Batch* hooks run on a thread of this handler's own, off every event loop.
    Whatever a hook raises is logged once and counted, the handler gets no more calls, and the work
    goes on as if the handler were not there.

    Attributes:
        wants: The event types to receive; ``None`` means all.
        wants_inline: The types, among those, whose events are passed to the inline hooks; ``None``
            means all. A handler that takes jobs in lists and needs to see only batches start sets
            ``frozenset({"batch"})``: then no job pays for a call.

    Hooks:
        ``on_event_start(event)``: inline, at the start of every event with a duration.
        ``on_event_end(event)``: inline, the same event, now with its end and status.
        ``on_event_pause(event)``, ``on_event_resume(event)``: inline, for the event of a generator, at each
            of its yields and when its body goes on after that, perhaps in another task.
        ``on_event(event)``: inline, a point event.
        ``job_hooks(batch)``: inline, at the start of every batch, for a handler with ``on_events``. Returns
        a pair ``(start, end)``, each a function or ``None``, called with the jobs of that batch instead of
        ``on_event_start`` and ``on_event_end``. Bind what all jobs share; return ``None`` for a call that
        no job needs.
        ``on_events(events)``: batch; events that have ended and point events, in order of their
        end, in lists of at most 512, at most some 100 ms late. May be ``async def``: it then runs
        on an event loop of the handler's thread.
        ``attached(open_events)``: when the handler is added to a manager; see `OpenEvents`. For a handler without
            inline hooks that needs to know what is running. Called once per manager.
        ``on_tick()``: for a handler with ``on_events``, on its thread: after each round of lists, and every 100 ms
            while any event of the manager is open, even if none ends. Return True to be called again in 100 ms even
            if no event is open.
        ``start_trace(trace_id, name)``, ``end_trace(trace_id, trace_map)``: around the events of
        one trace; on the handler's thread, in order with ``on_events``, if that is defined, else
        inline. ``trace_map`` maps a parent's event id to its children's ids.
        ``flush(timeout)``: pass on what is buffered within `timeout` seconds; return False if that
            failed.
        ``close()``: the last call.

    A handler that may lose events after taking them counts them in an attribute ``lost``: ``stats()`` reports them as
    dropped, not as delivered. One that buffers events may count them in an attribute ``waiting``: those are reported as
    pending.
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
        def attached(self, open_events: OpenEvents) -> None: ...
        def on_tick(self) -> bool | None: ...
        def start_trace(self, trace_id: int, name: str) -> None: ...
        def end_trace(self, trace_id: int, trace_map: Mapping[int, Sequence[int]]) -> None: ...
        def flush(self, timeout: float) -> object: ...
        def close(self) -> None: ...


class QuickHook:
    """A start hook that ``job_hooks`` may return, with a fast path that nearly always suffices.

    Args:
        quick: Called with every started job; returns False if it did nothing and `full` must be called. It must emit no
            event, never wait and call no foreign code: it is neither timed nor protected against re-entry, as either
            would cost more than the call. If it raises, the handler is quarantined as usual.
        full: Called if `quick` returned False, guarded like any hook.
    """

    __slots__ = ("full", "quick")

    def __init__(self, quick: Callable[[Event], bool], full: Callable[[Event], object]) -> None:
        self.quick: Callable[[Event], bool] = quick
        self.full: Callable[[Event], object] = full

    def __call__(self, event: Event) -> None:
        if not self.quick(event):
            self.full(event)
