"""Who knows an object: a few steps along references, through what a program builds its state of.

Not through modules, classes and the globals of functions: by those everything knows everything.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any, Final

from spanloom.diagnosis.fields import is_a, is_future, is_task
from spanloom.diagnosis.watch.frames import body

__all__ = ["await_chain", "knows", "knows_task"]

MAX_OBJECTS: Final = 3_000
DEPTH: Final = 4
_LEAVES: Final = (str, bytes, int, float, bool, complex, type(None), ModuleType, type, bytearray, memoryview)


def knows(start: object, what: object, depth: int = DEPTH) -> bool:
    """Tell whether `what` can be reached from `start` in at most `depth` steps."""
    todo: deque[tuple[object, int]] = deque([(start, 0)])
    seen: set[int] = set()
    while todo and len(seen) < MAX_OBJECTS:
        value, steps = todo.popleft()
        if value is what:
            return True
        if id(value) in seen or is_a(value, _LEAVES):
            continue
        seen.add(id(value))
        if steps < depth:
            todo += [(part, steps + 1) for part in _parts(value)]
    return False


def _parts(value: object) -> list[object]:
    if type(value) is FunctionType:
        parts: list[object] = list(value.__closure__ or ())
        names = value.__code__.co_names
        space = value.__globals__
        return parts + [space[name] for name in names if name in space]
    if is_future(value) and not is_task(value):
        return []  # its callbacks lead to whoever waits for it, who can do nothing about that
    if is_a(value, asyncio.AbstractEventLoop):
        return []
    return gc.get_referents(value)


def knows_task(task: asyncio.Task[Any], what: object) -> bool:
    """Tell whether a task knows `what`: by a variable, or by something that a variable holds."""
    for coroutine in await_chain(task):
        code, frame = body(coroutine)
        if code is not None and frame is not None:
            space = frame.f_globals
            if any(space.get(name) is what for name in code.co_names):
                return True
        if any(knows(part, what, DEPTH - 1) for part in gc.get_referents(coroutine)):
            return True
    return False


def await_chain(task: asyncio.Task[Any]) -> list[object]:
    """Return the coroutines and generators that a task is suspended in, the outermost first."""
    found: list[object] = []
    current: object = task.get_coro()
    while current is not None and len(found) < 500:
        found.append(current)
        if isinstance(current, CoroutineType):
            current = current.cr_await
        elif isinstance(current, GeneratorType):
            current = current.gi_yieldfrom
        elif isinstance(current, AsyncGeneratorType):
            current = current.ag_await
        else:
            # What stands between: the wrapper of `__await__`, or an async generator's `asend`.
            inner = [
                part
                for part in gc.get_referents(current)
                if type(part) in (CoroutineType, GeneratorType, AsyncGeneratorType)
            ]
            found.pop()
            current = inner[0] if len(inner) == 1 else None
    return found
