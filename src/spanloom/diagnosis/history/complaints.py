"""What asyncio reports to a loop's exception handler: unretrieved exceptions, and pending tasks that were collected.

It does so once, when the task is finalised, through the loop's ``call_exception_handler``. That is
overridden where it is looked up; the program's own exception handler, or the default one, then gets it unchanged.
Nothing of the context is kept: no task, no exception, no frame, only the description of a `Lost`.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from asyncio.base_events import BaseEventLoop
from collections import deque
from collections.abc import Callable
from functools import lru_cache, update_wrapper
from types import CodeType, FunctionType, MethodType, TracebackType
from typing import Any, Final, cast

import msgspec

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.chain import code_of, links_of
from spanloom.diagnosis.fields import attributes, field, future_done, is_a, task_name
from spanloom.diagnosis.history.live import line_of
from spanloom.diagnosis.origin import is_own

__all__ = ["Complaints", "Lost", "lost_with"]

MAX_KEPT: Final = 500
MAX_CODES: Final = 20
"""Functions of one exception's traceback that are kept, at most."""
MAX_TEXT: Final = 120
"""Characters of an exception's message that are kept, at most."""
_CANCELLED: Final = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)

Handler = Callable[[BaseEventLoop, dict[str, Any]], None]


class Lost(msgspec.Struct, frozen=True):
    """A task that no longer exists, and whose exception nobody has retrieved, or which was collected while pending.

    Attributes:
        name: Name of the task.
        function: Qualified name of its function.
        code: Code of that function.
        error: Name of the type of the exception; ``None`` if it was pending, and collected.
        message: The exception's message, if it is plain text.
        location: Where it was raised, or where the collected task waited: ``file:line``, in the program's own code.
        inside: Name of the function at `location`.
        codes: Code of the program's own functions in the traceback.
        at: When, by `time.monotonic`.
    """

    name: str
    function: str
    code: CodeType | None
    error: str | None
    message: str | None
    location: str | None
    inside: str
    codes: tuple[CodeType, ...]
    at: float


class Complaints:
    """Notes what is reported to loops about lost tasks, between `listen` and `stop`.

    Attributes:
        lost: The last ones, oldest first.
        count: How many there were.
    """

    def __init__(self) -> None:
        self.lost: deque[Lost] = deque(maxlen=MAX_KEPT)
        self.count: int = 0
        self._original: Handler | None = None
        self._listener: Handler | None = None

    def listen(self) -> None:
        """Begin to note reports to asyncio's own loops, also to those that are made later."""
        if self._listener is not None:
            return
        original = cast("Handler", vars(BaseEventLoop)["call_exception_handler"])

        def call_exception_handler(loop: BaseEventLoop, context: dict[str, Any]) -> None:
            self._hear(loop, context)
            original(loop, context)

        update_wrapper(call_exception_handler, original)
        self._original, self._listener = original, call_exception_handler
        BaseEventLoop.call_exception_handler = call_exception_handler  # type: ignore[method-assign, assignment] # until `stop`

    def listen_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to note reports to a loop that is not asyncio's own, such as uvloop's."""
        own = attributes(loop)
        if is_a(loop, BaseEventLoop) or type(own) is not dict or "call_exception_handler" in own:
            return
        original = type(loop).call_exception_handler
        of = weakref.ref(loop)  # else the function in the loop's own dictionary would make a reference cycle

        def call_exception_handler(context: dict[str, Any]) -> None:
            there = of()
            if there is not None:
                self._hear(there, context)
                original(there, context)

        own["call_exception_handler"] = call_exception_handler

    def stop(self) -> None:
        """Stop noting reports."""
        if self._listener is not None and vars(BaseEventLoop)["call_exception_handler"] is self._listener:
            BaseEventLoop.call_exception_handler = self._original  # type: ignore[method-assign, assignment] # as before
            self._listener = None

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Called from finalisers, in any thread and at any point: it takes no lock, and must not raise.
        try:
            found = _lost(loop, context)
        except Exception:  # noqa: BLE001 -- the program's own handler must get its call, whatever was in the context
            return
        if found is not None:
            self.add(found)

    def add(self, lost: Lost) -> None:
        """Add one that was found in another way."""
        self.lost.append(lost)
        self.count += 1


def _lost(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> Lost | None:
    task = context.get("task")
    future = task if task is not None else context.get("future")
    error = context.get("exception")
    if not isinstance(future, asyncio.Future) or loop.is_closed() or not loop.is_running():
        return None
    if error is not None and (isinstance(error, _CANCELLED) or _reaches_somebody(loop)):
        return None
    if error is not None:
        return lost_with(error, future)
    if not isinstance(task, asyncio.Task) or future_done(task):
        return None
    name, function, code = _told_of(task)
    location, inside = None, function
    for _, at, frame in links_of(task):
        if location is None or is_own(at.co_filename):
            location = f"{at.co_filename}:{line_of(at, frame.f_lasti)}"
            inside = bare_name(at.co_qualname)
    return Lost(name, bare_name(function), code, None, None, location, inside, (), time.monotonic())


def lost_with(error: BaseException, future: asyncio.Future[Any]) -> Lost:
    """Return the description of the lost exception of a future, which may be a task."""
    name, function, code = _told_of(future) if isinstance(future, asyncio.Task) else ("", "", None)
    kind, message, location, inside = describe_error(error)
    return Lost(
        name,
        bare_name(function or inside),
        code,
        kind,
        message,
        location,
        inside,
        _own_codes(error),
        time.monotonic(),
    )


def _told_of(task: asyncio.Task[Any]) -> tuple[str, str, CodeType | None]:
    """Return the name of a task, and the qualified name and the code of its function."""
    coroutine = field(task, "_coro")
    return task_name(task), field(coroutine, "__qualname__", ""), code_of(coroutine)


def _own_codes(error: BaseException) -> tuple[CodeType, ...]:
    """Return the code of the program's own functions in the traceback of an exception, each once."""
    found: dict[CodeType, None] = {}
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_own(code.co_filename) and len(found) < MAX_CODES:
            found[code] = None
        traceback = traceback.tb_next
    return tuple(found)


def describe_error(error: BaseException) -> tuple[str, str | None, str | None, str]:
    """Return the type of an exception, its message, where it was raised and in which function.

    No code of the exception's class is run. The place is the innermost one of the program's own; that of a library
    only if there is none.
    """
    where: tuple[CodeType, int] | None = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if where is None or is_own(code.co_filename) or not is_own(where[0].co_filename):
            where = code, traceback.tb_lineno
        traceback = traceback.tb_next
    arguments = BaseException.args.__get__(error)  # type: ignore[attr-defined] # a subclass may have an `args` of its own
    message = arguments[0][:MAX_TEXT] if len(arguments) == 1 and type(arguments[0]) is str else None
    kind = type(error).__name__
    if where is None:
        return kind, message, None, ""
    return kind, message, f"{where[0].co_filename}:{where[1]}", bare_name(where[0].co_qualname)


def _reaches_somebody(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether the program has an exception handler that reads its context argument."""
    handler: Any = loop.get_exception_handler()
    if handler is None:
        return False
    if isinstance(handler, MethodType):
        handler = handler.__func__
        return not isinstance(handler, FunctionType) or _reads(handler.__code__, 2)
    return not isinstance(handler, FunctionType) or _reads(handler.__code__, 1)


@lru_cache(maxsize=100)
def _reads(code: CodeType, position: int) -> bool:
    """Tell whether a function reads the positional argument number `position`."""
    import dis  # late: most programs lose no task

    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 12)]
    if position >= code.co_argcount:  # it is in *args, if there is one
        wanted = set(names[code.co_argcount + code.co_kwonlyargcount :])
    else:
        wanted = {names[position]}
    return any(
        instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE", "MAKE_CELL"))
        and not wanted.isdisjoint(
            instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
        )
        for instruction in dis.get_instructions(code)
    )
