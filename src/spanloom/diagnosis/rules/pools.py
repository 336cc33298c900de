"""NESTED_LIMITER for pools that are no primitive: all items of a pool are held by tasks that wait for more of them."""

from __future__ import annotations

from typing import NamedTuple

from spanloom.diagnosis.case import Case, called, names, place
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.model import Holder, Resource, TaskView
from spanloom.diagnosis.origin import is_standard

__all__ = ["Nested", "nested_pool"]

_SHARED = frozenset({"get", "condition"})
"""Kinds of wait in which all wait for one object; with futures and events, each waiter has one of its own."""
_WAYS = {"get": "queue", "condition": "condition", "future": "future", "event": "event"}


class Nested(NamedTuple):
    """The finding on a pool, and the keys of all who wait for it or hold a part of it."""

    finding: Finding
    members: frozenset[int]


def nested_pool(case: Case, members: list[TaskView]) -> Nested | None:
    """Return the finding on a pool that the members of a component wait for.

    ``None`` unless each task that owes the pool something (`Resource.owed`) waits for the pool itself, and so does each
    other possible giver that exists or lives.
    """
    waiting = {task.key: found for task in _with_those_in_line(case, members) if (found := _pool(case, task))}
    owing: dict[int, Holder] = {}
    for key, (resource, _) in waiting.items():
        owing.update(
            {
                one.task: one
                for one in resource.owed
                if _is_nested(case, one.task, case.snapshot.tasks[key], resource)
            }
        )
    if not owing:
        return None
    known = owing.keys() | waiting.keys()
    for resource, kind in waiting.values():
        others = (resource.actors.get(kind, frozenset()) - known) & (case.live | case.snapshot.tasks.keys())
        if any(not case.waits_for_one_of(key, known) for key in others):
            return None
    tasks = [case.snapshot.tasks[key] for key in waiting]
    return Nested(_finding(case, tasks, list(owing.values())), frozenset(known))


def _with_those_in_line(case: Case, members: list[TaskView]) -> list[TaskView]:
    """Return `members` and all dead tasks in the same lines, as those in one line have no edges to each other."""
    found = {task.key: task for task in members}
    for task in members:
        resource = case.resource(task)
        if resource is not None:
            found.update({key: case.snapshot.tasks[key] for key in resource.waiters if key in case.dead})
    return list(found.values())


def _pool(case: Case, task: TaskView) -> tuple[Resource, str] | None:
    """Return the resource that may be a pool, or a future that is a place in its line, and the kind of wait."""
    wait = task.wait
    if wait is None:
        return None
    resource = case.snapshot.resources.get(wait.resource or 0)
    if resource is not None and wait.kind in _WAYS:
        return resource, wait.kind
    futures = [case.snapshot.resources[key] for key in wait.targets if key in case.snapshot.resources]
    return (futures[0], "future") if len(futures) == 1 else None


def _is_nested(case: Case, holder: int, task: TaskView, resource: Resource) -> bool:
    """Return whether the task that owes a pool waits for more of it, or for a task that does."""
    if task.wait is not None and task.wait.kind in _SHARED and holder != task.key:
        return holder in resource.waiters or case.waits_for_one_of(holder, {*resource.waiters})
    return holder == task.key


def _has_already(task: TaskView, one: Holder) -> bool:
    """Return whether a task owes something for what the program's own code is inside of.

    What a library does when its wait in the line fails, as to tell the next one, is nothing that it has.
    """
    at = [
        number
        for number, frame in enumerate(task.chain)
        if (frame.function, frame.location) == (one.function, one.location)
    ]
    return not at or at[0] <= task.depth


def _finding(case: Case, waiting: list[TaskView], owing: list[Holder]) -> Finding:
    resource, kind = _pool(case, waiting[0]) or (None, "")
    if resource is None:
        raise AssertionError("who waits for a pool waits for something")
    owing = [one for one in owing if _has_already(case.snapshot.tasks[one.task], one)] or owing
    holders = [case.snapshot.tasks[one.task] for one in owing]
    inner = [task for task in waiting if task.key in {one.task for one in owing}] or waiting
    others = [task for task in waiting if task not in inner]
    wanted = ", ".join(dict.fromkeys(called(task) for task in inner))
    named = (
        f"the pool behind {_WAYS[kind]} `{resource.name}`"
        if resource.name != resource.type
        else _library(inner[0])
    )
    took = ", ".join(dict.fromkeys(f"`{one.function}` ({place(one.location)})" for one in owing))
    queue = f", for which {names(others)} queue, too" if others else ""
    message = (
        f"All that {named} has is held by {names(holders)}, "
        f"in {took}, each of which waits for more of it, in {wanted} at {_at(inner[0])}{queue}. "
        "Give the inner calls a pool of their own, pass on what is held already, or let go of it before."
    )
    return case.finding("NESTED_LIMITER", message, [*inner, *others], resource, others=holders)


def _library(task: TaskView) -> str:
    """Return in words the pool of a library, by the library's function in which a task waits for it."""
    frames = [frame for frame in task.chain[task.depth + 1 :] if not is_standard(frame.file)]
    pools = [frame for frame in frames if "pool" in frame.function.lower()]
    return f"the pool behind `{(pools or frames)[-1].function}`" if frames else "a pool"


def _at(task: TaskView) -> str:
    return "?" if task.at is None else place(task.at.location)
