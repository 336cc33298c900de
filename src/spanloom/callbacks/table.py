"""The handlers of one manager: which there are, which events each gets, and how they are flushed and closed."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.callbacks.guard import Guard, delivering
from spanloom.callbacks.route import Route
from spanloom.events.clock import deadline_ns, left_s
from spanloom.exceptions import HandlerError

__all__ = [
    "EXIT_TIMEOUT_S",
    "HandlerTable",
    "close_all",
    "close_with_multiprocessing",
    "flush_all",
    "hand_over_to",
    "unclosed_tables",
]

EXIT_TIMEOUT_S: Final = 2.0
"""Seconds that the end of the process waits for all handlers of all managers together."""
CLOSE_GRACE_S: Final = 0.1
"""Least seconds for closing, if flushing has used up the others: handlers with nothing left to do still need a call."""

LAST: Final = -1_000
"""Exit priority in multiprocessing, so low that we come last: other finalizers may still emit events."""

MAX_ROUTES: Final = 1_000
"""Event types whose route is cached; a program that makes up a type per event must not fill the memory."""

# Strong references, in order: a manager may be gone long before the process ends, but what its handlers
# have not received yet must not be lost with it.
_unclosed: dict[HandlerTable, None] = {}


def unclosed_tables() -> list[HandlerTable]:
    """Return the tables with handlers that hold something: buffered events, or files of their own."""
    return list(_unclosed)


class HandlerTable:
    """An ordered set of guarded handlers; readers never wait for writers.

    Attributes:
        own: Handlers of this manager, in order.
        guards: These, followed by those of the process.
        routes: Cache of `route`, for hot paths. Use a cached route directly only if it has no guards:
            with guards, the route depends on the thread, too.
        trace_guards: Handlers with a hook for traces.
        attach: Called with each guard that is put into the table, before it gets any event.
        heard: Called whenever the guards have changed, with whether there are any.
    """

    def __init__(self, *, raise_errors: bool) -> None:
        self.attach: Callable[[Guard], object] = id  # does nothing, until a manager sets it
        self.heard: Callable[[bool], object] = id  # the same
        self._raise_errors = raise_errors
        self._everywhere: tuple[Guard, ...] = ()
        self._put(())
        self._lock = threading.RLock()

    def _put(self, own: tuple[Guard, ...]) -> None:
        self.own: tuple[Guard, ...] = own
        guards = (*own, *self._everywhere)
        self.guards: tuple[Guard, ...] = guards
        self.routes: dict[str, Route] = {}
        self.trace_guards: tuple[Guard, ...] = tuple(
            guard for guard in guards if guard.defines("start_trace") or guard.defines("end_trace")
        )
        self.heard(bool(guards))
        if any(guard.needs_close for guard in own):
            _unclosed[self] = None
        else:
            _unclosed.pop(self, None)

    def __iter__(self) -> Iterator[Guard]:
        return iter(self.own)

    def refresh(self) -> None:
        """Take over the present handlers of the process."""
        with self._lock:
            for guard in EVERYWHERE.guards:
                if guard not in self._everywhere:
                    self.attach(guard)
            self._everywhere = EVERYWHERE.guards
            self._put(self.own)

    def route(self, type: str) -> Route:
        """Return the route of events of that type that the calling thread emits now."""
        route = self.routes.get(type)
        if route is None:
            if not self.routes:
                _flush_before_others()
            with self._lock:
                route = Route(type, tuple(guard for guard in self.guards if guard.wants_type(type)))
                if len(self.routes) >= MAX_ROUTES:
                    self.routes = {}
                self.routes[type] = route
        if route.guards and delivering.guards:
            return route.without(delivering.guards)
        return route

    def guard(self, handler: object) -> Guard:
        """Return a new guard around `handler`, without adding it to the table."""
        return Guard(handler, raise_errors=self._raise_errors)

    def add(self, handler: object) -> None:
        """Add `handler` at the end; one that is there already is taken out of quarantine instead."""
        guard = self.guard(handler)
        with self._lock:
            known = next((old for old in self.own if old.handler is handler), None)
            if known is not None:
                known.readmit()
                return
            self.attach(guard)
            self._put((*self.own, guard))

    def replace(self, handlers: Iterable[object]) -> list[Guard]:
        """Replace all handlers by `handlers`; return the guards of those that were removed."""
        given: object = handlers
        if not isinstance(given, Iterable):
            name = type(given).__name__
            raise TypeError(
                f"handlers must be a list of handlers, not {name}; put it into one: [{name}(...)]"
            )
        new = {id(handler): handler for handler in handlers}
        with self._lock:
            known = {id(guard.handler): guard for guard in self.own}
        guards = tuple(known.get(key) or self.guard(handler) for key, handler in new.items())
        with self._lock:
            for guard in guards:
                if guard not in self.own:
                    self.attach(guard)
            gone = [guard for guard in self.own if guard not in guards]
            self._put(guards)
        return gone

    def remove(self, handler: object) -> Guard:
        """Remove `handler` and return its guard.

        Raises:
            ValueError: it is not there.
        """
        with self._lock:
            for guard in self.own:
                if guard.handler is handler:
                    self._put(tuple(other for other in self.own if other is not guard))
                    return guard
        raise ValueError(f"{type(handler).__name__} is not a handler of this manager; it has {self.names()}")

    def names(self) -> list[str]:
        """Return the class names of the handlers, in order."""
        return [guard.name for guard in self.own]

    def after_fork(self) -> None:
        """Drop, in a forked child, what only the parent process can deliver."""
        self._lock = threading.RLock()
        self.routes = {}  # a route holds the outboxes of its drains, which are replaced
        for guard in self.own:
            guard.after_fork()


def hand_over_to(handler: object, timeout: float) -> bool:
    """Deliver to `handler` all events that have ended, without calling its ``flush``.

    Args:
        handler: May be in the tables of any number of managers.
        timeout: Seconds to wait.

    Returns:
        False if time ran out, or if the caller is a hook of the handler.
    """
    until_ns = deadline_ns(timeout)
    done = True
    for table in unclosed_tables():
        for guard in table:
            if guard.handler is handler and guard.drain is not None:
                done &= guard not in delivering.guards and guard.drain.flush(left_s(until_ns), guard.ask())
    return done


def flush_all(guards: Iterable[Guard], timeout: float) -> bool:
    """Flush `guards` within `timeout` s all together; return False if one did not finish in time."""
    return _all(guards, Guard.flush, timeout)


def close_all(guards: Iterable[Guard], timeout: float) -> bool:
    """Close `guards` within `timeout` s all together; return False if one did not finish in time."""
    return _all(guards, Guard.close, timeout)


def _all(guards: Iterable[Guard], finish: Callable[[Guard, float, int], bool], timeout: float) -> bool:
    until_ns = deadline_ns(timeout)
    # Ask all first: they work concurrently, and one that hangs takes no time from the others.
    asked = [(guard, guard.ask()) for guard in guards]
    done = True
    failure: HandlerError | None = None
    for guard, ticket in asked:
        try:
            done &= finish(guard, left_s(until_ns), ticket)
        except HandlerError as error:  # raise_handler_errors: raised after all have had their turn
            failure = failure or error
    if failure is not None:
        raise failure
    return done


# the end of the process -----------------------------------------------------------------------------------

_exit_deadline_ns: int | None = None
_registered = 0


def _flush_before_others() -> None:
    """Make ``atexit`` flush the handlers before it calls any function registered so far.

    A handler's target may shut itself down there, such as an OpenTelemetry provider made after spanloom was imported:
    events delivered later would be lost. ``atexit`` calls the last registered function first, so this registers the
    flush anew at the first event. Only the flush: functions called after it may emit events, so handlers are closed
    later.

    Nothing is done if no function was registered since: up to CPython 3.13 an unregistered function's place is never
    reused, so each registration takes memory for good and slows down the next.
    """
    global _registered  # noqa: PLW0603 -- there is one list of these functions in a process
    if atexit._ncallbacks() != _registered:  # noqa: SLF001 -- nothing public tells whether others were registered
        atexit.unregister(_flush_at_exit)
        atexit.register(_flush_at_exit)
        _registered = atexit._ncallbacks()  # noqa: SLF001 -- the same


def _flush_at_exit() -> None:
    guards = [*(guard for table in unclosed_tables() for guard in table), *EVERYWHERE.guards]
    try:
        flush_all(guards, _exit_seconds_left())
    except HandlerError:
        pass  # it has been logged, and no caller is left to raise it to


def _close_at_exit() -> None:
    guards = [*(guard for table in unclosed_tables() for guard in table.replace(())), *EVERYWHERE.guards]
    try:
        close_all(guards, max(CLOSE_GRACE_S, _exit_seconds_left()))
    except HandlerError:
        pass  # the same


def _exit_seconds_left() -> float:
    global _exit_deadline_ns  # noqa: PLW0603 -- the process ends once
    if _exit_deadline_ns is None:
        _exit_deadline_ns = deadline_ns(EXIT_TIMEOUT_S)
    return left_s(_exit_deadline_ns)


class _Exiting:
    """The object that ``multiprocessing`` keeps a weak reference to."""

    known: bool = False


_exiting: Final = _Exiting()


def close_with_multiprocessing() -> None:
    """Close the handlers at the end of a ``multiprocessing`` child, too, where ``atexit`` does not run.

    Such a child leaves by ``os._exit``, after running the finalizers of ``multiprocessing``. As it starts, it drops
    those it has inherited. So ours is made in a hook that is called after that, or at once if the child has started.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and not _exiting.known:
        _exiting.known = True
        util.register_after_fork(_exiting, _finalize)
        if sys.modules["multiprocessing.process"].parent_process() is not None:
            _finalize(_exiting)


def _finalize(_: object) -> None:
    sys.modules["multiprocessing.util"].Finalize(None, _close_at_exit, exitpriority=LAST)


atexit.register(_close_at_exit)
close_with_multiprocessing()
