"""A snapshot with what follows from it: the live and the dead, and which of the dead are the cause of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import cached_property
from pathlib import PurePath

from spanloom.diagnosis.codes import CODES
from spanloom.diagnosis.finding import Finding, Level
from spanloom.diagnosis.fixpoint import progress
from spanloom.diagnosis.graph import Edges, Node, components, waits_of
from spanloom.diagnosis.model import HELD, EndedTask, Holder, Resource, Snapshot, TaskView
from spanloom.diagnosis.waits import GIVERS, TAKERS

__all__ = ["Case", "called", "in_functions", "names", "place", "quoted", "where"]

_NAMED = 5
"""Tasks that a sentence names before it counts the others."""
_CALLED = 3
"""Functions that a sentence names of one await chain."""
_FEW = 3
"""So many tasks must all have been there in the earlier look; of those beyond, half may have come since."""


class Case:
    """What the rules share.

    Args:
        snapshot: What was seen.
        earlier: An earlier look, for how long it has been so.
    """

    def __init__(self, snapshot: Snapshot, earlier: Snapshot | None = None) -> None:
        self.snapshot = snapshot
        self._earlier = earlier

    @cached_property
    def live(self) -> frozenset[int]:
        """Keys of the tasks and actors that can progress, or may be cancelled by one that can."""
        return progress(self.snapshot)

    @cached_property
    def dead(self) -> frozenset[int]:
        """Keys of the tasks that will never get what they wait for. A living task may still cancel them: see `live`."""
        return frozenset(self.snapshot.tasks) - progress(self.snapshot, cancels=False)

    @cached_property
    def edges(self) -> Edges:
        """The wait-for graph of the dead, see `spanloom.diagnosis.graph`."""
        return waits_of(self.snapshot, self.dead)

    @cached_property
    def leading_to(self) -> dict[Node, list[Node]]:
        """The same edges reversed: for each node, the nodes that lead to it."""
        found: dict[Node, list[Node]] = {}
        for node, targets in self.edges.items():
            for target in targets:
                found.setdefault(target, []).append(node)
        return found

    @cached_property
    def causes(self) -> list[list[TaskView]]:
        """The tasks of each strongly connected component that no edge leaves: they wait for nobody else.

        Every other dead task waits, directly or not, for one of these.
        """
        found = []
        for component in components(self.edges):
            members = set(component)
            if all(target in members for node in component for target in self.edges[node]):
                found.append([self.snapshot.tasks[node] for node in component if isinstance(node, int)])
        return found

    @cached_property
    def awaited(self) -> dict[int, list[TaskView]]:
        """For each task the dead tasks that wait for its end."""
        found: dict[int, list[TaskView]] = {}
        for key in self.dead:
            task = self.snapshot.tasks[key]
            for target in task.targets:
                found.setdefault(target, []).append(task)
        return found

    @cached_property
    def _waiting_for(self) -> dict[int, list[TaskView]]:
        """For each task those who wait for its end."""
        found: dict[int, list[TaskView]] = {}
        for task in self.snapshot.tasks.values():
            for target in () if task.wait is None else task.wait.targets:
                found.setdefault(target, []).append(task)
        return found

    def in_own_code(self, tasks: Iterable[TaskView]) -> list[TaskView]:
        """Return `tasks`, those without code of the program's own replaced by their waiters, if they have any.

        So it is with the task that ``gather(event.wait())`` makes.
        """
        found: dict[int, TaskView] = {}
        for task in tasks:
            todo, passed = [task], {task.key}
            while todo:
                one = todo.pop()
                awaiting = [] if one.depth >= 0 else self._waiting_for.get(one.key, [])
                if not awaiting:
                    found[one.key] = one
                todo += [other for other in awaiting if other.key not in passed]
                passed.update(other.key for other in awaiting)
        return list(found.values())

    def waits_for_one_of(self, key: int, others: AbstractSet[int]) -> bool:
        """Return whether a task waits, directly or through other tasks, for the end of one of `others`."""
        todo, passed = [key], {key}
        while todo:
            task = self.snapshot.tasks.get(todo.pop())
            for target in () if task is None or task.wait is None else task.wait.targets:
                if target in others:
                    return True
                if target not in passed:
                    passed.add(target)
                    todo.append(target)
        return False

    def resource(self, task: TaskView) -> Resource | None:
        """Return the resource that a task waits for, if it waits for one."""
        return self.snapshot.resources.get((task.wait.resource if task.wait is not None else None) or 0)

    def failed(self, resource: Resource, kind: str) -> list[EndedTask]:
        """Return the ended tasks that could have ended a wait for `resource`.

        Order: those that failed, those that were cancelled, the others. A task that returned has no variables left, so
        it is judged by the names in its code.
        """
        givers, called = _giving(kind), _last_name(resource.name)
        found = [
            one
            for one in self.snapshot.ended
            if (one.error is not None or not one.gone)
            and resource.key not in one.waited
            and (
                (resource.key, kind) in one.gave or (called in one.names and not givers.isdisjoint(one.names))
            )
        ]
        return sorted(
            found,
            key=lambda one: (one.error is None, not one.cancelled, (resource.key, kind) not in one.gave),
        )

    def past(self, resource: Resource, kind: str) -> list[EndedTask]:
        """Return the ended tasks that may have had to do with a wait for `resource`, judged by names alone.

        This is no evidence that the wait cannot end, only a hint where to look. Those that failed come first, then
        those whose own function uses the names, then those that may call one that does.
        """
        givers, called = _giving(kind), _last_name(resource.name)
        found = []
        for one in self.snapshot.ended:
            if resource.key in one.waited:
                continue
            if _uses(one.names, called, givers):
                found.append((one, False))
            elif any(_uses(names, called, givers) for names in one.through):
                found.append((one, True))
        return [one for one, _ in sorted(found, key=lambda each: (each[0].error is None, each[1]))]

    def siblings(self, members: Iterable[TaskView]) -> list[EndedTask]:
        """Return the ended tasks that ran the same functions as `members`, those that failed first."""
        functions = {task.function for task in members}
        found = [one for one in self.snapshot.ended if one.function in functions]
        return sorted(found, key=lambda one: one.error is None)

    def functions(self, resource: Resource, kind: str) -> list[str]:
        """Return the names of the program's functions that would end a wait for `resource`, judged by names alone."""
        givers, called = GIVERS.get(kind) or frozenset({"wait"}), _last_name(resource.name)
        return [one.name for one in self.snapshot.functions if _uses(one.names, called, givers)]

    def level(self, members: Iterable[TaskView], resources: Iterable[Resource]) -> Level:
        """Return how sure it is that `members` never get what they wait for.

        PROVEN only if the search was complete, nobody alive can reach one of `resources`, and nobody alive may cancel
        one of `members`; else LIKELY.
        """
        knowing = {
            id(resource.known_to): resource.known_to for resource in resources
        }  # often the same set for many resources
        cancelling = {id(task.cancellers): task.cancellers for task in members}
        known = any(not self.live.isdisjoint(keys) for keys in knowing.values())
        cancelled = any(not self.live.isdisjoint(keys) for keys in cancelling.values())
        return "LIKELY" if known or cancelled or not self.snapshot.complete else "PROVEN"

    def since(self, members: Collection[TaskView], *, growing: bool = False) -> float | None:
        """Return for how many seconds, at least, `members` have not moved.

        ``None`` without an earlier look, if one of them has moved, or if too many are new.

        Args:
            members: Tasks.
            growing: Whether up to half of those beyond the first three may be new, as more requests that join the line.
        """
        if self._earlier is None:
            return None
        stood = 0
        for task in members:
            before = self._earlier.tasks.get(task.key)
            if before is None or before.wait is None:
                continue
            if task.wait is None or before.wait.awaited != task.wait.awaited:
                return None
            stood += 1
        missing = len(members) - stood
        if missing > (max(0, len(members) - _FEW) // 2 if growing else 0):
            return None
        return round(self.snapshot.at_s - self._earlier.at_s, 3)

    def finding(
        self,
        code: str,
        message: str,
        members: list[TaskView],
        resource: Resource | None,
        *,
        location: str | None = None,
        level: Level | None = None,
        others: Iterable[TaskView] = (),
    ) -> Finding:
        """Return a finding about `members`; without a `location`, the first of them gives the place."""
        at = members[0].at if members else None
        resources = [found for found in map(self.resource, members) if found is not None]
        return Finding(
            code,
            message,
            CODES[code].severity,
            level or self.level(members, resources),
            tuple(dict.fromkeys(task.label for task in (*members, *others))),
            None if resource is None else resource.name,
            location or (at.location if at is not None and at.own else None),
            self.since(members, growing=True),
            tuple(self.evidence((*members, *others))),
        )

    def evidence(self, members: Iterable[TaskView]) -> Iterator[str]:
        """Yield, as text, the await chains and holders that a finding rests on; of 20 tasks at most."""
        seen: set[int] = set()
        for task in members:
            if task.key in seen or len(seen) >= 20:
                continue
            seen.add(task.key)
            chain = " > ".join(
                f"{frame.function} ({place(frame.location)})" for frame in task.chain if frame.own
            )
            resource = self.resource(task)
            what = "" if resource is None else f" waits for {resource.type} {resource.name}"
            yield f"{task.label}: {chain}{what}"
            for holder in () if resource is None else resource.holders:
                yield f"  held by {self.label(holder.task)} since {place(holder.location)}"

    def label(self, key: int) -> str:
        """Return the label of a task in backticks."""
        task = self.snapshot.tasks.get(key)
        return "a task" if task is None else f"`{task.label}`"

    def holder(self, holder: Holder) -> str:
        """Return who holds something, and where it took it."""
        return f"{self.label(holder.task)} ({place(holder.location)})"


def _giving(kind: str) -> frozenset[str]:
    """Return the names of the methods that end a wait and, for what is held, those that make others wait."""
    return (GIVERS.get(kind) or frozenset({"wait"})) | (TAKERS if kind in HELD else frozenset())


def _uses(names: frozenset[str], called: str, givers: frozenset[str]) -> bool:
    """Return whether `names` has a giver and the name `called`; leading underscores aside: ``_outbox``, ``outbox``."""
    if givers.isdisjoint(names):
        return False
    return called in names or called.lstrip("_") in {name.lstrip("_") for name in names}


def _last_name(name: str) -> str:
    """Return the last part of a resource's dotted name, without an index."""
    return name.split("[", 1)[0].rpartition(".")[2]


def place(location: str | None) -> str:
    """Return ``file:line`` with the file's last part only."""
    if not location:
        return "?"
    file, _, line = location.rpartition(":")
    return f"{PurePath(file).name}:{line}"


def where(task: TaskView) -> str:
    """Return where a task is, as `place` says it."""
    return place(None if task.at is None else task.at.location)


def quoted(resource: Resource) -> str:
    """Return a space and the name of a resource in backticks; empty if its only name is that of its type."""
    return "" if resource.name == resource.type else f" `{resource.name}`"


def called(task: TaskView) -> str:
    """Return the program's functions in a task's await chain, innermost first, three at most.

    More than one, as a wrapper around a primitive says little without its caller.
    """
    own = dict.fromkeys(frame.function for frame in reversed(task.chain) if frame.own)
    return " in ".join(f"`{name}`" for name in list(own)[:_CALLED])


def in_functions(tasks: Iterable[TaskView]) -> str:
    """Return in parentheses the functions in which tasks wait; empty where their labels say that already."""
    told: dict[str, None] = {}
    for task in tasks:
        where = called(task)
        if where and not f".{task.label}`".endswith(f".{where[1:]}"):
            told[where] = None
    more = f" and {len(told) - _CALLED} more" if len(told) > _CALLED else ""
    return f" (in {', '.join(list(told)[:_CALLED])}{more})" if told else ""


def names(tasks: Iterable[TaskView]) -> str:
    """Return the labels of tasks as a list in words: equal ones counted, and those after the fifth only counted."""
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task.label] = counts.get(task.label, 0) + 1
    parts = [f"`{label}`" if count == 1 else f"{count} tasks `{label}`" for label, count in counts.items()]
    if len(parts) > _NAMED:
        parts = [*parts[:_NAMED], f"{len(parts) - _NAMED} more"]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nobody"
