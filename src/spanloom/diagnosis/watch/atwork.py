"""What a loop is about to run: tasks, and callbacks of the program that no task is behind.

The loops of asyncio say so by their list of ready handles. One of another make, as uvloop's, hides it; but the garbage
collector must know what such a loop refers to, and so tells of its list, and of each handle in that what it calls.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import sys
import time
from asyncio.base_events import BaseEventLoop
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple, final

from spanloom.diagnosis.fields import callbacks_of, field, is_a, is_future, is_task
from spanloom.diagnosis.watch.frames import is_foreign, is_own
from spanloom.diagnosis.watch.loops import RUN_ONCE

__all__ = ["AtWork", "BareCall", "at_work", "woken_by"]

MOST_READY: Final = 200
MOST_DUE: Final = 50


@final
class BareCall(NamedTuple):
    """A call that a loop makes by itself, of a function of the program.

    Attributes:
        function: The function.
        owner: What it is a method of; ``None`` if it is none.
        arguments: What it is called with.
    """

    function: FunctionType
    owner: object
    arguments: tuple[object, ...]

    @property
    def code(self) -> CodeType:
        """Of the function."""
        return self.function.__code__


AtWork = dict[tuple[int, int], tuple[asyncio.Task[Any] | BareCall, Any]]
"""By identity, that of the function's code and of its owner for a bare call: who, and the handle by which it is run."""


def at_work(loop: asyncio.AbstractEventLoop, thread: int) -> AtWork:
    """Return who runs or is ready in `loop`, and the handles by which the loop runs them.

    Args:
        loop: It.
        thread: The id of its thread.
    """
    found: AtWork = {}
    for handle in [*_running(loop, thread), *_ready(loop)]:
        for who in _behind(handle):
            key = (id(who.code), id(who.owner)) if type(who) is BareCall else (id(who), 0)
            found.setdefault(key, (who, handle))
    return found


def _running(loop: asyncio.AbstractEventLoop, thread: int) -> list[Any]:
    frame = sys._current_frames().get(thread) if is_a(loop, BaseEventLoop) else None  # noqa: SLF001 -- there is no other way
    while frame is not None:
        if frame.f_code is RUN_ONCE:
            handle = frame.f_locals.get("handle")
            return [handle] if is_a(handle, asyncio.Handle) else []
        frame = frame.f_back
    return []


def _ready(loop: asyncio.AbstractEventLoop) -> list[Any]:
    if is_a(loop, BaseEventLoop):
        return [*list(field(loop, "_ready", ()))[:MOST_READY], *_due(loop)]
    queues = [value for value in gc.get_referents(loop) if type(value) is deque]
    try:
        return [one for queue in queues for one in islice(queue, MOST_READY) if _is_handle(one)]
    except RuntimeError:  # it has changed meanwhile
        return []


def _due(loop: BaseEventLoop) -> list[Any]:
    """Return timers that the loop will run in its next turn, as of `call_later` with no delay; of others it waits."""
    if type(loop).time is not BaseEventLoop.time:
        return []
    first = list(field(loop, "_scheduled", ()))[:MOST_DUE]  # a heap
    return [timer for timer in first if field(timer, "_when", math.inf) <= time.monotonic()]


def _is_handle(value: object) -> bool:
    return type(value).__name__ in {"Handle", "TimerHandle"}


def _behind(handle: Any) -> Iterator[asyncio.Task[Any] | BareCall]:
    """Yield whom a handle will run: a task, those that `asyncio.wait` wakes next, or a call of the program's."""
    return _behind_call(*_called(handle))


def woken_by(task: asyncio.Task[Any]) -> Iterator[asyncio.Task[Any]]:
    """Yield the tasks that wait for the end of a task: by ``await``, ``wait_for`` or ``wait``."""
    for callback in callbacks_of(task):
        yield from (who for who in _behind_call(callback, ()) if type(who) is not BareCall)


def _behind_call(function: Any, arguments: tuple[object, ...]) -> Iterator[asyncio.Task[Any] | BareCall]:
    while type(function) is functools.partial:
        arguments = (*function.args, *function.keywords.values(), *arguments)
        function = function.func
    owner = field(function, "__self__")
    if is_task(owner):
        yield owner
        return
    inner = function.__func__ if type(function) is MethodType else function
    if type(inner) is not FunctionType:
        return
    if is_a(owner, asyncio.Timeout):  # it is about to cancel its task
        task = field(owner, "_task")
        if is_task(task):
            yield task
    elif is_foreign(inner.__code__):  # as what `asyncio.wait` has hung on a future, or on a timer
        inside = [value for cell in inner.__closure__ or () for value in gc.get_referents(cell)]
        for future in (*inside, *arguments):
            if is_future(future):
                yield from _woken_by(future)
    elif is_own(inner.__code__):
        yield BareCall(inner, owner, arguments)


def _called(handle: Any) -> tuple[Any, tuple[object, ...]]:
    """Return what a handle calls, and with what."""
    if is_a(handle, asyncio.Handle):
        return field(handle, "_callback"), field(handle, "_args") or ()
    function: Any = None
    arguments: tuple[object, ...] = ()
    for referent in gc.get_referents(handle):
        if type(referent) is tuple:
            arguments = referent
        elif function is None and callable(referent):
            function = referent
    return function, arguments


def _woken_by(future: asyncio.Future[Any]) -> Iterator[asyncio.Task[Any]]:
    for callback in callbacks_of(future):
        owner = field(callback, "__self__")
        if is_task(owner):
            yield owner
