"""Which tasks are awaited together with a task, and whether it is awaited at all."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final

from spanloom.concurrency.task import JobTask
from spanloom.diagnosis.chain import code_of
from spanloom.diagnosis.fields import callbacks_of, closure_of, field, future_done, is_future, is_task
from spanloom.diagnosis.pace import in_slices
from spanloom.events.event import JobEvent

__all__ = ["Company", "Crowd", "crowd_of", "is_awaited", "job_of"]

_DEPTH: Final = 6
"""Futures through which a result is followed from loop to loop."""
Crowd = tuple[int, int, frozenset[int]]
"""Of the tasks of one function in a container: how many have ended, how many there are, identities of those left."""


def is_awaited(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task has a done-callback other than a plain one of the program's."""
    for callback in callbacks_of(task):
        if _wakes(callback):
            return True
        function = callback.func if type(callback) is partial else callback  # of ``wait_for`` in Python 3.11
        function = function.__func__ if type(function) is MethodType else function
        if type(function) is FunctionType and function.__module__.startswith("asyncio."):
            return True
    return False


class _Counts:
    """Numbers of tasks by function, as only tasks of one function can be compared.

    Args:
        values: Tasks, among other things.
    """

    def __init__(self, values: Iterable[object]) -> None:
        self.ended: Counter[CodeType | None] = Counter()
        self.left: dict[CodeType | None, set[int]] = {}
        for value in values:
            if is_task(value):
                code = _code(value)
                if future_done(value):
                    self.ended[code] += 1
                else:
                    self.left.setdefault(code, set()).add(id(value))
            value = None  # drop the reference at once, not only with the next one

    def of(self, code: CodeType | None) -> tuple[int, int]:
        """Return ``(ended, all)`` for the tasks that run `code`."""
        ended = self.ended[code]
        return ended, ended + len(self.left.get(code, ()))


class Company:
    """Counts of tasks that are awaited together, made once a look for all of them."""

    def __init__(self) -> None:
        self._groups: dict[int, Counter[CodeType | None]] = {}
        self._children: dict[int, _Counts] = {}

    def is_joined(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether another task waits until `task` has ended.

        It awaits it, by itself, from another loop, or in a ``gather`` that is awaited, or is at the end of a TaskGroup
        in which there are only tasks like it: others may go on making more of them.
        """
        for callback in callbacks_of(task):
            if _wakes(callback) or any(map(_wakes, _handed_on(callback))):
                return True
            if type(callback) is MethodType and type(callback.__self__) is asyncio.TaskGroup:
                group = callback.__self__
                if field(group, "_exiting"):
                    codes = self._codes(group)
                    return codes[_code(task)] == codes.total()
            elif (cells := _gathering(callback)) is not None and "outer" in cells:
                outer = gc.get_referents(cells["outer"])
                return bool(outer and callbacks_of(outer[0]))
        return False

    def siblings_of(self, task: asyncio.Task[Any]) -> tuple[int, int] | None:
        """Return ``(ended, all)`` for the tasks of the same function awaited with `task`; see `Sight.siblings`."""
        for callback in callbacks_of(task):
            if type(callback) is MethodType and type(callback.__self__) is asyncio.TaskGroup:
                if not field(callback.__self__, "_exiting"):
                    return None
                return self._codes(callback.__self__)[_code(task)], 0
            if type(callback) is not FunctionType:
                continue
            gathering = _gathering(callback)
            if gathering is not None and "children" in gathering:
                return self._of_gather(gathering["children"].cell_contents).of(_code(task))
            cells = dict(zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=False))
            if callback.__qualname__.startswith("as_completed.<locals>") and "todo" in cells:
                return len(cells["todo"].cell_contents), 0
        return None

    def _codes(self, group: asyncio.TaskGroup) -> Counter[CodeType | None]:
        """Return how many tasks of a group that have not ended run each function."""
        found = self._groups.get(id(group))
        if found is None:
            tasks = in_slices(tuple(field(group, "_tasks", ())))
            found = self._groups[id(group)] = Counter(map(_code, tasks))
        return found

    def _of_gather(self, children: list[object]) -> _Counts:
        found = self._children.get(id(children))
        if found is None:
            found = self._children[id(children)] = _Counts(in_slices(children))
        return found


def _code(task: object) -> CodeType | None:
    """Return the code of a task's coroutine, without calling a subclass."""
    return code_of(field(task, "_coro"))


def _wakes(callback: object) -> bool:
    """Tell whether this callback resumes a task."""
    return "Wakeup" in type(callback).__name__ or _name_of(callback) in {"__wakeup", "task_wakeup"}


def _handed_on(callback: object, depth: int = _DEPTH) -> Iterator[object]:
    """Yield the callbacks that run when a result has come to another loop, if `callback` passes it on there."""
    if type(callback) is not FunctionType or callback.__module__ != "asyncio.futures" or depth == 0:
        return
    future = closure_of(callback).get("destination")
    told = callbacks_of(future) if is_future(future) else field(future, "_done_callbacks") or ()
    for one in list(told):
        yield one
        yield from _handed_on(one, depth - 1)


def _name_of(callback: object) -> str:
    """Return the name of a function or a bound method; empty for anything else."""
    found = field(callback.__func__ if type(callback) is MethodType else callback, "__name__")
    return found if type(found) is str else ""


def _gathering(callback: object) -> dict[str, CellType] | None:
    """Return the closure variables of a ``gather``, if `callback` is its done-callback."""
    if type(callback) is FunctionType and callback.__qualname__ == "gather.<locals>._done_callback":
        return dict(zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=False))
    return None


def crowd_of(suspended: object) -> Crowd | None:
    """Return the largest group of tasks of one function in a container among the variables of a frame."""
    best: Crowd | None = None
    for container in gc.get_referents(suspended):
        if type(container) not in {list, tuple, set, frozenset, dict}:
            continue
        try:
            counts = _Counts(container.values() if type(container) is dict else container)
        except RuntimeError:  # it has changed meanwhile
            continue
        for code, keys in counts.left.items():
            ended, total = counts.of(code)
            if best is None or total > best[1]:
                best = ended, total, frozenset(keys)
    return best


def job_of(task: asyncio.Task[Any]) -> tuple[int, int] | None:
    """Return the id of the batch whose job a task runs, and the job's position there."""
    if type(task) is JobTask and hasattr(task, "job") and task.job.record is not None:
        return task.job.record.batch_id, task.job.record.index
    for callback in callbacks_of(task):  # the one that ends the job of a foreign task
        if type(callback) is partial and len(callback.args) == 1:
            record = callback.args[0]
        elif type(callback) is MethodType:
            record = field(callback.__self__, "_record")
        else:
            continue
        if type(record) is JobEvent:
            return record.batch_id, record.index
    return None
