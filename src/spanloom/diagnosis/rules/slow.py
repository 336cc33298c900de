"""PIPELINE_BOTTLENECK: a pipeline that is not stuck, but all of whose stages wait for one slow stage."""

from __future__ import annotations

from collections.abc import Iterator

from spanloom.diagnosis.case import Case, called, names
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.model import Resource, TaskView

__all__ = ["bottlenecks"]

CROWD = 6
"""From so many tasks on that wait for room in one queue, that alone is reported; fewer are what a bound is for."""
SOME = 4
"""The same if the next stage has no work, or so many tasks wait for each task of the slow stage."""
FEW = 3
"""The same if the next stage has no work, and all tasks before the slow stage wait, more than it has tasks itself. One
or two say nothing: where stages take turns to be the slower one, it may be so for a moment."""

_JOINING = ("group", "task", "completed")
"""How those wait who wait for other tasks."""


def bottlenecks(case: Case) -> Iterator[Finding]:
    """Yield the stages that a pipeline waits for: one takes from a full queue, and those before it wait for room.

    It counts only if the stages before that are stopped, too, or enough tasks wait for room; not if a member is dead,
    or the stage itself waits at a queue, has not begun to take, or waits for a lock held outside of it.
    """
    full = {
        key: _putting(case, resource)
        for key, resource in case.snapshot.resources.items()
        if _is_full(resource)
    }
    full = {key: tasks for key, tasks in full.items() if tasks}
    for key, waiting in full.items():
        resource = case.snapshot.resources[key]
        takers = _takers(case, resource)
        if not takers or any(task.key in case.dead for task in (*takers, *waiting)):
            continue
        if any(_waited(task) in ("put", "get") for task in takers):
            continue  # the stage itself waits for the next one, or for work: it is not the slow one
        if resource.fresh.issuperset(task.key for task in takers):
            continue  # it has not taken anything yet: its speed is unknown
        if all(_is_kept_waiting(case, task, takers) for task in takers):
            continue
        behind = [
            other for other, tasks in full.items() if other != key and _feeds(case, other, waiting, takers)
        ]
        few = SOME if len(waiting) >= SOME * len(takers) else CROWD
        if _starves(case, takers):
            few = FEW if _all_wait(case, resource, waiting, takers) else SOME
        if not behind and len(waiting) < few:
            continue
        stalled = [*waiting, *(task for other in behind for task in full[other])]
        yield _finding(
            case, resource, takers, stalled, [case.snapshot.resources[other].name for other in behind]
        )


def _is_kept_waiting(case: Case, task: TaskView, takers: list[TaskView]) -> bool:
    """Return whether a task of a stage waits for a lock whose holders do not belong to the stage."""
    resource = case.resource(task)
    if resource is None or resource.kind != "lock" or not resource.holders:
        return False
    return {holder.task for holder in resource.holders}.isdisjoint(one.key for one in takers)


def _is_full(resource: Resource) -> bool:
    return resource.kind == "queue" and bool(resource.size) and (resource.used or 0) >= (resource.size or 0)


def _putting(case: Case, resource: Resource) -> list[TaskView]:
    """Return the tasks that wait for room in a full queue, or did so when they were first seen."""
    tasks = (
        case.snapshot.tasks[key] for key in dict.fromkeys(resource.waiters) if key in case.snapshot.tasks
    )
    return [task for task in tasks if _waited(task) == "put"]


def _waited(task: TaskView) -> str | None:
    """Return the kind of a task's wait when it was first seen: nearly the same moment for all tasks."""
    return task.was if task.wait is None else task.wait.kind


def _takers(case: Case, resource: Resource) -> list[TaskView]:
    waiting = set(resource.waiters)
    givers = resource.takers or resource.actors.get("put", frozenset())
    tasks = [
        case.snapshot.tasks[key]
        for key in sorted(givers)
        if key in case.snapshot.tasks and key not in waiting
    ]
    # A task that waits for the stages to end is none of them, although it may run their code.
    return [task for task in tasks if _waited(task) not in _JOINING]


def _feeds(case: Case, other: int, waiting: list[TaskView], slow: list[TaskView]) -> bool:
    """Return whether at least half of those who take from the queue `other`, the slow ones aside, are in `waiting`.

    The rest may have got room at this moment; but none of them waits for work.
    """
    takers = [task for task in _takers(case, case.snapshot.resources[other]) if task not in slow]
    ahead = [task for task in takers if task in waiting]
    idle = [task for task in takers if _waited(task) == "get"]
    return bool(ahead) and not idle and 2 * len(ahead) >= len(takers)


def _starves(case: Case, takers: list[TaskView]) -> bool:
    """Return whether a following stage has no work: a task waits at an empty queue that one of `takers` may feed."""
    keys = {task.key for task in takers}
    return any(
        resource.kind == "queue"
        and not resource.used
        and not keys.isdisjoint(resource.actors.get("get", frozenset()))
        and any(
            _waited(case.snapshot.tasks[key]) == "get"
            for key in resource.waiters
            if key in case.snapshot.tasks
        )
        for resource in case.snapshot.resources.values()
    )


def _all_wait(case: Case, resource: Resource, waiting: list[TaskView], takers: list[TaskView]) -> bool:
    """Return whether more tasks wait for room in a full queue than take from it, and nobody works at what to put."""
    keys = {task.key for task in (*waiting, *takers)}
    others = [case.snapshot.tasks[key] for key in (resource.known_to - keys) & case.snapshot.tasks.keys()]
    return len(waiting) > len(takers) and all(_waited(task) in _JOINING for task in others)


def _finding(
    case: Case, resource: Resource, takers: list[TaskView], stalled: list[TaskView], behind: list[str]
) -> Finding:
    functions = ", ".join(dict.fromkeys(called(task) for task in takers))
    also = f" (and behind it {', '.join(f'`{name}`' for name in behind)})" if behind else ""
    at = takers[0].at
    message = (
        f"The pipeline waits for its stage {functions} ({names(takers)}): the queue `{resource.name}` before it is "
        f"full ({resource.used} of {resource.size}){also}, and {len(stalled)} tasks wait for room. "
        "Nothing is wrong; to be faster, run more of that stage at once or make it quicker."
    )
    where = None if at is None else at.location
    return case.finding(
        "PIPELINE_BOTTLENECK", message, takers, resource, location=where, level="LIKELY", others=stalled
    )
