"""What a suspended task owes a pool: what it would give back if an exception were thrown into it now.

A pool of connections may be a queue, a condition with a list, or a line of futures. None of these has holders. But a
task whose ``finally``, or the end of whose ``async with``, would put something into the queue has taken something out,
and so holds a part of the pool. A producer is none of these: its ``put`` would not run if it failed now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any, Final

from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.budget import Budget
from spanloom.diagnosis.chain import line_of
from spanloom.diagnosis.holders import Held, Holding
from spanloom.diagnosis.origin import belongs_to_us, is_standard
from spanloom.diagnosis.reach import Reach
from spanloom.diagnosis.resources import Kept
from spanloom.diagnosis.seen import Seen
from spanloom.diagnosis.takers import taken_from
from spanloom.diagnosis.variables import variables_of
from spanloom.diagnosis.waits import GIVERS

__all__ = ["POOLED", "Owing", "given_back"]

POOLED: Final = frozenset({"get", "condition", "future", "event"})
"""The kinds of waits by which pools are built."""
_POOLS: Final = ((asyncio.Queue, "get"), (asyncio.Condition, "condition"))
_BUDGET: Final = 20_000
"""Objects that may be visited to find what one task owes."""


class Owing:
    """Finds what tasks owe.

    Args:
        bytecode: Analyses of code, shared by the look.
        holding: Finds the ``with`` blocks that a frame is in.
        budget: How many objects may be visited.
        owned: As `Reach` takes it.
    """

    def __init__(self, bytecode: Bytecode, holding: Holding, budget: Budget, owned: frozenset[int]) -> None:
        self._bytecode = bytecode
        self._holding = holding
        self._budget = budget
        self._owned = owned

    def of(self, seen: Seen, pools: Mapping[int, Kept]) -> Iterator[tuple[Kept, Held]]:
        """Yield those of `pools` that a task owes, each with the outermost frame that would give back.

        Args:
            seen: The task. If its own wait is none of `POOLED`, it owes only queues that its code also takes from: a
                ``finally`` that only puts may be the last item of a producer.
            pools: Resources with a wait of a kind in `POOLED`, by identity.
        """
        wait = seen.wait
        waits_itself = wait is not None and wait.kind in POOLED
        taken = () if waits_itself else {id(value) for value in taken_from(self._bytecode, seen.links)}
        told: set[int] = set()
        for at, link in enumerate(seen.links):
            reach = self._leaving(seen, at)
            for key, kept in pools.items() if reach is not None else ():
                if key in told or not (waits_itself or key in taken):
                    continue
                kinds = POOLED.intersection(kept.kinds())
                if any(reach is not None and reach.can(kept.value, GIVERS[kind]) for kind in kinds):
                    told.add(key)
                    yield (
                        kept,
                        Held(kept.value, link, line_of(link.frame), sure=False),
                    )

    def to_pools(self, seen: Seen) -> Iterator[int]:
        """Yield the identities of the queues and conditions that a task would give back to."""
        for at in range(len(seen.links)):
            reach = self._leaving(seen, at)
            for value in list(reach.objects.values()) if reach is not None else ():
                kind = next((kind for cls, kind in _POOLS if issubclass(type(value), cls)), None)
                if reach is not None and kind is not None and reach.can(value, GIVERS[kind]):
                    yield id(value)

    def _leaving(self, seen: Seen, at: int) -> Reach | None:
        """Return the closure of what frame `at` of a task runs if it fails now; ``None`` if it runs nothing."""
        link = seen.links[at]
        if is_standard(link.code.co_filename) or belongs_to_us(link.code.co_filename):
            return None
        inner = seen.links[at + 1] if at + 1 < len(seen.links) else None
        ahead = None if self._waits_here(seen, at) else self._bytecode.leaving(link.code, link.frame.f_lasti)
        managers = self._holding.entered(link, inner)
        if ahead is None and not managers:
            return None
        reach = Reach(self._bytecode, self._budget, self._owned)
        if ahead is not None:
            variables = variables_of(link.frame, link.owner)
            values = [value for name, value in variables.items() if name in ahead.variables]
            reach.frame(ahead, link.frame.f_globals, values)
        for manager in managers:
            reach.value(_end_of(manager))
        return reach

    def _waits_here(self, seen: Seen, at: int) -> bool:
        """Return whether a frame makes the wait itself: its handler of a failure only wakes the next in line."""
        wait = seen.wait
        if wait is None or wait.kind not in POOLED:
            return False
        return at >= (wait.depth if wait.depth >= 0 else len(seen.links)) - 1


def given_back(task: Any, loop: Any) -> frozenset[int]:
    """Return the identities of the queues and conditions that a sleeping task would give back to if it failed now."""
    bytecode = Bytecode()
    holding = Holding(bytecode)
    seen = Seen(task, loop)
    seen.look(holding, running=False, moving=True)
    owing = Owing(bytecode, holding, Budget(_BUDGET), frozenset(id(link.owner) for link in seen.links))
    return frozenset(owing.to_pools(seen))


def _end_of(manager: Any) -> object:
    """Return the bound exit method of a manager, or the manager itself if that method is the standard library's."""
    for name in ("__aexit__", "__exit__"):
        for cls in type(manager).__mro__:
            function = cls.__dict__.get(name)
            if type(function) is FunctionType and not is_standard(function.__code__.co_filename):
                return MethodType(function, manager)
    return manager
