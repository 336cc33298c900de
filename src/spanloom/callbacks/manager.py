"""The callback manager: carries events from the code that makes them to the handlers."""

from __future__ import annotations

import asyncio
import math
import os
import weakref
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Self

from spanloom._numbers import check_count, check_number
from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.callbacks.guard import Guard
from spanloom.callbacks.open_events import newest
from spanloom.callbacks.recorder import DEFAULT_CAPACITY, FlightRecorder
from spanloom.callbacks.retries import RetryEmitter
from spanloom.callbacks.stats import ManagerStats
from spanloom.callbacks.table import (
    EXIT_TIMEOUT_S,
    HandlerTable,
    close_all,
    close_with_multiprocessing,
    flush_all,
    unclosed_tables,
)
from spanloom.callbacks.tries import both
from spanloom.events.event import Event, ScopeEvent

__all__ = ["CallbackManager", "living_managers"]


class CallbackManager(RetryEmitter):
    """Carries events to handlers, and keeps the last ones in a flight recorder.

    Safe to use from any number of tasks, threads and event loops at once.

    Args:
        handlers: Objects with some of the hooks of `Handler`.
        raise_handler_errors: Let a failing hook raise `HandlerError` into the work; for tests.
        recorder: Ended events that the flight recorder keeps; 0 switches it off, and with it the
            table of running jobs, so that a manager without handlers costs next to nothing.
        deep: Measure the busy time of jobs (`Event.busy_ns`).

    Raises:
        TypeError: a handler defines no hook, has an ``async def`` hook other than ``on_events``, or is a class;
            `handlers` is not iterable, or `recorder` is not an int.
        ValueError: `recorder` is negative.
    """

    def __init__(
        self,
        handlers: Iterable[object] = (),
        *,
        raise_handler_errors: bool = False,
        recorder: int = DEFAULT_CAPACITY,
        deep: bool = False,
    ) -> None:
        check_count(recorder, "recorder", least=0)
        super().__init__(
            HandlerTable(raise_errors=raise_handler_errors), FlightRecorder(recorder) if recorder else None
        )
        self.deep: bool = deep or EVERYWHERE.deep
        # Weak: the table outlives its manager until the process ends.
        self._table.attach = partial(_attach, weakref.ref(self))
        self._table.heard = partial(_heard, weakref.ref(self))
        EVERYWHERE.join(self._table)
        self.set_handlers(handlers)
        _managers.add(self)

    # looking ------------------------------------------------------------------------------------------

    def in_flight(self) -> list[Event]:
        """Return every open event, oldest first; safe from any thread."""
        found = both(self._open.copy().values())
        for scope in self.running():
            found.extend(scope.jobs.open_jobs())
        return sorted(found, key=lambda event: event.start_ns)

    @property
    def has_open(self) -> bool:
        """Whether any event is open."""
        return bool(self._open)  # a job is never open without its batch

    def opened_since(
        self, start_ns: int, batches_since_ns: int, end_ns: int | None = None, *, jobs: bool
    ) -> list[Event]:
        """Return the open events that started at `start_ns` or later, and perhaps some others; for `OpenEvents`.

        Args:
            start_ns: Earliest start.
            batches_since_ns: Leave out the jobs of batches that started before this time.
            end_ns: Events that started at this time or later may be left out; ``None`` for no bound.
            jobs: Include jobs.
        """
        found = both(newest(self._open, _start_of, start_ns, end_ns))
        if jobs:
            for scope in self.running():
                if scope.event.start_ns >= batches_since_ns:
                    found.extend(scope.jobs.open_jobs(start_ns, end_ns))
        return found

    def stats(self) -> ManagerStats:
        """Return how many events were produced, and what became of them, handler by handler."""
        produced = self._produced  # before the batches: else one that closes meanwhile counts twice
        batches = self.running()
        handlers = tuple(guard.stats(partial(self.unaccounted, guard)) for guard in self._table)
        return ManagerStats(
            produced=produced + sum(scope.counts.ended for scope in batches),
            open=len(both(self._open.copy().values())) + sum(len(scope.jobs) for scope in batches),
            recorded=0 if self.recorder is None else len(self.recorder),
            delivered=sum(stats.delivered for stats in handlers),
            dropped=sum(stats.dropped for stats in handlers),
            pending=sum(stats.pending for stats in handlers),
            handlers=handlers,
        )

    def unaccounted(self, guard: Guard) -> int:
        """Return how many ended jobs of running batches are not in the accounts of `guard` yet."""
        return sum(scope.unaccounted(guard) for scope in self.running())

    # handlers -----------------------------------------------------------------------------------------

    @property
    def handlers(self) -> list[object]:
        """The handlers, in order; a copy."""
        return [guard.handler for guard in self._table]

    def guard(self, handler: object) -> Guard:
        """Return a guard for a handler that is not added and gets events directly, as a progress bar; for runners."""
        return self._table.guard(handler)

    def add_handler(self, handler: object) -> None:
        """Add a handler: it gets the events that start from now on, and the jobs of batches that start from now on.

        A handler that is there already is taken out of quarantine instead.

        Raises:
            TypeError: it defines no hook, or a hook other than ``on_events`` is ``async def``.
        """
        self._table.add(handler)

    def remove_handler(self, handler: object, timeout: float = EXIT_TIMEOUT_S) -> bool:
        """Remove a handler, deliver what is buffered for it within `timeout` seconds, and close it.

        Returns:
            True if it got everything in time.

        Raises:
            ValueError: it is not a handler of this manager, or `timeout` is NaN.
            TypeError: `timeout` is not a number.
        """
        timeout = _checked(timeout)
        return close_all([self._table.remove(handler)], timeout)

    def set_handlers(self, handlers: Iterable[object], timeout: float = EXIT_TIMEOUT_S) -> None:
        """Replace all handlers; those that are not among the new ones are closed within `timeout` seconds all together.

        Raises:
            TypeError: one of them defines no hook, or a hook other than ``on_events`` is ``async def``; `handlers` is
                not iterable, or `timeout` is not a number.
            ValueError: `timeout` is NaN.
        """
        timeout = _checked(timeout)
        close_all(self._table.replace(handlers), timeout)

    def flush(self, timeout: float = EXIT_TIMEOUT_S) -> bool:
        """Deliver everything that ended before this call.

        Blocks its thread for at most `timeout` seconds; ``math.inf`` waits as long as it takes. On an event loop use
        ``aclose``, or ``await asyncio.to_thread(manager.flush)``.

        Returns:
            True if every handler got everything in time.
        """
        return flush_all(self._table.guards, _checked(timeout))

    def close(self, timeout: float = EXIT_TIMEOUT_S) -> bool:
        """Deliver everything, close the handlers and remove them; the flight recorder goes on.

        Returns:
            True if every handler got everything within `timeout` seconds, all together.
        """
        timeout = _checked(timeout)
        return close_all(self._table.replace(()), timeout)

    async def aclose(self, timeout: float = EXIT_TIMEOUT_S) -> bool:
        """Do what `close` does, in a thread. If this call is cancelled, closing goes on in the background."""
        return await asyncio.shield(asyncio.to_thread(self.close, timeout))

    def __repr__(self) -> str:
        names = ", ".join(guard.name for guard in self._table) or "no handlers"
        return f"<CallbackManager {names}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """Drop, in a forked child, what only the parent process can end and deliver."""
        self._forget_open()
        self._table.after_fork()
        # The current event is the parent process's: it would never end here.
        self.current.set(None)


def _checked(timeout: float) -> float:
    """Return `timeout` as an int or float, or raise before any handler is removed."""
    timeout = check_number(timeout, "timeout")
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds (got nan)")
    return timeout


def _attach(reference: weakref.ref[CallbackManager], guard: Guard) -> None:
    manager = reference()
    if manager is not None:
        guard.attach(manager)


def _heard(reference: weakref.ref[CallbackManager], by_handlers: bool) -> None:
    manager = reference()
    if manager is not None:
        manager.active = by_handlers or manager.recorder is not None


def running_batches() -> list[tuple[CallbackManager, ScopeEvent]]:
    """Return the running batches of all managers, each with its manager."""
    return [(manager, scope.event) for manager in list(_managers) for scope in manager.running()]


def _start_of(event: Event) -> int:
    return event.start_ns


_managers: weakref.WeakSet[CallbackManager] = weakref.WeakSet()


def living_managers() -> list[CallbackManager]:
    """Return the managers of the process, in no particular order."""
    return list(_managers)


def _after_fork() -> None:
    EVERYWHERE.after_fork()
    for table in unclosed_tables():  # includes those of managers that no longer exist
        table.after_fork()
    for manager in list(_managers):
        manager.after_fork()
    close_with_multiprocessing()


os.register_at_fork(after_in_child=_after_fork)
