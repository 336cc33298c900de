"""The slowest jobs and traces of each name, with what happened inside them."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Final

import msgspec

from spanloom.events.error import ErrorInfo
from spanloom.handlers._debug_group import Below, Group, Node, Seen, fold

__all__ = ["Slowest"]

KEPT: Final = 3
"""Trees kept per name."""
MAX_NAMES: Final = 100
"""Names whose slowest are kept; none are of any further name."""
MAX_NODES: Final = 100
"""Nodes kept of one tree, in order of start; the rest is folded into counts."""


class Slowest:
    """The `KEPT` slowest events of each name."""

    def __init__(self) -> None:
        self._names: dict[str, list[Node]] = {}

    def offer(self, name: str, nodes: Iterable[Node]) -> None:
        """Keep those of `nodes`, all named `name`, that are among the `KEPT` slowest of that name."""
        kept = self._names.get(name)
        if kept is None:
            if len(self._names) >= MAX_NAMES:
                return
            kept = self._names[name] = []
        floor_ns = _floor_ns(kept)
        for node in nodes:
            if node.duration_ns > floor_ns:
                kept.append(_pruned(node, [MAX_NODES]))
                kept.sort(key=attrgetter("duration_ns"), reverse=True)
                del kept[KEPT:]
                floor_ns = _floor_ns(kept)

    def first(self, name: str | None, more: Iterable[Node] = ()) -> Node | None:
        """Return the slowest of all, or of those named `name`, among the kept nodes and `more`."""
        nodes = [kept[0] for kept in self._names.values()]
        nodes += more
        return max(
            (node for node in nodes if name is None or node.event.name == name),
            key=attrgetter("duration_ns"),
            default=None,
        )


class _Copy(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The shown parts of an event. An event itself keeps its trace alive, which may take megabytes."""

    type: str
    name: str
    start_ns: int
    status: str | None
    error: ErrorInfo | None
    queue_ns: int | None
    busy_ns: int | None
    attempt: int | None
    job_index: int | None

    @classmethod
    def of(cls, event: Seen) -> _Copy:
        return cls(
            event.type,
            event.name,
            event.start_ns,
            event.status,
            event.error,
            event.queue_ns,
            event.busy_ns,
            event.attempt,
            event.job_index,
        )


def _floor_ns(kept: list[Node]) -> int:
    """Return the duration that a node must exceed to be kept."""
    return kept[-1].duration_ns if len(kept) == KEPT else -1


def _pruned(node: Node, room: list[int]) -> Node:
    """Return a copy of `node` with as many nodes below it as there is `room` for."""
    room[0] -= 1
    below = None
    if node.below is not None:
        below = Below()
        below.backoff_ns = node.below.backoff_ns
        if node.below.jobs is not None:
            below.jobs = {name: _pruned_group(jobs, room) for name, jobs in node.below.jobs.items()}
        below.groups = {key: _pruned_group(group, room) for key, group in node.below.groups.items()}
    return Node(_Copy.of(node.event), node.duration_ns, below)


def _pruned_group(group: Group, room: list[int]) -> Group:
    folded = group.folded_copy()
    slowest = []
    for node in group.ranked():
        if room[0] > 0:
            slowest.append(_pruned(node, room))
        elif node.below is not None:
            fold(node.below, folded)
    return group.pruned(slowest, folded)
