"""The wait-for graph: who can still go on, and for whom the others wait.

A task that waits for all children of a group waits for each of them (AND); one that waits for an event waits
for any one of those who might set it (OR). In such a graph a cycle neither proves a deadlock nor does a
deadlock need one (Knapp 1987), so what can go on is computed as a least fixpoint, from what moves by itself;
the rest is dead. For OR alone that is Holt's knot.
"""

from __future__ import annotations

from collections.abc import Iterator

from spanloom.diagnosis.model import Resource, Snapshot, TaskView, Wait

__all__ = ["blockers", "components", "progress"]

_BY_ITSELF = frozenset({"sleep", "io"})
_HELD = frozenset({"lock", "semaphore", "limiter"})
"""What a task that runs at the moment of the look may hold, without that it could be seen."""
_CANCELLED_WITH = frozenset({"task", "group", "completed"})


def progress(snapshot: Snapshot, *, cancels: bool = True) -> frozenset[int]:
    """Return the keys of the tasks and actors that can go on.

    Args:
        snapshot: What was seen.
        cancels: Whether a task counts as able to go on because one that is alive may cancel it. A deadline
            always counts.
    """
    return frozenset(_Fixpoint(snapshot, cancels).run())


class _Fixpoint:
    def __init__(self, snapshot: Snapshot, cancels: bool) -> None:
        self.snapshot = snapshot
        self.cancels = cancels
        self.live: set[int] = set()
        self.unseen = any(task.state == "running" for task in snapshot.tasks.values())

    def run(self) -> set[int]:
        tasks, actors, live = self.snapshot.tasks, self.snapshot.actors, self.live
        live.update(key for key, actor in actors.items() if not actor.needs)
        waiting = {}
        for key, task in tasks.items():
            if task.wait is None or task.wait.kind in _BY_ITSELF:
                live.add(key)
            else:
                waiting[key] = task
        moved = True
        while moved:
            moved = False
            for key, actor in actors.items():
                if key not in live and not live.isdisjoint(actor.needs):
                    live.add(key)
                    moved = True
            for key, task in list(waiting.items()):
                if key not in waiting:  # cancelled together with one before it
                    continue
                cancelled = task.deadline or (self.cancels and not live.isdisjoint(task.cancellers))
                if cancelled or self._can_end(task, task.wait):
                    live.add(key)
                    del waiting[key]
                    moved = True
                if cancelled:
                    self._cancel_inner(task, waiting)
        return live

    def _cancel_inner(self, task: TaskView, waiting: dict[int, TaskView]) -> None:
        """Take it that a task which is cancelled cancels what it awaits."""
        todo = [task]
        while todo:
            wait = todo.pop().wait
            if wait is not None and wait.kind in _CANCELLED_WITH and wait.cancels:
                for target in wait.targets:
                    inner = waiting.pop(target, None)
                    if inner is not None:
                        self.live.add(target)
                        todo.append(inner)

    def _can_end(self, task: TaskView, wait: Wait | None) -> bool:
        if wait is None:
            return True
        live = self.live
        if wait.targets or wait.kind in _CANCELLED_WITH:
            able = [self._target_can(target) for target in wait.targets]
            return all(able) if wait.needs == "all" else any(able) or not able
        resource = self.snapshot.resources.get(wait.resource or 0)
        if resource is None:
            return True
        return self._resource_can(task, wait, resource, live)

    def _target_can(self, target: int) -> bool:
        if target in self.snapshot.tasks:
            return target in self.live
        resource = self.snapshot.resources.get(target)
        return resource is None or not self.live.isdisjoint(resource.actors.get("future", ()))

    def _resource_can(self, task: TaskView, wait: Wait, resource: Resource, live: set[int]) -> bool:
        givers = resource.actors.get(wait.kind, frozenset())
        if wait.kind in _HELD and self.unseen and not any(one.sure for one in resource.holders):
            return True
        if wait.kind == "lock":
            if resource.used == 0:
                return True
            sure = [holder.task for holder in resource.holders if holder.sure]
            if sure:
                return not live.isdisjoint(sure)
            return not live.isdisjoint(givers) or any(holder.task in live for holder in resource.holders)
        if wait.kind in ("semaphore", "limiter"):
            return (
                bool(resource.free)
                or not live.isdisjoint(givers)
                or any(holder.task in live for holder in resource.holders)
            )
        if wait.kind == "barrier":
            return self._barrier_can(resource, givers, live)
        return not live.isdisjoint(givers)

    def _barrier_can(self, resource: Resource, givers: frozenset[int], live: set[int]) -> bool:
        able = live & givers
        if any(key not in self.snapshot.tasks for key in able) or resource.size is None:
            return bool(able)
        return bool(able) and len(able) + len(resource.waiters) >= resource.size


def blockers(snapshot: Snapshot, task: TaskView, dead: frozenset[int]) -> Iterator[tuple[int, str]]:
    """Yield ``(task key, how)`` for each dead task that `task` waits for: ``"holds"``, ``"ends"`` or ``"gives"``."""
    wait = task.wait
    if wait is None:
        return
    yield from _behind_targets(snapshot, task.key, wait, dead)
    resource = snapshot.resources.get(wait.resource or 0)
    if resource is None:
        return
    for holder in resource.holders:
        if holder.task in dead:
            yield holder.task, "holds"
    if wait.kind == "lock" and resource.holders:
        return
    for key in resource.actors.get(wait.kind, ()):
        if key in dead and key != task.key and not _same_wait(snapshot.tasks[key].wait, wait):
            yield key, "gives"


def _behind_targets(
    snapshot: Snapshot, waiting: int, wait: Wait, dead: frozenset[int]
) -> Iterator[tuple[int, str]]:
    for target in wait.targets:
        if target in dead:
            yield target, "ends"
        elif target in snapshot.resources:
            givers = snapshot.resources[target].actors.get("future", frozenset())
            yield from ((key, "gives") for key in givers if key in dead and key != waiting)


def _same_wait(other: Wait | None, wait: Wait) -> bool:
    """Return whether who could give waits in the same line, or is idle: it gives when it has been given."""
    if other is None or other.resource != wait.resource:
        return False
    return other.kind == wait.kind or (wait.kind, other.kind) == ("join", "get")


def components(edges: dict[int, list[int]]) -> list[list[int]]:
    """Return the strongly connected components, those first that lead to no other (Tarjan 1972, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[list[int]] = []
    for root, first in edges.items():
        if root in index:
            continue
        work = [(root, iter(first))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in edges:
                    continue
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(edges[successor])))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    found.append(component)
    return found
