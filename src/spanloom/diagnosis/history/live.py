"""The tasks that there are, and where they stand, from any thread: looked at one by one and not kept.

Two things must not happen. A task must not live longer because it is looked at: only one is held at a time, for some
microseconds. And it must not die in the thread that looks, for with it end the ``finally`` blocks of its coroutine,
and they belong to the thread of its loop: who finds that it holds the last reference gives it back to the loop to
drop.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final, TypeGuard

from spanloom.diagnosis.landmarks import SLEEP

__all__ = [
    "Ref",
    "code_of",
    "frames_of",
    "inner_of",
    "is_timer",
    "label_of",
    "line_of",
    "refs",
    "wakes_at",
    "with_task",
]

Ref = weakref.ref[asyncio.Task[Any]]

MAX_DEPTH: Final = 200
"""Frames of an await chain that are followed."""
_SUSPENDED: Final = frozenset({AsyncGeneratorType, CoroutineType, GeneratorType})
_ALONE: Final = 3
"""References that `sys.getrefcount` sees when nobody else has one.

The caller's, ours and its own argument.
"""


def refs() -> list[Ref]:
    """Return weak references to the tasks of all loops.

    Ended ones that still live included where asyncio keeps them.
    """
    found: list[Ref] = []
    for name in ("_all_tasks", "_scheduled_tasks"):
        known = getattr(asyncio.tasks, name, None)
        data = getattr(known, "data", None)
        if isinstance(data, set):
            found += data.copy()  # one step for the interpreter
    eager = getattr(asyncio.tasks, "_eager_tasks", None)
    if eager:
        found += [weakref.ref(task) for task in tuple(eager)]
    return found


def with_task(ref: Ref, look: Callable[[asyncio.Task[Any]], None]) -> bool:
    """Call `look` with a task, if it still lives; see the module for what is taken care of.

    Returns:
        Whether it still lives.
    """
    task = ref()
    if task is None:
        return False
    try:
        look(task)
    finally:
        if sys.getrefcount(task) < _ALONE:
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_drop, task)
        del task
    return True


def _drop(_: object) -> None:
    """Let go of what the loop's thread is to finalise."""


def inner_of(awaitable: object) -> object:
    """Return what a suspended coroutine, generator or async generator awaits; ``None`` if it does not."""
    kind = type(awaitable)
    if kind is CoroutineType:
        return getattr(awaitable, "cr_await", None)
    if kind is GeneratorType:
        return getattr(awaitable, "gi_yieldfrom", None)
    if kind is AsyncGeneratorType:
        return getattr(awaitable, "ag_await", None)
    name = kind.__name__
    if name in {"async_generator_asend", "async_generator_athrow", "coroutine_wrapper", "anext_awaitable"}:
        for referent in gc.get_referents(awaitable):
            if type(referent) in _SUSPENDED or type(referent).__name__ == "async_generator_asend":
                return referent
    return None


def frame_of(awaitable: object) -> FrameType | None:
    """Return the frame of a suspended coroutine, generator or async generator."""
    for attribute in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(awaitable, attribute, None)
        if isinstance(frame, FrameType):
            return frame
    return None


def frames_of(coroutine: object) -> Iterator[tuple[object, FrameType]]:
    """Yield the await chain of a task from the outside in: what is suspended, and its frame."""
    awaitable: object = coroutine
    for _ in range(MAX_DEPTH):
        if awaitable is None:
            return
        if type(awaitable) in _SUSPENDED:
            frame = frame_of(awaitable)
            if frame is None:
                return
            yield awaitable, frame
        awaitable = inner_of(awaitable)


def code_of(coroutine: object) -> CodeType | None:
    """Return the code of a coroutine; ``None`` for one that is not Python's own."""
    for attribute in ("cr_code", "gi_code", "ag_code"):
        code = getattr(coroutine, attribute, None)
        if isinstance(code, CodeType):
            return code
    return None


def wakes_at(task: asyncio.Task[Any]) -> float | None:
    """Return when a task that sleeps will wake, on the clock of its loop; ``None`` if it does not sleep."""
    last: object = None
    for suspended, _ in frames_of(task.get_coro()):
        last = suspended
    if code_of(last) is SLEEP:
        for referent in gc.get_referents(last):
            if is_timer(referent):
                return float(referent.when())
    return None


def is_timer(value: object) -> TypeGuard[asyncio.TimerHandle]:
    """Tell whether `value` is a timer of a loop, uvloop's included."""
    kind = type(value)
    return kind is asyncio.TimerHandle or (
        kind.__name__ == "TimerHandle" and kind.__module__.startswith("uvloop")
    )


def line_of(code: CodeType, lasti: int) -> int:
    """Return the line of an instruction."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end:
            return number or line
    return line


def label_of(task: asyncio.Task[Any], function: str) -> str:
    """Return what the author of a program would call a task.

    Its name, or its function if it was given none.
    """
    name = task.get_name()
    if name.startswith("Task-") and name[5:].isdecimal():
        return function
    return name
