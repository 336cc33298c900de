"""Whether a wait for a slot can ever end: which tasks hold the slots, and what each of them waits for.

Suppose a job holds a slot of a limiter and waits for jobs that need a slot of the same limiter. As soon as the holders
of all slots do so, all wait for ever: each waits for a slot that only one of them could give back. `ring` tells whether
a wait that has just begun closes such a circle. It does so only if that is certain: all slots are accounted for, and
each holder is known to go on only when one of them gives a slot back. A task with a deadline, or one that waits for
anything else, may go on.

Acquiring a slot records nothing: a job knows its batch, and a task inside ``async with limiter`` has the exit of that
block on the stack of its suspended frame. A task that calls ``acquire`` directly does not count as a holder: the slot
may be given back by a timer.
"""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CoroutineType, FrameType, FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.engine import Engine
from spanloom.concurrency.entered import exits_of
from spanloom.concurrency.names import bare_name
from spanloom.concurrency.task import JobTask
from spanloom.events import keys
from spanloom.events.types import EventType
from spanloom.exceptions import NestedLimiterError

if TYPE_CHECKING:
    from spanloom.concurrency.slots import Slots

__all__ = ["refusal_of", "ring"]

MAX_DEPTH: Final = 50
"""Depth of nested tasks and of nested frames up to which is searched; beyond it nothing is certain."""
_HARMLESS: Final = (asyncio.Lock, asyncio.Semaphore, asyncio.Condition, asyncio.TaskGroup)
_MAY_BREAK_OFF: Final = frozenset({"cancel", "deadline", "reschedule", "expired"})
"""A context manager with one of these methods may end the wait inside its block: ``anyio.CancelScope`` and the like."""

_OURS: Final = (str(Path(__file__).resolve().parents[1]), str(Path(asyncio.__file__).parent))
Task = asyncio.Task[Any]


def ring(limiter: Slots, in_use: int, latest: Task, waiting: Iterable[Task]) -> list[Task] | None:
    """Return the tasks that hold the slots of a limiter, if none can ever give one back; ``None`` if not certain.

    Args:
        limiter: The limiter; all its slots are in use.
        in_use: Number of slots in use.
        latest: The task whose wait began last. Nearly always neither it nor a task that waits for it holds a slot,
            which is found in a few microseconds.
        waiting: All tasks that wait for a slot.
    """
    if not any(_slots_of(task, limiter) for task in _who_waits_for(latest)):
        return None
    waiters = set(waiting)
    slots: dict[Task, int] = {}
    for waiter in waiters:
        for task in _who_waits_for(waiter):
            if task not in slots and (count := _slots_of(task, limiter)):
                slots[task] = count
    if sum(slots.values()) != in_use or any(map(_may_be_cut_off, slots)):
        return None
    return list(slots) if all(_is_stuck(task, waiters, (), 0) for task in slots) else None


def _slots_of(task: Task, limiter: Slots) -> int:
    """Return how many slots of a limiter a suspended task holds."""
    held = sum(owner is limiter for owner in _blocks(task))
    return held + (type(task) is JobTask and getattr(task.job.window, "_limiter", None) is limiter)


def _is_stuck(task: Task, waiters: set[Task], above: tuple[Task, ...], depth: int) -> bool:
    """Tell whether a task goes on only if one of `waiters` does; False if that is not certain."""
    if depth > MAX_DEPTH or task in above or not all(map(_cannot_break_off, _blocks(task))):
        return False
    if task in waiters:
        return True
    needed = _needed_by(task)
    return bool(needed) and all(_is_stuck(each, waiters, (*above, task), depth + 1) for each in needed)


def _cannot_break_off(owner: object) -> bool:
    if type(owner) is asyncio.Timeout:
        return owner.when() is None
    if isinstance(owner, _HARMLESS):
        return True
    return not any(_MAY_BREAK_OFF & vars(kind).keys() for kind in type(owner).__mro__)


def _may_be_cut_off(task: Task) -> bool:
    """Tell whether a task, or one that waits for its end, has a deadline: it would end the whole circle."""
    return any(
        not all(map(_cannot_break_off, _blocks(each))) or any(map(_has_deadline, _callbacks(each)))
        for each in _who_waits_for(task)
    )


def _has_deadline(callback: object) -> bool:
    """Tell whether a done-callback is that of `asyncio.wait_for` up to Python 3.11."""
    return type(callback) is functools.partial and getattr(callback.func, "__name__", "") == "_release_waiter"


# up and down --------------------------------------------------------------------------------------------------------


def _who_waits_for(task: Task) -> list[Task]:
    """Return `task`, the tasks that wait for its end, those that wait for theirs, and so on."""
    found = [task]
    for each in found:  # the list grows meanwhile
        found += [parent for parent in _parents(each) if parent not in found]
        if len(found) > MAX_DEPTH:
            break
    return found


def _parents(task: Task) -> list[Task]:
    ends: list[object] = [task]
    if type(task) is JobTask:
        ends.append(getattr(task.job.window, "_waiter", None))
    found: list[Task] = []
    for end in ends:
        for callback in _callbacks(end):
            owner = getattr(callback, "__self__", None) if type(callback) is not FunctionType else None
            if isinstance(owner, asyncio.Task):
                found.append(owner)
            elif type(owner) is asyncio.TaskGroup:
                parent = getattr(owner, "_parent_task", None)
                found += [parent] if isinstance(parent, asyncio.Task) else []
            elif type(callback) is FunctionType:
                ends += _outer(callback)
    return found


def _outer(callback: FunctionType) -> list[object]:
    """Return the future that `asyncio.gather` returned, if `callback` is its done-callback on a task; else nothing."""
    if callback.__qualname__ != "gather.<locals>._done_callback":
        return []
    cells = dict(zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=True))
    return [cells["outer"].cell_contents] if "outer" in cells else []


def _callbacks(future: object) -> list[object]:
    return [entry[0] for entry in getattr(future, "_callbacks", None) or ()]


def _needed_by(task: Task) -> list[Task]:
    """Return the tasks whose end a task waits for; none if something else may wake it."""
    awaited: object = getattr(task, "_fut_waiter", None)
    if isinstance(awaited, asyncio.Task):
        return [awaited]
    children = getattr(awaited, "_children", None)  # if `asyncio.gather` returned it
    if children is not None:
        return _open_tasks(children)
    for suspended in _suspended(task):
        for value in gc.get_referents(suspended):
            if type(value) is asyncio.TaskGroup and awaited is getattr(value, "_on_completed_fut", None):
                return _open_tasks(getattr(value, "_tasks", ()))
            if isinstance(value, Engine) and awaited is getattr(value, "_waiter", None):
                return _open_tasks(getattr(value, "_alive", {}).values())
    return []


def _open_tasks(futures: Iterable[object]) -> list[Task]:
    """Return those of `futures` that have not ended; nothing if one of them is not a task."""
    found: list[Task] = []
    for future in futures:
        if not isinstance(future, asyncio.Task):
            return []
        if not future.done():
            found.append(future)
    return found


# frames -------------------------------------------------------------------------------------------------------------


def _suspended(task: Task) -> Iterator[object]:
    awaitable: object = task.get_coro()
    for _ in range(MAX_DEPTH):
        if isinstance(awaitable, CoroutineType):
            yield awaitable
            awaitable = awaitable.cr_await
        elif isinstance(awaitable, GeneratorType):
            yield awaitable
            awaitable = awaitable.gi_yieldfrom
        else:
            return


def _blocks(task: Task) -> Iterator[object]:
    """Yield the context managers of the ``with`` and ``async with`` blocks that a suspended task is in."""
    entering = False
    for suspended in reversed(list(_suspended(task))):
        owners = [end.manager for end in exits_of(suspended)]
        # The exit of a block is on top of the stack even while its `__aenter__` is still running.
        yield from owners[:-1] if entering else owners
        entering = getattr(suspended, "__name__", "") == "__aenter__"


# words --------------------------------------------------------------------------------------------------------------


def refusal_of(
    limiter: Slots, in_use: int, latest: Task, waiting: Iterable[Task]
) -> NestedLimiterError | None:
    """Return the error for a wait that can never end, and emit a ``stall`` event; else return ``None``. See `ring`."""
    waiting = list(waiting)
    holders = ring(limiter, in_use, latest, waiting)
    if holders is None:
        return None
    lines = tuple(f"{_name(task)} holds a slot and waits at {_place(task)}" for task in holders)
    holding = list(dict.fromkeys(_function(task) for task in holders))
    inner = list(dict.fromkeys(_wanted_for(task) for task in waiting if task in holders or task is latest))
    slots = "its only slot is" if in_use == 1 else f"all {in_use} slots are"
    message = (
        f"limiter {limiter.name!r} (size {limiter.size}): {slots} held by {_and(holding)}, waiting for a slot of "
        f"the same limiter for {_and(inner)} at {_place(latest)}: none of them could ever go on. Give the inner jobs "
        "a limiter of their own, or hold no slot while they are awaited."
    )
    _tell(limiter, message, [_name(task) for task in holders], _place(latest))
    return NestedLimiterError(message, lines)


def _tell(limiter: Slots, message: str, jobs: list[str], place: str) -> None:
    # In the form of `spanloom.diagnosis.Finding.to_json`, so that readers of the record find the verdict.
    finding = {
        "code": "NESTED_LIMITER",
        "message": message,
        "severity": "error",
        "level": "PROVEN",
        "jobs": jobs,
        "resource": limiter.name,
        "location": place,
        "since_s": 0.0,
        "refused": True,
    }
    payload = {keys.STALLED_S: None, keys.FINDINGS: [finding]}
    get_callback_manager().emit(EventType.STALL, payload, name=limiter.name)


def _wanted_for(task: Task) -> str:
    """Return what a slot is wanted for: the job that the task's batch is about to start, or the task's own function."""
    for suspended in _suspended(task):
        for value in gc.get_referents(suspended):
            if isinstance(value, Engine):
                return str(value._scope.job_name)  # noqa: SLF001 -- of the same package
    return _function(task)


def _function(task: Task) -> str:
    for frame in _frames(task):
        if not _is_ours(frame):
            return bare_name(frame.f_code.co_qualname)
    return task.get_name()


def _name(task: Task) -> str:
    name, function = task.get_name(), _function(task)
    return function if name == function or name.startswith("Task-") else f"{name} ({function})"


def _place(task: Task) -> str:
    """Return ``file:line`` where the task waits in the program's own code."""
    place = "?"
    for frame in _frames(task):
        if not _is_ours(frame):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return place


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _frames(task: Task) -> list[FrameType]:
    found = [getattr(each, "cr_frame", None) or getattr(each, "gi_frame", None) for each in _suspended(task)]
    return [frame for frame in found if isinstance(frame, FrameType)]


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
