"""Looking at the living tasks from any thread: one by one, without keeping them alive.

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
from collections.abc import Callable, Sequence
from functools import partial
from types import CodeType
from typing import Any, Final, TypeGuard, cast

from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.fields import loop_of, task_name
from spanloom.diagnosis.landmarks import SLEEP
from spanloom.diagnosis.registry import LOOPS_ARE_HIDDEN, live_refs, meet

__all__ = [
    "Ref",
    "is_let_go",
    "is_timer",
    "label_of",
    "line_of",
    "refs",
    "wakes_at",
    "with_task",
]

Ref = weakref.ref[asyncio.Task[Any]]

_ALONE: Final = 3
"""References that `sys.getrefcount` sees when nobody else has one.

The caller's, ours and its own argument.
"""


def refs() -> set[Ref]:
    """Return weak references to the tasks of all loops.

    With ended ones that still exist, where asyncio keeps those. Loops that run now are met first.
    """
    if LOOPS_ARE_HIDDEN:
        from spanloom.diagnosis.running import let_go, running_threads  # only there

        threads = running_threads()
        try:
            meet([thread.loop for thread in threads if thread.loop is not None])
        finally:
            let_go(threads)
    return live_refs()


def with_task(ref: Ref, look: Callable[[asyncio.Task[Any]], None]) -> bool:
    """Call `look` with a task, if it still exists, with the precautions described in the module.

    Returns:
        Whether it still exists.
    """
    task = ref()
    if task is None:
        return False
    try:
        look(task)
    finally:
        if sys.getrefcount(task) < _ALONE:
            loop = loop_of(task)
            if not loop.is_closed():
                loop.call_soon_threadsafe(_drop, task)
        del task
    return True


def is_let_go(ref: Ref) -> bool:
    """Tell whether nobody refers to a task that waits but what will wake it; see the module for what is taken care of.

    What is counted here is counted of an object of ours as well, which one variable refers to.
    """
    counts: list[int] = []
    probe = _Probe()
    # Neither is a task, nor is it asked for its loop: it is not alone.
    with_task(cast("Ref", weakref.ref(probe)), partial(_count, counts))
    with_task(ref, partial(_count, counts))
    return len(counts) > 1 and counts[1] <= counts[0]


class _Probe:
    """An object that weak references can be made to."""


def _count(counts: list[int], task: object) -> None:
    counts.append(sys.getrefcount(task))


def _drop(_: object) -> None:
    """Drop the last reference to a task in its loop's thread, which then finalises it."""


def wakes_at(links: Sequence[Link]) -> float | None:
    """Return the time, by the clock of its loop, at which a sleeping task will wake; ``None`` if it does not sleep.

    Args:
        links: Its await chain, outermost first.
    """
    if links and links[-1].code is SLEEP:
        for referent in gc.get_referents(links[-1].owner):
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
    """Return the label of a task.

    Its name, or that of its function if it was given none.
    """
    name = task_name(task)
    if name.startswith("Task-") and name[5:].isdecimal():
        return function
    return name
