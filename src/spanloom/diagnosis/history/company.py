"""Whom a task belongs together with: who is awaited with it, and whether anybody awaits it at all."""

from __future__ import annotations

import asyncio
import gc
from types import CellType, FunctionType, MethodType
from typing import Any

from spanloom.concurrency.task import JobTask
from spanloom.diagnosis.history.live import code_of

__all__ = ["Crowd", "crowd_of", "is_awaited", "is_joined", "job_of", "siblings_of"]

Crowd = tuple[int, int, frozenset[int]]
"""How many tasks of a list or the like have ended, how many there are, and the identities of those left."""


def is_awaited(task: asyncio.Task[Any]) -> bool:
    """Tell whether the end of a task is told to anybody but a plain callback of the program's."""
    for callback in _callbacks(task):
        if "Wakeup" in type(callback).__name__:
            return True
        function = getattr(callback, "__func__", None) if type(callback) is MethodType else callback
        if type(function) is FunctionType and function.__module__.startswith("asyncio."):
            return True
    return False


def is_joined(task: asyncio.Task[Any]) -> bool:
    """Tell whether another task stands still until one has ended.

    It awaits it, by itself or in a ``gather`` that is awaited, or is at the end of a TaskGroup in which there are only
    tasks like it: others may go on making more of them.
    """
    for callback in _callbacks(task):
        if "Wakeup" in type(callback).__name__ or getattr(callback, "__name__", "") == "__wakeup":
            return True
        if type(callback) is MethodType and type(callback.__self__) is asyncio.TaskGroup:
            group = callback.__self__
            if getattr(group, "_exiting", False):
                return len(_like(task, group)) == len(getattr(group, "_tasks", ()))
        elif (cells := _gathering(callback)) is not None and "outer" in cells:
            outer = gc.get_referents(cells["outer"])
            return bool(outer and getattr(outer[0], "_callbacks", None))
    return False


def _like(task: asyncio.Task[Any], group: asyncio.TaskGroup) -> list[asyncio.Task[Any]]:
    """Return the tasks of a group that have not ended and run the same function as one of them."""
    code = code_of(task.get_coro())
    return [other for other in tuple(getattr(group, "_tasks", ())) if code_of(other.get_coro()) is code]


def _gathering(callback: object) -> dict[str, CellType] | None:
    """Return the variables of a ``gather``, if it is that which is told of the end."""
    if type(callback) is FunctionType and callback.__qualname__ == "gather.<locals>._done_callback":
        return dict(zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=False))
    return None


def _callbacks(task: asyncio.Task[Any]) -> list[object]:
    """Return what is called at the end of a task."""
    return [entry[0] for entry in getattr(task, "_callbacks", None) or () if type(entry) is tuple]


def siblings_of(task: asyncio.Task[Any]) -> tuple[int, int] | None:
    """Return how many tasks awaited together with one have ended, and how many there are; see `Sight.siblings`."""
    for callback in _callbacks(task):
        if type(callback) is MethodType and type(callback.__self__) is asyncio.TaskGroup:
            return (
                (len(_like(task, callback.__self__)), 0)
                if getattr(callback.__self__, "_exiting", False)
                else None
            )
        if type(callback) is not FunctionType:
            continue
        gathering = _gathering(callback)
        if gathering is not None and "children" in gathering:
            children = gathering["children"].cell_contents
            return sum(child.done() for child in children), len(children)
        cells = dict(zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=False))
        if callback.__qualname__.startswith("as_completed.<locals>") and "todo" in cells:
            return len(cells["todo"].cell_contents), 0
    return None


def crowd_of(suspended: object) -> Crowd | None:
    """Return the tasks in the largest list or the like among the variables of a frame."""
    best: Crowd | None = None
    for container in gc.get_referents(suspended):
        if type(container) not in {list, tuple, set, frozenset, dict}:
            continue
        ended, left = 0, set()
        try:
            for item in container.values() if type(container) is dict else container:
                if issubclass(type(item), asyncio.Task):
                    if item.done():
                        ended += 1
                    else:
                        left.add(id(item))
                item = None
        except RuntimeError:  # it has changed under the look
            continue
        if left and (best is None or ended + len(left) > best[1]):
            best = ended, ended + len(left), frozenset(left)
    return best


def job_of(task: asyncio.Task[Any]) -> tuple[int, int] | None:
    """Return the id of the batch whose job a task runs, and the job's position there."""
    if type(task) is JobTask and hasattr(task, "job") and task.job.record is not None:
        return task.job.record.batch_id, task.job.record.index
    return None
