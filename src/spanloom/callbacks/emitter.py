"""Make events, from start to end, and keep track of the current event of each context.

Theory of operation. `begin` makes the record of an event, puts it into the table of open events
and calls the inline start hooks; `finish` completes the record, moves it to the flight recorder,
calls the inline end hooks and appends it to the drains. Which event is current lives in a
ContextVar of this object, so tasks and threads have stacks of their own, and two managers never
see each other's events. Runners open a `BatchScope` instead, which does the same for many jobs.

Over 400 lines, though one noun: what is done for each event stands in `begin`, `finish` and `emit` themselves, as a
shared helper would cost a call per event.
"""

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from spanloom.callbacks.batch import BatchScope
from spanloom.callbacks.context import EventContext
from spanloom.callbacks.decorate import decorate
from spanloom.callbacks.guard import Guard, delivering
from spanloom.callbacks.recorder import FlightRecorder
from spanloom.callbacks.route import Route
from spanloom.callbacks.table import HandlerTable
from spanloom.callbacks.traces import TraceTable
from spanloom.callbacks.tries import Try
from spanloom.events.clock import monotonic_ns
from spanloom.events.counts import BatchCounts
from spanloom.events.event import (
    NO_STACK,
    Event,
    ScopeEvent,
    data_of,
    fail_scope,
    write_event,
)
from spanloom.events.ids import new_event_id, random_bits
from spanloom.events.trace import MAX_SCOPES, Trace
from spanloom.events.types import ERROR, EventType

__all__ = ["Emitter"]

P = ParamSpec("P")
R = TypeVar("R")


class Emitter:
    """The half of a `CallbackManager` that makes events: all that open, end or emit events go through it.

    Args:
        table: The handlers.
        recorder: Keeps the ended events, or ``None``.

    Attributes:
        current: The current event of each context.
        recorder: The flight recorder, or ``None`` if that is switched off.
        active: Whether there is a flight recorder or a handler, so that events are worth making.
        route: Returns the route of the events of a type; see `HandlerTable.route`.
    """

    def __init__(self, table: HandlerTable, recorder: FlightRecorder | None) -> None:
        self.current: contextvars.ContextVar[Event | None] = contextvars.ContextVar(
            "spanloom_event", default=None
        )
        self.recorder: FlightRecorder | None = recorder
        self.active: bool = recorder is not None
        self._table = table
        self.route: Callable[[str], Route] = table.route
        self._forget_open()

    def _forget_open(self) -> None:
        self._traces = TraceTable()
        self._told: dict[int, tuple[Guard, ...]] = {}
        self._open: dict[int, Event] = {}
        self._held: dict[int, tuple[ScopeEvent, Route]] = {}
        self._held_traces: dict[int, EventContext] = {}
        # Weak: a batch whose event loop was closed while it ran must not be kept alive by this table.
        self._batches: dict[int, weakref.ref[BatchScope]] = {}
        self._produced = 0

    def relief_s(self) -> float:
        """Return the seconds that producers should pause so that handlers that take lists can catch up.

        The maximum over all of them, those that want no jobs included: a job may have events of its own. Handlers whose
        hooks are running in this thread do not count: a hook cannot wait for its own handler.
        """
        self.let_in()
        relief_s = 0.0
        for guard in self._table.guards:
            if guard.drain is not None and guard not in delivering.guards:
                relief_s = max(relief_s, guard.drain.relief_s())
        return relief_s

    def let_in(self) -> None:
        """Let the threads of handlers work now if it is their turn, which a loop that never waits keeps them from."""
        for guard in self._table.guards:
            if guard.drain is not None and guard not in delivering.guards:
                guard.drain.let_in()

    # making events --------------------------------------------------------------------------------

    def event(
        self,
        type: str = EventType.STEP,
        payload: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
    ) -> EventContext:
        """Return a context that opens an event on entry and ends it on exit.

        Args:
            type: An `EventType`, or any string of your own.
            payload: Values to attach; copied.
            name: Low-cardinality label; by default the type.
        """
        return EventContext(self, type, name or str(type), dict(payload) if payload else None)

    def attempt(
        self, type: str, name: str, number: int, payload: Mapping[str, object] | None = None
    ) -> EventContext:
        """Return a context for try number `number` of something, or for the back-off after it."""
        return EventContext(self, type, name, dict(payload) if payload else None, number)

    def on_event_start(
        self,
        type: str,
        payload: Mapping[str, object] | None = None,
        event_id: int | None = None,
        parent_id: int | None = None,
        *,
        name: str | None = None,
    ) -> int:
        """Start an event without a ``with`` block, and return its id.

        It does not become the current event: a later event is its child only if given its id as
        `parent_id`. Prefer `event`, which cannot be left open.

        Args:
            type, payload, name: As for `event`.
            event_id: The id to take, 1 <= id < 2**64; by default a fresh one.
            parent_id: Id of an open event; by default the current event, if there is one.

        Raises:
            ValueError: `event_id` is out of range or taken, or `parent_id` is not open.
            TypeError: an id is not an int.
        """
        given: object
        for what, given in (("event_id", event_id), ("parent_id", parent_id)):
            if given is not None and (not isinstance(given, int) or isinstance(given, bool)):
                raise TypeError(f"{what} must be an int (got {given!r}, {given.__class__.__name__})")
        if event_id is not None and not 0 < event_id < 1 << 64:
            raise ValueError(f"event_id must be from 1 to 2**64 - 1 (got {event_id})")
        if event_id in self._open:
            raise ValueError(
                f"event_id {event_id} is taken by an open event; leave it out to get a fresh one"
            )
        parent = self.current.get() if parent_id is None else self._find_open(parent_id)
        event, route = self.begin(
            type, name or str(type), dict(payload) if payload else None, parent, event_id
        )
        self._held[event.event_id] = event, route
        return event.event_id

    def on_event_end(
        self,
        event_id: int,
        payload: Mapping[str, object] | None = None,
        *,
        error: BaseException | None = None,
    ) -> None:
        """End an event by the id that `on_event_start` returned, wherever it is in the tree.

        Args:
            event_id: What `on_event_start` returned.
            payload: Values to attach.
            error: The exception that ended it; decides the status.

        Raises:
            ValueError: no such event is open.
        """
        held = self._held.pop(event_id, None)
        if held is None:
            raise ValueError(f"no event with id {event_id} was started by on_event_start and is still open")
        event, route = held
        if payload:
            data_of(event).update(payload)
        self.finish(event, route, error)

    def emit(
        self,
        type: str = EventType.MARK,
        payload: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        parent: Event | None = None,
    ) -> None:
        """Emit a point event under the current event.

        Args:
            type, payload, name: As for `event`.
            parent: The parent, if not the current event; an ended one is replaced as in `begin`.
        """
        parent = parent or self.current.get()
        if parent is not None and parent.end_ns is not None:
            parent = self.open_around(parent)
        now = monotonic_ns()
        event_id = new_event_id()
        if parent is None:
            parent_id, trace, job = None, Trace(name or type, event_id), None
            self._traces.open[trace.trace_id] = trace
        else:
            parent_id, trace, job = parent.event_id, parent.trace, parent.job
            trace.add(parent_id, event_id)
        data = dict(payload) if payload else None
        event = ScopeEvent(
            type, name or str(type), event_id, parent_id, trace, now, data, job, end_ns=now, is_point=True
        )
        self._produced += 1
        if self.recorder is not None:
            self.recorder.record(event)
        route = self.route(type)
        if parent is not None:
            route.point(event)
            return
        try:
            if self._table.trace_guards:
                self._tell_start(trace)
            route.point(event)
        finally:
            self._trace_ended(trace)

    def begin(
        self,
        type: str,
        name: str,
        data: dict[str, object] | None,
        parent: Event | None,
        event_id: int | None = None,
        attempt: int | None = None,
        counts: BatchCounts | None = None,
    ) -> tuple[ScopeEvent, Route]:
        """Open an event; for `EventContext` and runners. The caller must call `finish`.

        A `parent` may have ended and still be current: a generator was left early, or a task has outlived the block
        that started it. Then the innermost open event around it is the parent.

        Raises:
            BaseException: what a start hook raised under ``raise_handler_errors``, or a signal's handler; the event has
                been ended.
        """
        if parent is not None and parent.end_ns is not None:
            parent = self.open_around(parent)
        route = self._table.routes.get(type)
        if route is None or route.guards:
            route = self.route(type)
        if event_id is None:
            event_id = random_bits(64) or new_event_id()
        if parent is None:
            trace = Trace(name, event_id)
            event = ScopeEvent(type, name, event_id, None, trace, monotonic_ns(), data, None, attempt, counts)
            self._traces.open[trace.trace_id] = trace
        else:
            parent_id, trace = parent.event_id, parent.trace
            noted = trace.noted
            if len(noted) < MAX_SCOPES:
                noted.append((parent_id, event_id))
            else:
                trace.omitted += 1
            event = ScopeEvent(
                type, name, event_id, parent_id, trace, monotonic_ns(), data, parent.job, attempt, counts
            )
        self._open[event_id] = event
        if parent is None or route.starts:
            try:
                if parent is None and self._table.trace_guards:
                    self._tell_start(trace)
                if route.starts:
                    route.start(event)
            except BaseException as error:  # from a handler or a signal: nobody else would end the event
                self.finish(event, route, error)
                raise
        return event, route

    def finish(self, event: ScopeEvent, route: Route, error: BaseException | None) -> None:
        """End an event that `begin` opened."""
        if error is not None:
            try:
                fail_scope(event, error)
            except RecursionError:  # the stack has no room for another call
                write_event(event, "failure", ERROR)
                write_event(event, "error", NO_STACK)
        write_event(event, "end_ns", monotonic_ns())
        if self._open.pop(event.event_id, None) is None:
            return  # a forked child, and an event of its parent process, which ends it
        self._produced += 1
        recorder = self.recorder
        if recorder is not None:
            recorder.record(event)
        if route.ends or event.parent_id is None:
            try:
                if route.ends:
                    route.end(event)
            finally:
                if event.parent_id is None:
                    self._trace_ended(event.trace)

    def leave(
        self, begun: tuple[ScopeEvent, Route], outer: Event | None, error: BaseException | None
    ) -> None:
        """End what `begin` returned, and make `outer` current if the event is still current; for runners."""
        event, route = begun
        current = self.current
        # Not Token.reset: see EventContext.end.
        if current.get() is event:
            current.set(outer)
        self.finish(event, route, error)

    def open_around(self, event: Event) -> Event | None:
        """Return the innermost open event around `event`, which has ended; ``None`` if there is none."""
        job, parent_id = event.job, event.parent_id
        while parent_id is not None:
            is_job = job is not None and job.event_id == parent_id
            around = job if is_job else self._open_of(parent_id)
            if around is None:
                parent_id = event.trace.parent_of(parent_id)
            elif around.end_ns is None:
                return around
            else:
                parent_id = around.parent_id
        return None

    def attempt_around(self, event: Event) -> int | None:
        """Return the number of the attempt that the open `event` is or is in, within its job; ``None`` for none."""
        around: Event | None = event
        while around is not None and around.job is not around:
            if around.attempt is not None:
                return around.attempt
            job = around.job
            if job is not None and job.event_id == around.parent_id:  # not in the table
                around = job
            else:
                around = None if around.parent_id is None else self._open.get(around.parent_id)
        return None if around is None else around.attempt

    def _find_open(self, event_id: int) -> Event:
        event = self._open_of(event_id)
        if event is None:
            raise ValueError(f"parent_id {event_id} is not an open event of this manager")
        return event

    def _open_of(self, event_id: int) -> Event | None:
        event = self._open.get(event_id)
        if event is not None:
            return event
        attempt = self._open.get(event_id ^ 1)
        if type(attempt) is Try and attempt.is_retry:  # its retry is open, too: see `Try`
            return attempt.whole
        for scope in self.running():
            for job in scope.jobs.open_jobs():
                if job.event_id == event_id:
                    return job
        return None

    # traces ---------------------------------------------------------------------------------------

    def as_trace(self, name: str) -> EventContext:
        """Return a context whose event is the root of a new trace, or a child of the current event if there is one."""
        return EventContext(self, EventType.TRACE, name, None)

    def start_trace(self, name: str) -> int:
        """Open a trace without a block, make it current, and return its root's event id."""
        context = self.as_trace(name)
        event = context.start()
        self._held_traces[event.event_id] = context
        return event.event_id

    def end_trace(self, event_id: int, *, error: BaseException | None = None) -> None:
        """End what `start_trace` opened.

        Args:
            event_id: What `start_trace` returned.
            error: The exception that ended it; decides the status.

        Raises:
            ValueError: no such trace is open.
        """
        context = self._held_traces.pop(event_id, None)
        if context is None:
            raise ValueError(f"no trace whose root is {event_id} was opened by start_trace and is still open")
        context.end(error)

    def trace_map(self, trace_id: int) -> dict[int, list[int]]:
        """Return a map from each event id of a trace to the ids of its children, in order of start.

        All open traces and the last 1,024 ended ones are known.

        Raises:
            KeyError: the trace is not known, or was forgotten.
        """
        return self._traces[trace_id].tree()

    def trace(self, name: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Return a decorator that makes every call of a function an event of type ``call``.

        Works on functions, methods, coroutine functions, generators and async generators, and on objects whose
        ``__call__`` is one of them. The event of a generator lasts until it is exhausted or closed, and is current
        only while its body runs.

        Args:
            name: Label of the event; by default the function's qualified name.

        Raises:
            TypeError: `name` is a function, as the parentheses are missing. The decorator raises it if what it
                decorates is not a function.
        """
        if callable(name):
            raise TypeError("trace() makes a decorator: write @manager.trace(), with parentheses")
        return lambda function: decorate(self, function, name)

    def _tell_start(self, trace: Trace) -> None:
        told = self._table.trace_guards
        if delivering.guards:
            told = tuple(guard for guard in told if guard not in delivering.guards)
        # Remembered, so that a handler added later gets no end of a trace whose start it has not seen.
        self._told[trace.trace_id] = told
        for guard in told:
            guard.start_trace(trace)

    def _trace_ended(self, trace: Trace) -> None:
        self._traces.ended(trace)
        if self._told:
            for guard in self._told.pop(trace.trace_id, ()):
                guard.end_trace(trace)

    # batches, for runners ---------------------------------------------------------------------------

    def batch_opened(self, event_id: int, scope: BatchScope) -> None:
        """Add a running batch to the table of open events; for `BatchScope`."""
        self._batches[event_id] = weakref.ref(scope)

    def batch_closed(self, event_id: int, jobs: int) -> None:
        """Account for the jobs of a batch that has ended; for `BatchScope`."""
        self._batches.pop(event_id, None)
        self._produced += jobs

    def running(self) -> list[BatchScope]:
        """Return the batches that are running; safe from any thread."""
        scopes = [reference() for reference in self._batches.copy().values()]
        return [scope for scope in scopes if scope is not None]
