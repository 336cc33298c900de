"""What is slow and not stuck: a pipeline all of whose stages wait for one."""

from __future__ import annotations

from collections.abc import Iterator

from spanloom.diagnosis.case import Case, called, names
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.model import Resource, TaskView

__all__ = ["bottlenecks"]

CROWD = 6
"""Tasks that wait for room in one queue from which on that alone is worth a word; fewer are what a bound is for."""
SOME = 4
"""The same where those behind the stage wait for work, or as many wait for each task of the stage."""


def bottlenecks(case: Case) -> Iterator[Finding]:
    """Yield the stage for which a pipeline waits: it takes from a full queue, and all before it wait for room."""
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
            continue  # it waits for the next stage, or for work: not the slow one
        if resource.fresh.issuperset(task.key for task in takers):
            continue  # it has not begun: how fast it is nobody knows
        if all(_is_kept_waiting(case, task, takers) for task in takers):
            continue
        behind = [
            other for other, tasks in full.items() if other != key and _feeds(case, other, waiting, takers)
        ]
        few = SOME if _starves(case, takers) or len(waiting) >= SOME * len(takers) else CROWD
        if not behind and len(waiting) < few:
            continue
        stalled = [*waiting, *(task for other in behind for task in full[other])]
        yield _finding(
            case, resource, takers, stalled, [case.snapshot.resources[other].name for other in behind]
        )


def _is_kept_waiting(case: Case, task: TaskView, takers: list[TaskView]) -> bool:
    """Return whether a task of a stage waits for a lock that somebody holds who has no part in the stage."""
    resource = case.resource(task)
    if resource is None or resource.kind != "lock" or not resource.holders:
        return False
    return {holder.task for holder in resource.holders}.isdisjoint(one.key for one in takers)


def _is_full(resource: Resource) -> bool:
    return resource.kind == "queue" and bool(resource.size) and (resource.used or 0) >= (resource.size or 0)


def _putting(case: Case, resource: Resource) -> list[TaskView]:
    """Return who waits for room in a full queue, or did when it was seen, and got some while the look lasted."""
    tasks = (
        case.snapshot.tasks[key] for key in dict.fromkeys(resource.waiters) if key in case.snapshot.tasks
    )
    return [task for task in tasks if _waited(task) == "put"]


def _waited(task: TaskView) -> str | None:
    """Return how a task waited when it was first seen: all were seen in the same moment."""
    return task.was if task.wait is None else task.wait.kind


def _takers(case: Case, resource: Resource) -> list[TaskView]:
    waiting = set(resource.waiters)
    givers = resource.takers or resource.actors.get("put", frozenset())
    tasks = [
        case.snapshot.tasks[key]
        for key in sorted(givers)
        if key in case.snapshot.tasks and key not in waiting
    ]
    # Who waits for the stages to end is none of them, though it knows how to start one.
    return [task for task in tasks if _waited(task) not in ("group", "task", "completed")]


def _feeds(case: Case, other: int, waiting: list[TaskView], slow: list[TaskView]) -> bool:
    """Return whether those who take from the queue `other`, the slow ones aside, are mostly among `waiting`.

    One or the other may have got room at this moment and be at work; none waits for something to do.
    """
    takers = [task for task in _takers(case, case.snapshot.resources[other]) if task not in slow]
    ahead = [task for task in takers if task in waiting]
    idle = [task for task in takers if _waited(task) == "get"]
    return bool(ahead) and not idle and 2 * len(ahead) >= len(takers)


def _starves(case: Case, takers: list[TaskView]) -> bool:
    """Return whether a stage that follows has nothing to do: all that take from an empty queue wait there."""
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
