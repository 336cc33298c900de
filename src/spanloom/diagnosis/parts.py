"""The parts of one look at a program, and their order.

Not in `look`, as importing this loads most of the diagnosis, which is not needed before somebody asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from spanloom.diagnosis.actors import Cast
from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.budget import MOST
from spanloom.diagnosis.crowds import Crowds
from spanloom.diagnosis.fixpoint import progress
from spanloom.diagnosis.gone import Gone
from spanloom.diagnosis.holders import Holding
from spanloom.diagnosis.inquiry import Inquiry
from spanloom.diagnosis.inventory import Inventory
from spanloom.diagnosis.model import Snapshot
from spanloom.diagnosis.naming import Search
from spanloom.diagnosis.pace import empty, forget, in_slices
from spanloom.diagnosis.population import Population
from spanloom.diagnosis.resources import describe
from spanloom.diagnosis.running import Running, let_go, running_threads
from spanloom.diagnosis.seen import Seen
from spanloom.diagnosis.views import Views, chain_for

__all__ = ["Parts"]


class Parts:
    """The parts of one look.

    Args:
        threads: The running threads.
        remembered: Notes on tasks that no longer exist.
        objects: How many objects may be visited.
    """

    def __init__(
        self, threads: Sequence[Running], remembered: Sequence[Gone] = (), objects: int = MOST
    ) -> None:
        self._began_s = time.monotonic()
        self._threads = threads
        bytecode = Bytecode()
        crowds = Crowds()
        self._holding = Holding(bytecode)
        self._population = Population(self._holding)
        self._cast = Cast(bytecode)
        self._inventory = Inventory(self._population, self._cast)
        self._inquiry = Inquiry(bytecode, self._population, self._cast, crowds, remembered, objects)
        self._views = Views(bytecode, self._cast, crowds)
        self._crowds = crowds
        self._search = Search()

    def take(self) -> Snapshot:
        """Find what waits for what and, if a task does not progress by itself or waits for room in a queue, the givers.

        Each stage is dearer than the one before, and the look ends as soon as nothing is left to explain: first the
        waits alone, then actors and small crowds as givers, then large crowds and all else. At the end, tasks that have
        moved or were made meanwhile are asked, too.
        """
        self._population.find(self._threads)
        self._find_actors()
        self._inventory.take()
        snapshot = self._snapshot(frozenset())
        undetermined = self._still(snapshot)
        putting = [seen for seen in self._population.tasks.values() if _puts(seen)]
        if not undetermined and not putting:
            return snapshot
        forget(snapshot)
        named = frozenset(seen.key for seen in (*undetermined, *putting))
        wanted = self._inventory.wanted()
        large = self._inquiry.ask_first(wanted, undetermined)
        # In most programs this is enough, without the large crowds.
        if large and not putting and self._may_be_enough(undetermined):
            snapshot = self._snapshot(named)
            if not self._undetermined(snapshot):
                return snapshot
            forget(snapshot)
        self._inquiry.ask_rest(large, wanted, undetermined)
        late = self._population.look_again()
        for seen in late:
            self._inventory.note_held(seen)
        if late and undetermined:
            self._inquiry.ask(late, self._inventory.wanted(), undetermined)
        return self._snapshot(named)

    def _still(self, snapshot: Snapshot) -> list[Seen]:
        """Return the tasks that do not progress by a snapshot, and have not moved since.

        A program of thousands of tasks goes on during the look: a task that sleeps again and again may by now wait for
        another future, for which no timer was seen.
        """
        undetermined = self._undetermined(snapshot)
        moved = [seen for seen in in_slices(undetermined) if seen.has_moved]
        if not moved:
            return undetermined
        self._population.see_again(moved)
        for seen in moved:
            self._inventory.note_held(seen)
            snapshot.tasks[seen.key] = self._views.task(seen)
        return self._undetermined(snapshot) if len(moved) < len(undetermined) else []

    def _may_be_enough(self, undetermined: Sequence[Seen]) -> bool:
        """Return whether a giver that is not among these tasks is known for anything that they wait for."""
        waiting = frozenset(seen.key for seen in undetermined)
        numbers: set[int] = set()
        for seen in in_slices(undetermined):
            for value in _awaited(seen):
                kept = self._inventory.kept.get(id(value))
                for found in () if kept is None else kept.actors.values():
                    numbers.update(found)
        return any(not self._crowds.members((number,)) <= waiting for number in numbers)

    def forget(self) -> None:
        """Drop all references to objects of the program."""
        empty(self._population.tasks)
        empty(self._inventory.kept)

    def _find_actors(self) -> None:
        """Find the actors.

        In the order in which a pool call travels, so that none is missed on its way: from the queue of the pool to a
        thread, then to the loop, then to the waiting task, which is looked at again in the end.
        """
        own = threading.get_ident()
        for thread in self._threads:
            self._cast.pool(thread)
        self._cast.starting()
        threads = running_threads()
        mains = [seen for seen in self._population.tasks.values() if seen.main]
        keys = {
            thread.ident: [seen.key for seen in mains if seen.loop is thread.loop]
            for thread in threads
            if thread.loop is not None
        }
        for thread in threads:
            self._cast.pool(thread)
            with suppress(RuntimeError):
                self._cast.thread(thread, own, keys)
        resting = self._population.find_resting(threads)
        if resting:
            self._cast.once_stopped()
        let_go(threads)
        for key, home in self._population.loops.items():
            self._cast.loop(home.loop, [resting[key]] if key in resting else ())
        self._cast.signals()
        self._cast.hooks()
        self._cast.settle()

    def _undetermined(self, snapshot: Snapshot) -> list[Seen]:
        """Return the tasks that do not progress by a snapshot; a cancel by a living task is not counted."""
        live = progress(snapshot, cancels=False)
        return [seen for key, seen in self._population.tasks.items() if key not in live]

    def _snapshot(self, named: frozenset[int]) -> Snapshot:
        """Return what is known until now; a resource gets its name only if one of the tasks `named` waits for it."""
        tasks = {seen.key: self._views.task(seen) for seen in in_slices(self._population.tasks.values())}
        links = {key: chain_for(seen, self._cast) for key, seen in self._population.tasks.items()}
        resources = {
            key: describe(kept, links, named, self._crowds, self._search)
            for key, kept in in_slices(self._inventory.kept.items())
        }
        now_s = time.monotonic()
        return Snapshot(
            at_s=now_s,
            took_s=now_s - self._began_s,
            tasks=tasks,
            resources=resources,
            actors=dict(self._cast.actors),
            threads=tuple(self._views.thread(thread) for thread in self._threads),
            loops={key: self._views.loop(*home) for key, home in self._population.loops.items()},
            ended=tuple(self._inquiry.ended),
            functions=self._inquiry.functions,
            complete=self._inquiry.is_complete,
        )


def _awaited(seen: Seen) -> tuple[object, ...]:
    """Return the resource and the targets that a task waits for."""
    return () if seen.wait is None else (seen.wait.resource, *seen.wait.targets)


def _puts(seen: Seen) -> bool:
    """Return whether a task waits for room in a queue: the rule for slow stages needs to know who takes from it."""
    return seen.wait is not None and seen.wait.kind == "put"
