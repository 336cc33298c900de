"""asyncio's own registries of loops and tasks, for all threads: the one place that knows them in each version.

Up to CPython 3.13, a weak set has all tasks, ended ones included, and a dictionary the current task of each loop. From
3.14 on both are in C, one for each thread. ``all_tasks`` and ``current_task`` then answer from any thread (they stop
the others meanwhile), but only about a given loop, and not about ended tasks. So the loops are those found in the
frames of threads, and those *met* before. A look, which needs every task, asks the garbage collector for the referrers
of the task classes: one pass over the heap with the GIL held, some 20 ms for a million objects.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from asyncio import tasks
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

from spanloom.diagnosis.fields import TASKS, field, is_task

__all__ = ["LOOPS_ARE_HIDDEN", "current_tasks", "every_task", "known_loops", "live_refs", "meet"]

LOOPS_ARE_HIDDEN: Final = sys.version_info >= (3, 14)
"""Whether asyncio lists the tasks of a loop only for whoever has the loop."""
_REGISTRIES: Final = ("_all_tasks", "_scheduled_tasks")
_AGAIN: Final = 10
_met: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def every_task() -> list[Any]:
    """Return all tasks that still exist, ended ones included; safe from any thread, of any loop."""
    found: dict[int, Any] = {}
    for name in _REGISTRIES:
        registry = getattr(tasks, name, None)
        for reference in list(field(registry, "data", ())):  # a copy in C: no thread can interfere
            task = reference()
            if task is not None and is_task(task):
                found[id(task)] = task
    for task in list(getattr(tasks, "_eager_tasks", ())):
        found[id(task)] = task
    if LOOPS_ARE_HIDDEN:
        for value in gc.get_referrers(*_kinds()):
            if is_task(value) and field(value, "_loop") is not None:
                found[id(value)] = value
    return list(found.values())


def _kinds() -> list[type]:
    """Return the classes of tasks with all their subclasses: an instance refers to its own class only."""
    found: list[type] = list(TASKS)
    for kind in found:  # which grows meanwhile
        found += set(type.__subclasses__(kind)).difference(found)
    return found


def meet(loops: Iterable[Any]) -> None:
    """Remember loops, for as long as they live."""
    for loop in loops:
        _met.add(loop)


def known_loops() -> list[Any]:
    """Return the loops that were met and are not closed."""
    return [loop for loop in list(_met) if not loop.is_closed()]


def live_refs() -> set[weakref.ref[asyncio.Task[Any]]]:
    """Return weak references to the tasks of all loops, up to 3.13 with ended ones that still exist.

    From Python 3.14 on, only to the tasks of the loops that were met that have not ended.
    """
    found: set[weakref.ref[asyncio.Task[Any]]] = set()
    if LOOPS_ARE_HIDDEN:
        # All in C: the list of tasks is gone before another thread runs. Else this thread might hold the last reference
        # to a task, and free it.
        found.update(map(weakref.ref, chain.from_iterable(map(tasks.all_tasks, known_loops()))))
    for name in _REGISTRIES:  # from 3.14 on those of tasks that are written in Python
        known = getattr(tasks, name, None)
        data = getattr(known, "data", None)
        if isinstance(data, set):
            found |= data  # the same
    eager = getattr(tasks, "_eager_tasks", None)
    if eager:
        found |= {weakref.ref(task) for task in tuple(eager)}
    return found


def current_tasks(loops: Iterable[Any] = ()) -> dict[int, tuple[Any, Any]]:
    """Return ``(loop, task)`` for each loop that runs a task at this moment, in any thread, by the loop's identity.

    Args:
        loops: Loops to ask, from Python 3.14 on, besides those that were met.
    """
    table: dict[Any, Any] = getattr(tasks, "_current_tasks", {})
    pairs: list[tuple[Any, Any]] = []
    for _ in range(_AGAIN):
        try:
            pairs = list(table.items())
            break
        except RuntimeError:  # changed under the look
            continue
    if LOOPS_ARE_HIDDEN:
        both = {id(loop): loop for loop in (*loops, *known_loops())}
        pairs += [(loop, tasks.current_task(loop)) for loop in both.values()]
    return {id(loop): (loop, task) for loop, task in pairs if task is not None}
