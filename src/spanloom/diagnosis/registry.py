"""What asyncio keeps of its loops and tasks, of any thread: the one place that knows how, for each version.

Up to CPython 3.13 all tasks are in a weak set of asyncio's, ended ones included, and the task that a loop is at in a
dictionary. From 3.14 on both are in C, for each thread. There ``all_tasks`` and ``current_task`` answer from any thread
(they stop the others meanwhile), but only about a loop that one has, and about no task that has ended. So the loops are
those that the frames of threads show, and those that were met before. Who has to know of every task, as a look has,
asks the garbage collector who refers to the classes of tasks: one pass over all there is, with the interpreter in
hands, of some 20 ms for a million objects.
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
"""Whether asyncio tells of the tasks of a loop only to who has the loop."""
_REGISTRIES: Final = ("_all_tasks", "_scheduled_tasks")
_AGAIN: Final = 10
_met: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def every_task() -> list[Any]:
    """Return all tasks that still exist, ended ones included; safe from any thread, of any loop."""
    found: dict[int, Any] = {}
    for name in _REGISTRIES:
        registry = getattr(tasks, name, None)
        for reference in list(field(registry, "data", ())):  # one step for the interpreter
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
    """Return the classes of tasks, with all that are derived from them: an instance refers to its own class."""
    found: list[type] = list(TASKS)
    for kind in found:  # it grows meanwhile
        found += set(type.__subclasses__(kind)).difference(found)
    return found


def meet(loops: Iterable[Any]) -> None:
    """Remember loops, for as long as they live."""
    for loop in loops:
        _met.add(loop)


def known_loops() -> list[Any]:
    """Return the loops that were met, and are not closed."""
    return [loop for loop in list(_met) if not loop.is_closed()]


def live_refs() -> set[weakref.ref[asyncio.Task[Any]]]:
    """Return weak references to the tasks of all loops; where asyncio keeps them, ended ones that still live included.

    From Python 3.14 on of the loops that were met.
    """
    found: set[weakref.ref[asyncio.Task[Any]]] = set()
    if LOOPS_ARE_HIDDEN:
        # One step for the interpreter: a task whose last reference is in here would end in this thread.
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
    """Return each loop that is running a task at this moment, and the task, by the loop's identity; of any thread.

    Args:
        loops: Where to look, besides the loops that were met, from Python 3.14 on.
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
