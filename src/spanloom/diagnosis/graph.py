"""The wait-for graph of the dead tasks, and its strongly connected components (the rings).

An edge leads from a task to the dead tasks it waits for. `n` tasks that wait for one resource with `m` possible givers
would make `n * m` edges. So two kinds of nodes stand between tasks: a `Line` for all who wait for one resource in one
way, and a `Givers` for all who could end such a wait. That makes `n + m` edges.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from spanloom.diagnosis.model import Resource, Snapshot, Wait
from spanloom.diagnosis.pace import in_slices

__all__ = ["Edges", "Givers", "Line", "Node", "components", "waits_of"]


class Line(NamedTuple):
    """All who wait for one resource in one way. It leads to the resource's holders and to its `Givers`."""

    resource: int
    kind: str


class Givers(NamedTuple):
    """All who could end a wait. It leads to each of them.

    Attributes:
        of: What makes it unique: the identity of the set of givers, or the `Line` it was made for.
    """

    of: Hashable


Node = int | Line | Givers
"""A task by its key, or a node between tasks. A task that awaits other tasks leads to them directly."""
Edges = dict[Node, list[Node]]
_N = TypeVar("_N", bound=Hashable)


def waits_of(snapshot: Snapshot, dead: frozenset[int]) -> Edges:
    """Return the edges among the dead: each task of `dead` is a node; lines and givers that lead to nobody are not.

    Args:
        snapshot: What was seen.
        dead: Keys of the tasks that can never go on.
    """
    graph = _Graph(snapshot, dead)
    for key in in_slices(dead):
        wait = snapshot.tasks[key].wait
        graph.edges[key] = [] if wait is None else list(graph.behind(wait))
    return graph.edges


class _Graph:
    def __init__(self, snapshot: Snapshot, dead: frozenset[int]) -> None:
        self.edges: Edges = {}
        self._snapshot = snapshot
        self._dead = dead
        self._lines: dict[Line, Line | None] = {}
        self._givers: dict[Givers, Givers | None] = {}
        self._waiting_threads = {
            key: [one for one in actor.needs if one in dead]
            for key, actor in snapshot.actors.items()
            if actor.kind in ("thread", "pool", "caller")
        }

    def behind(self, wait: Wait) -> Iterator[Node]:
        """Yield the targets of the edges of a task with this wait."""
        for target in in_slices(dict.fromkeys(wait.targets)):
            if target in self._dead:
                yield target
            elif target in self._snapshot.resources:
                node = self._all(self._snapshot.resources[target].actors.get("future", frozenset()))
                if node is not None:
                    yield node
        resource = self._snapshot.resources.get(wait.resource or 0)
        if resource is not None:
            line = Line(resource.key, wait.kind)
            if line not in self._lines:
                self._lines[line] = self._line(line, resource)
            if self._lines[line] is not None:
                yield line

    def _line(self, line: Line, resource: Resource) -> Line | None:
        found: list[Node] = [
            task for task in dict.fromkeys(one.task for one in resource.holders) if task in self._dead
        ]
        if line.kind != "lock" or not resource.holders:
            givers = self._but_those_in(line, resource)
            if givers is not None:
                found.append(givers)
        if not found:
            return None
        self.edges[line] = found
        return line

    def _but_those_in(self, line: Line, resource: Resource) -> Givers | None:
        """Return the node of the givers, without those who wait in the same line.

        With a single waiter, the node of all givers is used although the waiter is among them: it can be shared by many
        resources, and the edge from a waiter back to itself makes no difference.
        """
        keys = resource.actors.get(line.kind, frozenset())
        same = {key for key in dict.fromkeys(resource.waiters) if self._waits_in(line, key)}
        if same.isdisjoint(keys) or (len(same) == 1 and len(keys) > 1):
            return self._all(keys)
        return self._node(Givers(line), [key for key in self._dead_of(keys) if key not in same])

    def _waits_in(self, line: Line, key: int) -> bool:
        """Return whether a task waits in the same line, or is a worker at ``get()`` of the queue that is joined.

        Such a worker calls ``task_done()`` only after it has been given an item.
        """
        task = self._snapshot.tasks.get(key)
        wait = None if task is None else task.wait
        if wait is None or wait.resource != line.resource:
            return False
        return wait.kind == line.kind or (line.kind, wait.kind) == ("join", "get")

    def _all(self, keys: frozenset[int]) -> Givers | None:
        node = Givers(id(keys))
        if node not in self._givers:
            self._givers[node] = self._node(node, list(self._dead_of(keys)))
        return self._givers[node]

    def _dead_of(self, keys: Iterable[int]) -> Iterator[int]:
        """Yield the dead among the givers; for a giver that is a waiting thread, the dead tasks that it waits for."""
        for key in keys:
            if key in self._dead:
                yield key
            elif key in self._waiting_threads:
                yield from self._waiting_threads[key]

    def _node(self, node: Givers, keys: Sequence[int]) -> Givers | None:
        if not keys:
            return None
        self.edges[node] = list(keys)
        return node


def components(edges: Mapping[_N, Sequence[_N]]) -> list[list[_N]]:
    """Return the strongly connected components in reverse topological order: those without outgoing edges come first.

    Tarjan's algorithm (1972), without recursion. Successors that are no key of `edges` are ignored.
    """
    index: dict[_N, int] = {}
    low: dict[_N, int] = {}
    stack: list[_N] = []
    on_stack: set[_N] = set()
    found: list[list[_N]] = []
    for root, first in in_slices(edges.items()):
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
