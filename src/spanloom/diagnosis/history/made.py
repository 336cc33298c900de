"""Noticing every task that is made, in the stack of the code that makes it; loop and task are not changed.

Up to CPython 3.13 asyncio adds each new task to a weak set of its own, in C, by calling the set's ``add``.
A function of that name in the instance's dictionary sees every task of every loop, also uvloop's.

From 3.14 on there is no such set. There `sys.monitoring` reports calls of ``create_task``, and nothing else: the
events are local to that one code object. A compiled loop, as uvloop's, shows no such call, so where there is
one, the functions that call it are monitored.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import tasks
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from spanloom.diagnosis.fields import field

__all__ = ["EnteredInSet", "Monitored", "Note"]

Note = Callable[[Any, FrameType], None]
"""Called with the coroutine of a new task, and the innermost frame of the code that makes it."""

_TOOL: Final = 3
"""Our tool id in `sys.monitoring`: 0 to 2 and 5 are reserved, and 4 is used by `probe`."""
_LOOPS: Final = BaseEventLoop.create_task.__code__
_CALLERS: Final = (
    tasks.create_task.__code__,
    asyncio.TaskGroup.create_task.__code__,
    tasks.ensure_future.__code__,
)


class EnteredInSet:
    """Notices new tasks by the set of all tasks.

    Args:
        note: What is called.
    """

    def __init__(self, note: Note) -> None:
        self._note = note
        self._set: weakref.WeakSet[Any] | None = None

    def listen(self) -> None:
        """Hear from now on."""
        if self._set is None:
            for name in ("_scheduled_tasks", "_all_tasks"):
                known = getattr(tasks, name, None)
                if type(known) is weakref.WeakSet:
                    self._set = known
                    break
        if self._set is None or "add" in vars(self._set):
            return
        original, note = self._set.add, self._note

        def add(task: Any) -> None:
            original(task)
            note(field(task, "_coro"), sys._getframe(1))  # noqa: SLF001 -- the documented way to the caller's frame

        vars(self._set)["add"] = add

    def stop(self) -> None:
        """Hear nothing any more."""
        if self._set is not None:
            vars(self._set).pop("add", None)


class Monitored:
    """Notices new tasks by `sys.monitoring`, unless the tool id is taken.

    Args:
        note: What is called.
    """

    def __init__(self, note: Note) -> None:
        self._note = note
        self._heard: list[CodeType] = []

    def listen(self) -> None:
        """Hear from now on."""
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined] # not in the stubs of 3.11
        wanted = [_LOOPS, *_CALLERS] if "uvloop" in sys.modules else [_LOOPS]
        if self._heard == wanted:
            return
        if not self._heard:
            if monitoring.get_tool(_TOOL) is not None:
                return
            monitoring.use_tool_id(_TOOL, "spanloom")
            monitoring.register_callback(_TOOL, monitoring.events.PY_START, self._called)
        for code in wanted:
            monitoring.set_local_events(_TOOL, code, monitoring.events.PY_START)
        self._heard = wanted

    def stop(self) -> None:
        """Hear nothing any more."""
        if self._heard:
            monitoring: Any = sys.monitoring  # type: ignore[attr-defined] # as above
            heard, self._heard = self._heard, []
            for code in heard:
                monitoring.set_local_events(_TOOL, code, 0)
            monitoring.register_callback(_TOOL, monitoring.events.PY_START, None)
            monitoring.free_tool_id(_TOOL)

    def _called(self, code: CodeType, _: int) -> None:
        # A loop of asyncio's shows the call of its own method, too.
        running = asyncio._get_running_loop()  # noqa: SLF001 -- get_running_loop() raises where there is none
        if code is _LOOPS or not isinstance(running, BaseEventLoop):
            frame = sys._getframe(1)  # noqa: SLF001 -- as above
            self._note(frame.f_locals.get(code.co_varnames[1 if code.co_varnames[0] == "self" else 0]), frame)
