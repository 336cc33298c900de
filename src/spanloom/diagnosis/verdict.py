"""From a snapshot to findings: a pure function.

1. The fixpoint tells the dead tasks (`spanloom.diagnosis.fixpoint`).
2. Among the dead, only the strongly connected components that no edge leaves are causes: all others wait for these.
3. A component with a ring is explained by it; one that waits for a pool that it holds itself, by that.
4. The other tasks are gathered by the resource and the way in which they wait, and each line is explained by who could
   have given what it waits for, and has ended, waits itself, or never was.
5. Then come rules for what is not dead: reports that are missing in a queue, and slow stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from spanloom.diagnosis.case import Case
from spanloom.diagnosis.codes import in_order
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.model import Snapshot, TaskView
from spanloom.diagnosis.rules.givers import idle, lonely, unreported
from spanloom.diagnosis.rules.pools import nested_pool
from spanloom.diagnosis.rules.rings import rings
from spanloom.diagnosis.rules.slow import bottlenecks
from spanloom.diagnosis.rules.stopped import stopped

__all__ = ["diagnose"]

_FIRST = (
    "put",
    "get",
    "join",
    "event",
    "condition",
    "barrier",
    "future",
    "semaphore",
    "limiter",
    "lock",
    "loop",
)
"""If the members of one component wait in several ways, the first of these is the one explained."""

_OF_ONE_EACH: Final = ("future", "event")
"""Waits for what is often made for one task alone."""
_APART: Final = 5
"""Up to so many tasks that wait in the same way, each for a resource of its own, have findings of their own."""


def diagnose(snapshot: Snapshot, earlier: Snapshot | None = None) -> list[Finding]:
    """Return what is wrong with the program that `snapshot` was taken of, the cause before its symptoms.

    Args:
        snapshot: As `spanloom.diagnosis.look.look` returns it.
        earlier: An earlier one of the same process, for `Finding.since_s`.

    Returns:
        The findings; none for a healthy program.
    """
    case = Case(snapshot, earlier)
    return in_order(_findings(case))


def _findings(case: Case) -> Iterator[Finding]:
    lines: dict[tuple[int, str], list[TaskView]] = {}
    found = [*_closed(case, lines)]
    found += _open(case, lines, is_alone=not found)
    yield from found
    yield from unreported(case)
    yield from bottlenecks(case)


def _closed(case: Case, lines: dict[tuple[int, str], list[TaskView]]) -> Iterator[Finding]:
    """Yield the findings on components that are closed in themselves: rings and pools.

    The waits of the others are added to `lines`, by resource key and kind of wait; not if the search was incomplete, or
    one that is alive may cancel a member.
    """
    nested: set[int] = set()
    no_pools: set[int] = set()
    for members in case.causes:
        ring = list(rings(case, members))
        if ring:
            yield from ring
            continue
        if not case.snapshot.complete or any(task.key in case.live for task in members):
            continue
        if nested.issuperset(task.key for task in members):
            continue
        alone = case.resource(members[0]) if len(members) == 1 else None
        # The answer is the same for all who wait in one line, who may be thousands.
        pool = None if alone is not None and alone.key in no_pools else nested_pool(case, members)
        if pool is None and alone is not None:
            no_pools.add(alone.key)
        if pool is not None:
            nested.update(pool.members)
            yield pool.finding
            continue
        for task, key, kind in _waits(case, members):
            lines.setdefault((key, kind), []).append(task)


def _open(case: Case, lines: dict[tuple[int, str], list[TaskView]], *, is_alone: bool) -> Iterator[Finding]:
    """Yield the findings on lines that nobody is left to serve; idle workers only if there is nothing else.

    A line at ``get`` or ``join`` is left out if others wait at the ``put`` of the same queue, and one at ``get`` if
    others wait at its ``join``: that one wait explains the other.
    """
    spare: list[Finding] = []
    told: set[int] = set()
    alike = _alike(case, lines)
    for (key, kind), tasks in lines.items():
        if key in told:
            continue
        if kind in ("get", "join") and (key, "put") in lines:
            continue
        if kind == "get" and (key, "join") in lines:
            continue
        resource = case.snapshot.resources[key]
        if kind == "loop":
            yield from stopped(case, resource)
            continue
        others = alike.get(key, ())
        told.update(others)
        beside = [task for other in others for task in lines[other, kind]]
        found = list(lonely(case, _in_line(tasks, resource.waiters), resource, kind, beside))
        if found and idle(case, tasks, resource, kind):
            spare += found
        else:
            is_alone = is_alone and not found
            yield from found
    if is_alone:
        yield from spare


def _alike(case: Case, lines: dict[tuple[int, str], list[TaskView]]) -> dict[int, list[int]]:
    """Return, by the key of the first of many resources about which the same is to be said, the keys of the others.

    A thousand requests that nobody will answer are one thing to be told. They wait in the same place, each for a future
    or an event of its own, which nobody else waits for and which the same tasks could have given.
    """
    found: dict[tuple[object, ...], list[int]] = {}
    for (key, kind), tasks in lines.items():
        if kind in _OF_ONE_EACH and len(tasks) == 1:
            resource, (task,) = case.snapshot.resources[key], tasks
            name = resource.name.partition("[")[0]
            givers = resource.actors.get(kind, frozenset()) - {task.key}
            chain = tuple((frame.function, frame.location) for frame in task.chain)
            found.setdefault((kind, name, givers, task.main, task.deliberate, chain), []).append(key)
    return {keys[0]: keys[1:] for keys in found.values() if len(keys) > _APART}


def _waits(case: Case, members: Iterable[TaskView]) -> Iterator[tuple[TaskView, int, str]]:
    """Yield ``(task, resource key, kind)`` for the members of a component whose kind comes first in `_FIRST`."""
    found = []
    for task in members:
        wait = task.wait
        if wait is None:
            continue
        if wait.resource is not None and wait.resource in case.snapshot.resources:
            found.append((task, wait.resource, wait.kind))
        found.extend((task, target, "future") for target in wait.targets if target in case.snapshot.resources)
    if found:
        first = min((kind for _, _, kind in found), key=_FIRST.index)
        yield from (one for one in found if one[2] == first)


def _in_line(tasks: list[TaskView], waiters: tuple[int, ...]) -> list[TaskView]:
    order = {key: at for at, key in enumerate(waiters)}
    return sorted(dict.fromkeys(tasks), key=lambda task: order.get(task.key, len(order)))
