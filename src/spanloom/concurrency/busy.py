"""Busy time: how long a job holds the event loop, step by step.

Deep timing wraps every callback of the loop in a clock while a batch with ``deep`` is running, and
removes it afterwards. Each callback then costs some 0.6 us more (1.2 on loops that are not
asyncio's), so it is optional. A callback's time belongs to the job in whose context it runs. What
counts for a job is

* each step of its own task, from being resumed until it suspends or ends;
* each step of the tasks that it started, and of theirs;
* each callback that it scheduled: ``call_soon``, ``call_later``, a future's done-callback,
  ``add_reader`` and so on;

What runs in threads, and the waiting in between, does not count.

asyncio's own loops run every callback by ``asyncio.Handle._run``, which is replaced. Others, such as
uvloop's, have handles of their own in C. There the methods that schedule a callback are replaced on
the loop object; asyncio's tasks and futures look them up there, too. What such a loop calls without
being asked to is not measured: the methods of its transports' protocols, such as ``data_received``.

No user code is wrapped: a coroutine stepped by a wrapper would lose its name and stack in every
other tool. The clock is below the task, among the loop's frames. Rejected alternatives:
``sys.monitoring`` needs 3.12, calls back for every function that is resumed, and its tool ids are
for debuggers and profilers; asyncio's tasks in Python are slower and, from 3.12 on, unknown to the
``current_task`` written in C.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol

from spanloom.events.clock import monotonic_ns
from spanloom.events.event import Event, JobEvent, detail_of

__all__ = ["BusyMeter"]

_logger = logging.getLogger("spanloom.concurrency")
_lock = threading.Lock()
_attached: list[ContextVar[Event | None]] = []
"""One entry per batch."""
_credited: tuple[ContextVar[Event | None], ...] = ()
"""The same, each variable once: a step counts once, however many concurrent batches share a manager."""
_clocks: dict[asyncio.AbstractEventLoop | None, _Clock] = {}
"""By loop; under ``None`` the clock of all of asyncio's own loops."""
_SEAM: Final = "_run"  # not public, but the only place, and the same from Python 3.4 to 3.14
_SCHEDULERS: Final = {
    "call_soon": 0,
    "call_soon_threadsafe": 0,
    "call_later": 1,
    "call_at": 1,
    "add_reader": 1,
    "add_writer": 1,
}
"""The methods of a loop that take a callback, and the place of the callback among their arguments."""
_warned = False


class _Step(threading.local):
    mark_ns = 0


_step = _Step()
"""When the step that this thread is running began, or its current job in it."""


class BusyMeter:
    """Adds up the busy time of the jobs of one manager while it is attached."""

    def __init__(self, current: ContextVar[Event | None], key: asyncio.AbstractEventLoop | None) -> None:
        self._current = current
        self._key = key

    @classmethod
    def attach(cls, current: ContextVar[Event | None], loop: asyncio.AbstractEventLoop) -> BusyMeter | None:
        """Start measuring; return ``None`` if this loop cannot be measured.

        Args:
            current: Holds the current event of a context.
            loop: The running event loop.
        """
        global _credited  # noqa: PLW0603 -- replaced as a whole: steps of other threads read it without the lock
        key = None if isinstance(loop, asyncio.BaseEventLoop) else loop
        with _lock:
            clock = _clocks.get(key)
            if clock is None:
                clock = _HandleClock() if key is None else _LoopClock(key)
                try:
                    clock.install()
                except (AttributeError, TypeError):
                    _warn(loop)
                    return None
                _clocks[key] = clock
            clock.users += 1
            _attached.append(current)
            _credited = tuple(dict.fromkeys(_attached))
        _step.mark_ns = monotonic_ns()
        return cls(current, key)

    def detach(self) -> None:
        """Stop measuring."""
        global _credited  # noqa: PLW0603 -- see attach
        with _lock:
            _attached.remove(self._current)
            _credited = tuple(dict.fromkeys(_attached))
            clock = _clocks[self._key]
            clock.users -= 1
            if not clock.users:
                del _clocks[self._key]
                clock.remove()

    def begin(self, record: JobEvent) -> None:
        """Count for `record` from its start on, without what this step did before."""
        _step.mark_ns = record.start_ns

    def split(self, record: JobEvent) -> None:
        """Credit `record` with the time since the step or the last split began; what follows is for the next job."""
        now = monotonic_ns()
        _credit(record, now - _step.mark_ns)
        _step.mark_ns = now


class _Clock(Protocol):
    """Times the callbacks of a loop from `install` to `remove`; `users` is the number of batches."""

    users: int

    def install(self) -> None: ...

    def remove(self) -> None: ...


class _HandleClock:
    """The clock of all of asyncio's own loops."""

    def __init__(self) -> None:
        self.users = 0
        self._original: Callable[[Any], None] = getattr(asyncio.Handle, _SEAM)
        self._mine = _timed(self._original, self)

    def install(self) -> None:
        setattr(asyncio.Handle, _SEAM, self._mine)

    def remove(self) -> None:
        if (
            getattr(asyncio.Handle, _SEAM) is self._mine
        ):  # else it has been wrapped by other code, and stays inside that wrapper
            setattr(asyncio.Handle, _SEAM, self._original)


class _LoopClock:
    """The clock of one loop with handles of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        self._loop = loop
        self._before: dict[str, object] = {}
        self._mine: dict[str, object] = {}

    def install(self) -> None:
        loop = self._loop
        self._before = {name: vars(loop)[name] for name in _SCHEDULERS if name in vars(loop)}
        self._mine = {name: _scheduling(getattr(loop, name), place) for name, place in _SCHEDULERS.items()}
        for name, schedule in self._mine.items():
            setattr(loop, name, schedule)

    def remove(self) -> None:
        for name, schedule in self._mine.items():
            if vars(self._loop).get(name) is not schedule:
                continue  # wrapped by other code: it stays, and what it times is credited to no job
            if name in self._before:
                setattr(self._loop, name, self._before[name])
            else:
                delattr(self._loop, name)


def _scheduling(original: Callable[..., object], place: int) -> Callable[..., object]:
    """Return a method of the loop that times the callback among its arguments."""

    def schedule(*args: Any, **kwargs: Any) -> object:
        callback = args[place] if len(args) > place else None
        # A callback that cannot be called is for the loop to refuse. One that is timed already comes from
        # another of these methods, which the loop implements by calling this one.
        if callback is not _call and callable(callback):
            args = (*args[:place], _call, *args[place:])
        return original(*args, **kwargs)

    return schedule


def _call(callback: Callable[..., object], *args: object) -> None:
    """Run the callback in the context that the loop has entered, and credit the job of that context."""
    _step.mark_ns = monotonic_ns()
    try:
        callback(*args)
    finally:
        busy_ns = monotonic_ns() - _step.mark_ns
        for current in _credited:
            _credit_open(current.get(), busy_ns)


def _timed(original: Callable[[Any], None], clock: _Clock) -> Callable[[Any], None]:
    def _run(self: Any) -> None:
        if not clock.users:  # left inside another wrapper: a newer clock may be around that
            original(self)
            return
        _step.mark_ns = monotonic_ns()
        original(self)
        context = self._context
        if context is None:
            return
        busy_ns = monotonic_ns() - _step.mark_ns
        for current in _credited:
            _credit_open(context.get(current), busy_ns)

    return _run


def _credit_open(event: Event | None, busy_ns: int) -> None:
    job = None if event is None else event.job
    if job is not None and job.end_ns is None:
        _credit(job, busy_ns)


def _credit(record: JobEvent, busy_ns: int) -> None:
    detail = detail_of(record)
    detail.busy_ns = busy_ns + (detail.busy_ns or 0)


def _warn(loop: asyncio.AbstractEventLoop) -> None:
    global _warned  # noqa: PLW0603 -- once per process, not for every batch
    if not _warned:
        _warned = True
        _logger.warning(
            "deep timing cannot put its clock on %s; busy times are not measured there",
            type(loop).__qualname__,
        )
