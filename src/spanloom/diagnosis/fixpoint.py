"""Which tasks can still make progress: the least fixpoint of an AND/OR wait-for graph.

A task that waits for a group waits for each of its children (AND). One that waits for an event waits for any one of
those who may set it (OR). In an AND/OR graph a cycle is neither sufficient nor necessary for a deadlock (Knapp 1987).
So what can progress is computed, and every other task is dead. With OR alone, the dead are Holt's knot.

*Start*: nodes that need nobody: tasks that run, are ready, sleep or wait for I/O; actors without `needs`; tasks with a
deadline; resources that are free. *Step*: a node has a threshold, and progresses as soon as so many of its inputs do
(1: OR, all: AND). Each node is expanded once, so the time is linear in the edges (Dowling and Gallier 1984).

What is unknown counts as able to progress: an unknown awaitable, or, while a task runs whose stack cannot be read, a
lock without a holder that is sure.

Tasks that wait for the same share one "line" node, and the givers of a wait share one "any of" node: a snapshot has the
same `frozenset` object wherever the givers are the same, so that its identity names the node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable

from spanloom.diagnosis.model import HELD, Resource, Snapshot, TaskView, Wait
from spanloom.diagnosis.pace import in_slices, step

__all__ = ["progress"]

_BY_ITSELF = frozenset({"sleep", "io"})
_CANCELLED_WITH = frozenset({"task", "group", "completed"})

_Node = Hashable
"""A task or an actor, by its key; or a tuple whose first item says what the node is."""


def progress(snapshot: Snapshot, *, cancels: bool = True) -> frozenset[int]:
    """Return the keys of the tasks and actors that can make progress.

    Args:
        snapshot: What was seen.
        cancels: Whether a task progresses, too, if a living task or actor may cancel it. A deadline always counts.
    """
    fixpoint = _Fixpoint(snapshot, cancels)
    fixpoint.build()
    return frozenset(node for node in fixpoint.spread() if type(node) is int)


class _Fixpoint:
    def __init__(self, snapshot: Snapshot, cancels: bool) -> None:
        self._snapshot = snapshot
        self._cancels = cancels
        self._unseen = any(task.state == "running" for task in snapshot.tasks.values())
        self._missing: dict[_Node, int] = {}
        self._followers: defaultdict[_Node, list[_Node]] = defaultdict(list)
        self._fresh: list[_Node] = []

    def build(self) -> None:
        """Add the nodes and edges of all actors and tasks."""
        for key, actor in self._snapshot.actors.items():
            self._node(key, actor.needs, 1 if actor.needs else 0)
        for key, task in in_slices(self._snapshot.tasks.items()):
            if task.wait is None or task.wait.kind in _BY_ITSELF:
                self._node(key, (), 0)
            else:
                self._waiting(task, task.wait)

    def spread(self) -> set[_Node]:
        """Return the least fixpoint: the nodes that progress."""
        live: set[_Node] = set()
        fresh, missing = self._fresh, self._missing
        while fresh:
            node = fresh.pop()
            if node in live:
                continue
            live.add(node)
            if not len(live) & 255:
                step()
            for follower in self._followers.get(node, ()):
                left = missing[follower] = missing.get(follower, 1) - 1
                if left <= 0:
                    fresh.append(follower)
        return live

    def _node(self, node: _Node, inputs: Iterable[_Node], needed: int = 1) -> _Node:
        """Add a node that progresses when at least `needed` of `inputs` do; with 0, at once."""
        self._missing[node] = needed
        for one in inputs:
            self._followers[one].append(node)
        if needed <= 0:
            self._fresh.append(node)
        return node

    def _waiting(self, task: TaskView, wait: Wait) -> None:
        inner = wait.targets if wait.kind in _CANCELLED_WITH and wait.cancels else ()
        cancellers = task.cancellers if self._cancels else frozenset()
        if task.deadline and not inner:
            self._node(task.key, (), 0)
            return
        ways = [self._wait(task, wait)]
        if cancellers and not inner:
            ways.append(self._any_of(cancellers))
        if inner:
            ways.append(self._cancelled(task, cancellers, inner))
        self._node(task.key, ways)

    def _cancelled(self, task: TaskView, cancellers: frozenset[int], inner: Iterable[int]) -> _Node:
        """Return the node "`task` is cancelled".

        A cancel travels down the awaits: it cancels each task of `inner`, which progresses by that, and so on. So the
        deadline of any waiter upstream ends the whole chain.
        """
        cancelled = "cancelled", task.key
        if task.deadline:
            self._fresh.append(cancelled)
        if cancellers:
            self._followers[self._any_of(cancellers)].append(cancelled)
        for target in in_slices(inner):
            if target in self._snapshot.tasks:
                self._followers[cancelled].append(("cancelled", target))
                self._followers["cancelled", target].append(target)
        return cancelled

    def _wait(self, task: TaskView, wait: Wait) -> _Node:
        """Return the node that progresses when what `task` waits for can happen."""
        if wait.targets or wait.kind in _CANCELLED_WITH:
            ends = [self._end(target) for target in in_slices(dict.fromkeys(wait.targets))]
            open_ends = [end for end in ends if end is not None]
            needed = len(open_ends) if wait.needs == "all" else int(len(open_ends) == len(ends) > 0)
            return self._node(("ends", task.key), open_ends, needed)
        resource = self._snapshot.resources.get(wait.resource or 0)
        if resource is None:
            return self._node(("nothing", task.key), (), 0)
        line = "line", resource.key, wait.kind
        if line not in self._missing:
            self._line(line, resource, wait.kind)
        return line

    def _end(self, target: int) -> _Node | None:
        """Return the node that progresses when `target` can end; ``None`` if it is unknown, and so may end any time."""
        if target in self._snapshot.tasks:
            return target
        resource = self._snapshot.resources.get(target)
        return None if resource is None else self._any_of(resource.actors.get("future", frozenset()))

    def _any_of(self, keys: frozenset[int]) -> _Node:
        """Return the OR node of `keys`; by identity, as a look uses the same set again and again."""
        node = "any of", id(keys)
        return node if node in self._missing else self._node(node, keys)

    def _line(self, line: _Node, resource: Resource, kind: str) -> None:
        """Add the node of all who wait for `resource` in the way `kind`.

        A taken lock with a sure holder needs that holder; one whose holder is inferred or unseen needs a holder or a
        giver. A semaphore or limiter needs a free permit, a holder or a giver. A barrier needs as many
        givers as parties are missing, or one that can start tasks. Everything else needs a giver.
        """
        givers = resource.actors.get(kind, frozenset())
        holders = [holder.task for holder in resource.holders]
        sure = [holder.task for holder in resource.holders if holder.sure]
        is_hidden = self._unseen and not sure if kind in HELD else not self._snapshot.complete
        if is_hidden and (kind in HELD or kind == "loop"):
            self._node(line, (), 0)
        elif kind == "lock":
            ways: list[_Node] = [*sure] if sure else [self._any_of(givers), *holders]
            self._node(line, ways, 0 if resource.used == 0 else 1)
        elif kind in HELD:
            self._node(line, [self._any_of(givers), *holders], 0 if resource.free else 1)
        elif kind == "barrier" and resource.size is not None:
            starters = resource.actors.get(
                "parties", frozenset()
            )  # any one of these may start all that are missing
            others = [key for key in givers if key not in self._snapshot.tasks or key in starters]
            missing = max(1, resource.size - len(resource.waiters))
            parties = self._node(("parties", resource.key), givers, missing)
            self._node(line, [parties, *others])
        else:
            self._node(line, [self._any_of(givers)])
