"""Rings: tasks that wait for each other, with locks, with slots of a limiter, or with nothing but awaits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from spanloom.diagnosis.case import Case, called, names, place
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.model import Resource, TaskView

__all__ = ["ring_of", "rings"]

_SLOTS = frozenset({"semaphore", "limiter"})


def rings(case: Case, members: list[TaskView]) -> Iterator[Finding]:
    """Yield the ring inside of a component, if there is one of locks, slots and awaits."""
    ring = ring_of(case, members)
    if not ring:
        return
    slots = [task for task in ring if task.wait is not None and task.wait.kind in _SLOTS]
    locks = [task for task in ring if task.wait is not None and task.wait.kind == "lock"]
    limiters = {task.wait.resource for task in slots if task.wait is not None}
    if slots and not locks and len(limiters) == 1:
        yield _nested(case, members, slots)
    elif locks and len(ring) == 1:
        yield _relock(case, ring[0])
    elif locks or slots:
        yield _cycle(case, ring)
    else:
        yield _awaits(case, ring)


def ring_of(case: Case, members: list[TaskView]) -> list[TaskView]:
    """Return a shortest ring among `members`, each waiting for what the next one holds or for its end."""
    inside = {task.key for task in members}
    edges = {
        key: [target for target, how in case.edges[key] if how in ("holds", "ends") and target in inside]
        for key in inside
    }
    best: list[int] = []
    for start in list(edges)[:200]:
        came: dict[int, int] = {}
        line = [start]
        while line and start not in came:
            following = []
            for key in line:
                for target in edges[key]:
                    if target not in came:
                        came[target] = key
                        following.append(target)
            line = following
        if start in came:
            ring = [start]
            while came[ring[-1]] != start:
                ring.append(came[ring[-1]])
            if not best or len(ring) < len(best):
                best = ring[::-1] if len(ring) > 1 else ring
        if len(best) == 1:
            break
    tasks = [case.snapshot.tasks[key] for key in best]
    first = next(
        (at for at, task in enumerate(tasks) if task.wait is not None and task.wait.resource is not None), 0
    )
    return tasks[first:] + tasks[:first]


def _held_for(resource: Resource, holder: TaskView) -> str | None:
    return next((one.location for one in resource.holders if one.task == holder.key), None)


def _told_apart(ring: list[TaskView]) -> list[str]:
    """Return what each task is called, with its name where others are called the same."""
    counts = Counter(task.label for task in ring)
    alike = {label for label, count in counts.items() if count > 1}
    return [
        f"`{task.label}`" + (f" ({task.name})" if task.label in alike and task.name != task.label else "")
        for task in ring
    ]


def _step(case: Case, task: TaskView, title: str, following: TaskView, next_title: str) -> str:
    resource = case.resource(task)
    at = "" if task.at is None else f" at {place(task.at.location)}"
    if resource is None:
        return f"{title} waits{at} for the end of {next_title}"
    since = _held_for(resource, following)
    taken = "" if since is None else f" (taken at {place(since)})"
    return f"{title} wants {resource.kind} `{resource.name}`{at}, which {next_title} holds{taken}"


def _steps(case: Case, ring: list[TaskView]) -> str:
    titles = _told_apart(ring)
    pairs = [(at, (at + 1) % len(ring)) for at in range(len(ring))]
    return "; ".join(_step(case, ring[at], titles[at], ring[to], titles[to]) for at, to in pairs)


def _cycle(case: Case, ring: list[TaskView]) -> Finding:
    resource = next((found for found in map(case.resource, ring) if found is not None), None)
    message = (
        f"Deadlock of {names(ring)}: {_steps(case, ring)}. "
        "Take the locks in the same order everywhere, or do not wait for a task while holding a lock that it needs."
    )
    return case.finding("LOCK_CYCLE", message, ring, resource)


def _relock(case: Case, task: TaskView) -> Finding:
    resource = case.resource(task)
    name = "" if resource is None else resource.name
    since = None if resource is None else _held_for(resource, task)
    at = "?" if task.at is None else place(task.at.location)
    function = "?" if task.at is None else task.at.function
    message = (
        f"`{task.label}` waits at {at} in {function} for lock `{name}`, which it holds itself since {place(since)}: "
        "such a lock cannot be taken twice. Call a variant of the inner function that expects the lock to be held."
    )
    return case.finding("SELF_RELOCK", message, [task], resource)


def _nested(case: Case, members: list[TaskView], slots: list[TaskView]) -> Finding:
    resource = case.resource(slots[0])
    if resource is None:
        raise AssertionError("a task that waits for a slot waits for a limiter")
    waiting = [case.snapshot.tasks[key] for key in resource.waiters if key in case.dead]
    inner = [task for task in waiting if task.key in {one.key for one in members}] or waiting
    holders = [case.snapshot.tasks[one.task] for one in resource.holders if one.task in case.snapshot.tasks]
    outside = dict.fromkeys(one.function for one in resource.holders)
    took = dict.fromkeys(place(one.location) for one in resource.holders)
    wanted = dict.fromkeys(task.starting or called(task) for task in inner if task.at is not None)
    size = resource.size if resource.size is not None else len(resource.holders)
    first = inner[0].at
    inside = ", ".join(name if "`" in name else f"`{name}`" for name in wanted)
    at = "?" if first is None else place(first.location)
    message = (
        f"All {size} slots of {resource.kind} `{resource.name}` are held by {names(holders)} (in {', '.join(outside)}, "
        f"{', '.join(took)}), which wait for {inside} ({names(inner)}), waiting at {at} for a slot of the same one. "
        "Give the inner calls a limiter of their own, or let go of the slot before waiting for them."
    )
    return case.finding(
        "NESTED_LIMITER",
        message,
        [*slots, *(task for task in inner if task not in slots)],
        resource,
        others=holders,
    )


def _awaits(case: Case, ring: list[TaskView]) -> Finding:
    if len(ring) == 1:
        told = f"`{ring[0].label}` awaits its own end"
    else:
        told = f"Deadlock of {names(ring)}: {_steps(case, ring)}"
    message = f"{told}. One of them has to go on without the other's result."
    return case.finding("AWAIT_CYCLE", message, ring, None)
