"""Rings: tasks that wait for each other by locks, slots of a limiter, or awaits alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from spanloom.diagnosis.case import Case, called, in_functions, names, place, where
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.graph import Edges, Givers, Line, Node, components
from spanloom.diagnosis.model import Resource, TaskView

__all__ = ["ring_of", "rings"]

_SLOTS = frozenset({"semaphore", "limiter"})
_VISITS = 100_000
"""Tasks that are visited in search of a shorter ring, about."""


def rings(case: Case, members: list[TaskView]) -> Iterator[Finding]:
    """Yield the finding on a shortest ring of locks, slots and awaits inside of a component, if it has one.

    Slots of a single limiter, no lock: NESTED_LIMITER. One task and its own lock: SELF_RELOCK. Any other ring with
        a lock
    or slots: LOCK_CYCLE. Awaits alone: AWAIT_CYCLE.
    """
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
    """Return a shortest ring among `members`: each waits for what the next one holds, or for its end.

    Breadth-first search from each task, up to `_VISITS` visits in all. Starts at a task that waits for a resource, if
    one does; empty if there is no ring.
    """
    edges = _held_up(case, members)
    turning = [
        node
        for part in components(edges)
        if len(part) > 1 or part[0] in edges[part[0]]
        for node in part
        if isinstance(node, int)
    ]
    best: list[int] = []
    visited = 0
    for start in turning:
        ring, visits = _through(edges, start)
        visited += visits
        if ring and (not best or len(ring) < len(best)):
            best = ring
        if len(best) == 1 or visited > _VISITS:
            break
    tasks = [case.snapshot.tasks[key] for key in best]
    first = next(
        (at for at, task in enumerate(tasks) if task.wait is not None and task.wait.resource is not None), 0
    )
    return tasks[first:] + tasks[:first]


def _held_up(case: Case, members: list[TaskView]) -> Edges:
    """Return the edges by which `members` wait for each other's end, or for a holder; not for mere givers.

    If a taken lock has no visible holder, those count as holders who could release it and want another lock.
    """
    inside = {task.key for task in members}
    edges: Edges = {}
    for key in inside:
        edges[key] = [node for node in case.edges[key] if isinstance(node, Line) or node in inside]
        for line in edges[key]:
            if not isinstance(line, Line) or line in edges:
                continue
            unseen = _is_held_unseen(case, line)
            edges[line] = [
                node for node in case.edges[line] if node in inside or (unseen and isinstance(node, Givers))
            ]
            for givers in edges[line]:
                if isinstance(givers, Givers) and givers not in edges:
                    edges[givers] = [
                        node for node in case.edges[givers] if node in inside and _wants_lock(case, node)
                    ]
    return edges


def _is_held_unseen(case: Case, line: Line) -> bool:
    """Return whether one of those who could release a lock must be its holder.

    So it is if no holder is seen, and no ended task may have taken it. Its holder took it in a way that leaves no
    trace, say by a bound method that it was given.
    """
    resource = case.snapshot.resources[line.resource]
    return line.kind == "lock" and not resource.holders and not case.failed(resource, "lock")


def _wants_lock(case: Case, node: Node) -> bool:
    """Return whether a node is a task that waits for a lock, and may have taken another one before."""
    task = case.snapshot.tasks[node] if isinstance(node, int) else None
    return task is not None and task.wait is not None and task.wait.kind == "lock" and not task.began


def _through(edges: Edges, start: int) -> tuple[list[int], int]:
    """Return a shortest ring through `start`, empty if there is none, and how many tasks were visited."""
    came: dict[int, int] = {}
    passed: dict[Node, int] = {}
    outermost = [start]
    while outermost and start not in came:
        following = []
        for key in outermost:
            for target in _targets(edges, key, key, passed):
                if target not in came:
                    came[target] = key
                    following.append(target)
        outermost = following
    if start not in came:
        return [], len(came)
    ring = [start]
    while came[ring[-1]] != start:
        ring.append(came[ring[-1]])
    return ring[::-1] if len(ring) > 1 else ring, len(came)


def _targets(edges: Edges, at: Node, key: int, passed: dict[Node, int]) -> Iterator[int]:
    """Yield the tasks that a task waits for, through lines and givers. Each such node is expanded once in a search.

    Args:
        edges: The wait-for graph.
        at: The task, or the line or givers node to expand.
        key: The task.
        passed: By line and givers node, the task from which it was first expanded; updated.
    """
    for node in edges[at]:
        if isinstance(node, int):
            if node != key or not isinstance(at, Givers):  # one that waits for the lock is not its holder
                yield node
        elif node not in passed:
            passed[node] = key
            yield from _targets(edges, node, key, passed)
        elif isinstance(node, Givers) and passed[node] != key and passed[node] in edges[node]:
            yield passed[node]


def _held_for(resource: Resource, holder: TaskView) -> str | None:
    return next((one.location for one in resource.holders if one.task == holder.key), None)


def _told_apart(ring: list[TaskView]) -> list[str]:
    """Return the label of each task in backticks, with its name where labels are equal."""
    counts = Counter(task.label for task in ring)
    alike = {label for label, count in counts.items() if count > 1}
    return [
        f"`{task.label}`" + (f" ({task.name})" if task.label in alike and task.name != task.label else "")
        for task in ring
    ]


def _step(case: Case, task: TaskView, title: str, following: TaskView, next_title: str) -> str:
    resource = case.resource(task)
    at = in_functions([task]) + ("" if task.at is None else f" at {place(task.at.location)}")
    if resource is None:
        return f"{title} waits{at} for the end of {next_title}"
    since = _held_for(resource, following)
    what = f"{title} wants {resource.kind} `{resource.name}`{at}, which "
    if since is None:
        others = resource.actors.get("lock", frozenset()) & case.dead - {task.key, following.key}
        only = "only " if others.issubset(resource.waiters) else "nobody is seen to hold and "
        return f"{what}{only}{next_title} could release"
    return f"{what}{next_title} holds (taken at {place(since)})"


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
    at = where(task)
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
    first = case.in_own_code(inner)[0].at  # with a stream, a task of ours waits for the slot
    calls = ", ".join(name if "`" in name else f"`{name}`" for name in wanted)
    at = "?" if first is None else place(first.location)
    slots_are = "The only slot" if size == 1 else f"All {size} slots"
    message = (
        f"{slots_are} of {resource.kind} `{resource.name}` {'is' if size == 1 else 'are'} held by {names(holders)} "
        f"(in {', '.join(outside)}, {', '.join(took)}), which {'waits' if len(holders) == 1 else 'wait'} for {calls} "
        f"({names(inner)}), waiting at {at} for a slot of the same one. "
        "Give the inner calls a limiter of their own, or let go of the slot before waiting for them."
    )
    return case.finding(
        "NESTED_LIMITER",
        message,
        [*slots, *(task for task in inner if task not in slots)],
        resource,
        location=first.location if first is not None and first.own else None,
        others=holders,
    )


def _awaits(case: Case, ring: list[TaskView]) -> Finding:
    if len(ring) == 1:
        told = f"`{ring[0].label}` awaits its own end"
    else:
        told = f"Deadlock of {names(ring)}: {_steps(case, ring)}"
    message = f"{told}. One of them has to go on without the other's result."
    return case.finding("AWAIT_CYCLE", message, ring, None)
