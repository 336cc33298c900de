"""What a loop runs or is about to run: tasks, and callbacks of the program without a task.

asyncio's loops have a list of ready handles. uvloop's hide theirs, but `gc.get_referents` of the loop returns that
list, and of each handle what it calls.
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
    """A call of a function of the program that a loop makes without a task.

    Attributes:
        function: The function.
        owner: The object whose method it is; ``None`` if it is none.
        arguments: What it is called with.
    """

    function: FunctionType
    owner: object
    arguments: tuple[object, ...]

    @property
    def code(self) -> CodeType:
        """The function's code."""
        return self.function.__code__


AtWork = dict[tuple[int, int], tuple[asyncio.Task[Any] | BareCall, Any]]
"""Tasks and bare calls with the handles that run them. The key of a bare call: the identities of its code and owner."""


def at_work(loop: asyncio.AbstractEventLoop, thread: int) -> AtWork:
    """Return the tasks and calls that run or are ready in `loop`, each with its handle.

    Args:
        loop: The loop.
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
    """Return the timers that are due, and so run in the loop's next turn, as those of ``call_later(0, ...)``."""
    if type(loop).time is not BaseEventLoop.time:
        return []
    first = list(field(loop, "_scheduled", ()))[:MOST_DUE]  # a heap
    return [timer for timer in first if field(timer, "_when", math.inf) <= time.monotonic()]


def _is_handle(value: object) -> bool:
    return type(value).__name__ in {"Handle", "TimerHandle"}


def _behind(handle: Any) -> Iterator[asyncio.Task[Any] | BareCall]:
    """Yield what a handle will run: a task, the tasks that it wakes next by ``wait`` or a timeout, or a bare call."""
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
    elif is_foreign(inner.__code__):  # as the callback that `asyncio.wait` adds to futures and timers
        inside = [value for cell in inner.__closure__ or () for value in gc.get_referents(cell)]
        for future in (*inside, *arguments):
            if is_future(future):
                yield from _woken_by(future)
    elif is_own(inner.__code__):
        yield BareCall(inner, owner, arguments)


def _called(handle: Any) -> tuple[Any, tuple[object, ...]]:
    """Return the callback of a handle, and its arguments."""
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
