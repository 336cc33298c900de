"""The finding UNKNOWN: something stands still, no rule explains it, and nothing can be seen that would end it.

It says who waits for what, so that a person can go on from there. As a program may stand still for good reasons, it is
asked only for what has stood still for the stall time: the jobs of a batch, which is meant to end, or a whole process
in which nothing else goes on either. A wait for a timer, a socket, a thread, a child process or a signal is not
unknown: what may end it can be seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from spanloom.diagnosis.case import Case, names, quoted, where
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.fixpoint import progress
from spanloom.diagnosis.model import Resource, Snapshot, TaskView

__all__ = ["unknown_batch", "unknown_process"]

_TOLD: int = 5
"""Groups of tasks, with the same wait at the same place, that the sentence names."""
_UNSEEN = frozenset({"outside", "caller", "hook"})


def unknown_batch(
    snapshot: Snapshot, earlier: Snapshot, jobs: Iterable[int], name: str, stalled_s: float
) -> Finding | None:
    """Return the finding that a batch stands still for unknown reasons; ``None`` if one of its jobs can progress.

    Args:
        snapshot: A look at the process.
        earlier: An earlier look. If a job has moved since, the result is ``None``.
        jobs: Keys of the tasks of the jobs in flight.
        name: The name of the batch.
        stalled_s: For how many seconds it has stood still.
    """
    case = Case(snapshot, earlier)
    tasks = [snapshot.tasks[key] for key in jobs if key in snapshot.tasks]
    live = _seen_to_go_on(snapshot)
    if not tasks or any(task.key in live for task in tasks) or case.since(tasks) is None:
        return None
    return _finding(case, tasks, f"batch `{name}` has stood still for {stalled_s:.0f} s", stalled_s)


def unknown_process(snapshot: Snapshot, earlier: Snapshot, stalled_s: float) -> Finding | None:
    """Return the finding that a whole process stands still for unknown reasons; ``None`` if anything goes on in it.

    Args:
        snapshot: A look at it.
        earlier: An earlier look. If a task has moved since, the result is ``None``.
        stalled_s: For how many seconds no task has moved.
    """
    case = Case(snapshot, earlier)
    if any(actor.kind not in _UNSEEN for actor in snapshot.actors.values()) or _seen_to_go_on(snapshot):
        return None
    tasks = [task for key, task in snapshot.tasks.items() if key in case.live and not task.deliberate]
    if not tasks or case.since(snapshot.tasks.values()) is None:
        return None
    return _finding(case, tasks, f"no task has moved for {stalled_s:.0f} s", stalled_s)


def _seen_to_go_on(snapshot: Snapshot) -> frozenset[int]:
    """Return the tasks and actors that can progress without the ``"outside"`` actors."""
    seen = {key: actor for key, actor in snapshot.actors.items() if actor.kind != "outside"}
    return progress(dataclasses.replace(snapshot, actors=seen))


def _finding(case: Case, tasks: list[TaskView], what: str, stalled_s: float) -> Finding:
    """Return the finding; its sentence names first those who wait for a resource, then those who wait for tasks."""
    groups: dict[tuple[str, str, str | None], list[TaskView]] = {}
    for task in [*tasks, *_behind(case, tasks)]:
        resource = case.resource(task)
        name = None if resource is None else resource.name
        groups.setdefault((where(task), task.kind, name), []).append(task)
    leading = sorted(groups.values(), key=lambda group: case.resource(group[0]) is None)
    told = [_who(case, group) for group in leading[:_TOLD]]
    if len(leading) > _TOLD:
        told.append(f"and {sum(map(len, leading[_TOLD:]))} tasks wait elsewhere")
    message = (
        f"It is unknown why {what}: nothing can be seen that would change this. Who waits for what: "
        f"{'; '.join(told)}. Look who should end the first of these waits, and give it a timeout."
    )
    first = leading[0]
    found = case.finding("UNKNOWN", message, first, case.resource(first[0]), level="UNKNOWN", others=tasks)
    return dataclasses.replace(found, since_s=round(stalled_s, 3))


def _behind(case: Case, tasks: list[TaskView]) -> list[TaskView]:
    """Return the tasks that `tasks` wait for, directly or not, without `tasks` themselves."""
    known = {task.key for task in tasks}
    found = []
    todo = list(tasks)
    while todo:
        task = todo.pop()
        for target in task.targets:
            inner = case.snapshot.tasks.get(target)
            if inner is not None and target not in known:
                known.add(target)
                found.append(inner)
                todo.append(inner)
    return found


def _who(case: Case, group: list[TaskView]) -> str:
    """Return in words who of a group waits where for what, and who holds that."""
    task = group[0]
    waits = f"{names(group)} {'waits' if len(group) == 1 else 'wait'} at {where(task)}"
    resource = case.resource(task)
    if resource is not None:
        return f"{waits} for {_what(case, task, resource)}"
    targets = [case.snapshot.tasks[key] for key in task.targets if key in case.snapshot.tasks]
    if targets:
        return f"{waits} for the end of {names(targets)}"
    return waits


def _what(case: Case, task: TaskView, resource: Resource) -> str:
    named = quoted(resource)
    kind = "a future" if resource.kind == "future" else f"{resource.kind}"
    if resource.holders:
        return f"{kind}{named}, held by {', '.join(case.holder(one) for one in resource.holders[:3])}"
    givers = resource.actors.get(task.kind, frozenset())
    if any(key in case.snapshot.actors and case.snapshot.actors[key].kind == "outside" for key in givers):
        return f"{kind}{named}, which code that cannot be seen has"
    return f"{kind}{named}"
