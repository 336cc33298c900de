"""The handlers of one manager: who is there, who gets what, and how they are flushed and closed."""

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
"""Seconds that the end of the process waits for the handlers of all managers together."""
CLOSE_GRACE_S: Final = 0.1
"""Seconds on top, should one have used them up: the others have nothing left to do, but have to say so."""

LAST: Final = -1_000
"""Among the finalizers of multiprocessing: code that still runs in others may have events."""

MAX_ROUTES: Final = 1_000
"""Event types whose route is remembered; a program that makes up a type per event must not fill the memory."""

# Strong, and in order: a manager may be gone long before the process ends, but what its handlers
# have not been given yet must not go with it.
_unclosed: dict[HandlerTable, None] = {}


def unclosed_tables() -> list[HandlerTable]:
    """Return the tables with handlers that hold something: buffered events, or files of their own."""
    return list(_unclosed)


class HandlerTable:
    """An ordered set of guarded handlers; readers never wait for writers.

    Attributes:
        own: Those of this manager, in order.
        guards: The same, and after them those of the process.
        routes: What `route` has found so far; to be asked first where a call would be felt. A route
            with guards depends on the thread, too.
        trace_guards: Those that want to hear of traces.
        attach: Called with each guard that is put into the table, before it gets anything.
        heard: Called with whether there are any guards, whenever those have changed.
    """

    def __init__(self, *, raise_errors: bool) -> None:
        self.attach: Callable[[Guard], object] = id  # nobody looks at open events
        self.heard: Callable[[bool], object] = id  # nor asks whether anyone listens
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
        """Have the handlers that the process has now."""
        with self._lock:
            for guard in EVERYWHERE.guards:
                if guard not in self._everywhere:
                    self.attach(guard)
            self._everywhere = EVERYWHERE.guards
            self._put(self.own)

    def route(self, type: str) -> Route:
        """Return who gets events of that type which the calling thread emits now."""
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
        """Return a new guard around `handler`, which is not in the table by that."""
        return Guard(handler, raise_errors=self._raise_errors)

    def add(self, handler: object) -> None:
        """Add `handler` at the end; one that is there already is taken out of quarantine instead."""
        guard = self.guard(handler)
        with self._lock:
            known = next((old for old in self.own if old.handler is handler), None)
            if known is not None:
                known.quarantined = False
                return
            self.attach(guard)
            self._put((*self.own, guard))

    def replace(self, handlers: Iterable[object]) -> list[Guard]:
        """Put exactly `handlers` in; return the guards of those that are not there any more."""
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
        """Take `handler` out and return its guard.

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
        """Forget what only the parent process can deliver."""
        self._lock = threading.RLock()
        self.routes = {}  # a route remembers where its drains put ended jobs, and they begin anew
        for guard in self.own:
            guard.after_fork()


def hand_over_to(handler: object, timeout: float) -> bool:
    """Give `handler` what has ended, without flushing it.

    Args:
        handler: In the tables of any number of managers.
        timeout: Seconds to wait.

    Returns:
        False if that was not enough, or if a hook of the handler is what calls.
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
    # First all are asked: they work at the same time, and one that hangs takes no time from the others.
    asked = [(guard, guard.ask()) for guard in guards]
    done = True
    failure: HandlerError | None = None
    for guard, ticket in asked:
        try:
            done &= finish(guard, left_s(until_ns), ticket)
        except HandlerError as error:  # raise_handler_errors: after all of them have had their turn
            failure = failure or error
    if failure is not None:
        raise failure
    return done


# the end of the process -----------------------------------------------------------------------------------

_exit_deadline_ns: int | None = None
_registered = 0


def _flush_before_others() -> None:
    """Have the handlers flushed before whatever has been registered with ``atexit`` until now.

    What a handler passes events on to may have an end of its own there, as a provider of OpenTelemetry has that was
    made after spanloom was imported: what came later would be lost. So the first event that a handler gets moves us to
    the front. Only the flush: code that still runs then may have events, and handlers are closed after it.

    Not if we are there already: up to 3.13 CPython never uses the place of a function again that it has let go of, so
    each move takes memory for good and makes the next one slower.
    """
    global _registered  # noqa: PLW0603 -- there is one list of these functions in a process
    if atexit._ncallbacks() != _registered:  # noqa: SLF001 -- or nobody knows whether others have come
        atexit.unregister(_flush_at_exit)
        atexit.register(_flush_at_exit)
        _registered = atexit._ncallbacks()  # noqa: SLF001 -- the same


def _flush_at_exit() -> None:
    guards = [*(guard for table in unclosed_tables() for guard in table), *EVERYWHERE.guards]
    try:
        flush_all(guards, _exit_seconds_left())
    except HandlerError:
        pass  # it has been logged, and there is nobody left to raise it to


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
    """What multiprocessing refers to weakly."""

    known: bool = False


_exiting: Final = _Exiting()


def close_with_multiprocessing() -> None:
    """Have the handlers closed at the end of a child of ``multiprocessing``, too, which has no ``atexit``.

    It leaves by ``os._exit``, after finalizers of its own. Those made until then are forgotten as it starts, so ours is
    made in what is called after that, and at once for a child that is past it already.
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
