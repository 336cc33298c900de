"""Whether one object can reach another: a few steps along references.

Not through modules, classes and the globals of functions, by which everything reaches everything.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from types import FunctionType, ModuleType
from typing import Any, Final

from spanloom.diagnosis.chain import link_of, links_of
from spanloom.diagnosis.fields import is_a, is_future, is_task

__all__ = ["await_chain", "knows", "knows_task"]

MAX_OBJECTS: Final = 3_000
DEPTH: Final = 6
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
        return []  # its callbacks lead to its waiters, which cannot use it
    if is_a(value, asyncio.AbstractEventLoop):
        return []
    return gc.get_referents(value)


def knows_task(task: asyncio.Task[Any], what: object) -> bool:
    """Tell whether a task can reach `what` from its variables."""
    for coroutine in await_chain(task):
        link = link_of(coroutine)
        if link is not None:
            space = link.frame.f_globals
            if any(space.get(name) is what for name in link.code.co_names):
                return True
        if any(knows(part, what, DEPTH - 1) for part in gc.get_referents(coroutine)):
            return True
    return False


def await_chain(task: asyncio.Task[Any]) -> list[object]:
    """Return the coroutines and generators of a task's await chain, outermost first."""
    # Not the frames: a reference to one keeps its variables alive for longer than its coroutine does.
    return [link.owner for link in links_of(task)]
