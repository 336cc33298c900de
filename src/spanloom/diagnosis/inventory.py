"""All resources that tasks hold or wait for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import FunctionType
from typing import Any, Final

from spanloom.diagnosis.actors import Cast
from spanloom.diagnosis.fields import field, future_done
from spanloom.diagnosis.holders import lock_of
from spanloom.diagnosis.pace import in_slices
from spanloom.diagnosis.population import Population
from spanloom.diagnosis.resources import Kept
from spanloom.diagnosis.seen import Seen
from spanloom.diagnosis.waits import RawWait, Table

__all__ = ["Inventory"]

_LOCKABLE: Final = frozenset({"lock", "semaphore", "limiter"})


class Inventory:
    """All locks, queues, futures and other resources that tasks hold or wait for.

    Args:
        population: The tasks.
        cast: Knows which futures a timer resolves.

    Attributes:
        kept: The resources, by identity.
    """

    def __init__(self, population: Population, cast: Cast) -> None:
        self.kept: dict[int, Kept] = {}
        self._tasks = population.tasks
        self._cast = cast
        self._table = Table()
        self._noted: dict[int, frozenset[int]] = {}
        self._completing: defaultdict[int, list[Any]] | None = None

    def take(self) -> None:
        """Add what all tasks hold and wait for."""
        for seen in in_slices(self._tasks.values()):
            self.note_held(seen)
            if seen.rests:  # no thread runs its loop, which comes before any other wait
                seen.wait = RawWait("loop", seen.loop)
                self._keep(seen.loop).waiting.append((seen.key, "loop"))
            elif seen.state == "waiting":
                seen.wait = self._wait(seen)

    def note_held(self, seen: Seen) -> None:
        """Add what a task holds; if it was noted before, only what it has taken since."""
        if not seen.held:
            return
        known = self._noted.get(seen.key, frozenset())
        self._noted[seen.key] = known.union(id(held.resource) for held in seen.held)
        for held in seen.held:
            if id(held.resource) not in known:
                self._keep(held.resource).held.append((seen.key, held))

    def wanted(self) -> dict[int, Kept]:
        """Return the resources that a task waits for, and all bare futures, by identity."""
        return {key: kept for key, kept in self.kept.items() if kept.waiting or kept.is_future}

    def _wait(self, seen: Seen) -> RawWait:
        if id(seen.leaf) in self._cast.woken:
            return self._table.timed(seen.links, seen.leaf)
        wait = self._table.classify(seen.links, seen.leaf)
        if wait.kind == "completed":
            wait = wait._replace(targets=self._completed(wait.resource))
        elif wait.resource is not None:
            resource = lock_of(wait.resource) if wait.kind in _LOCKABLE else wait.resource
            wait = wait._replace(resource=resource)
            self._keep(resource).waiting.append((seen.key, wait.kind))
        for target in in_slices(wait.targets):
            if id(target) not in self._tasks and not future_done(target):
                self._keep(target)
        return wait

    def _keep(self, value: Any) -> Kept:
        kept = self.kept.get(id(value))
        if kept is None:
            kept = self.kept[id(value)] = Kept(value)
        return kept

    def _completed(self, queue: Any) -> tuple[Any, ...]:
        """Return the tasks whose done-callbacks put into the queue that `as_completed` waits at."""
        if self._completing is None:
            self._completing = defaultdict(list)
            for seen in in_slices(self._tasks.values()):
                for callback, _ in field(seen.task, "_callbacks") or ():
                    for fed in _queues_of(callback):
                        self._completing[id(fed)].append(seen.task)
        return tuple(self._completing.get(id(queue), ()))


def _queues_of(callback: Any) -> list[Any]:
    found = []
    for cell in (callback.__closure__ or ()) if type(callback) is FunctionType else ():
        try:
            content = cell.cell_contents
        except ValueError:  # the cell is empty
            continue
        if issubclass(type(content), asyncio.Queue):
            found.append(content)
    return found
