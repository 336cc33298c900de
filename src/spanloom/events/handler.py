"""What a handler may define. Every hook is optional, and one that is not defined costs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spanloom.events.event import Event

__all__ = ["Handler", "OpenEvents", "QuickHook"]


class OpenEvents(Protocol):
    """What a handler is shown, by its hook ``attached``, of the events whose end it will get."""

    @property
    def deep(self) -> bool:
        """Whether busy time is measured."""

    def between(self, start_ns: int, end_ns: int) -> Iterable[Event]:
        """Return what is open now and started at `start_ns` or later and before `end_ns`; safe from any thread.

        Takes time in proportion to what has started since `start_ns`, not to what is open: to see each event once, ask
        for one stretch of time after the other.
        """

    def account(self) -> tuple[int, int]:
        """Return how many events the handler should have got, and how many of those were lost on their way to it."""


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
        ``attached(open_events)``: when the handler is put into a manager; see `OpenEvents`. For a handler that has no
            inline hooks and yet has to know what is running. Once for each manager that it is put into.
        ``on_tick()``: for a handler with ``on_events``, on its thread: after each round of lists, and every 100 ms
            while any event of the manager is open, whether anything ends or not. Return True to be called again in
            100 ms also if nothing is.
        ``start_trace(trace_id, name)``, ``end_trace(trace_id, trace_map)``: around the events of
        one trace; on the handler's thread, in order with ``on_events``, if that is defined, else
        inline. ``trace_map`` maps a parent's event id to its children's ids.
        ``flush(timeout)``: hand over what is buffered within `timeout` seconds; return False if that
            could not be done.
        ``close()``: the last call.

    A handler that may lose what it took has an attribute ``lost``, the number of those events: ``stats()`` counts them
    as dropped, not as delivered. One that cannot hand on at once what it took may have an attribute ``waiting``: those
    are counted as pending.
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
    """What ``job_hooks`` may return for the start of jobs: a hook of which nearly always a small part is enough.

    Args:
        quick: Is called with every started job; returns False if it has done nothing, and `full` is to be called. It
            emits no event, waits for nothing and calls nobody's code, so nothing is done about that: to look at the
            clock and to mark whose hook is running takes longer than what it does. If it raises, all is as always.
        full: Is called then, as any hook is.
    """

    __slots__ = ("full", "quick")

    def __init__(self, quick: Callable[[Event], bool], full: Callable[[Event], object]) -> None:
        self.quick: Callable[[Event], bool] = quick
        self.full: Callable[[Event], object] = full

    def __call__(self, event: Event) -> None:
        if not self.quick(event):
            self.full(event)
