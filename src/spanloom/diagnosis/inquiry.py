"""Finding the givers: of each actor and each task, which waits it can still end.

To *ask* an actor or task is to compute its closure (`spanloom.diagnosis.reach`), and to note it as a giver of each
wanted resource that it reaches together with a method that ends the wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from gc import get_referents
from types import FunctionType
from typing import Any, Final

from spanloom.diagnosis.actors import Cast
from spanloom.diagnosis.ahead import Ahead, Bytecode
from spanloom.diagnosis.between import Between, lacks_reports
from spanloom.diagnosis.bringing import bring
from spanloom.diagnosis.budget import MOST, Budget
from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.crowds import Crowds
from spanloom.diagnosis.ended import Ended
from spanloom.diagnosis.fields import field
from spanloom.diagnosis.functions import Functions
from spanloom.diagnosis.gone import Gone
from spanloom.diagnosis.model import EndedTask, OwnFunction
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.outside import held_outside
from spanloom.diagnosis.owed import POOLED, Owing
from spanloom.diagnosis.pace import in_slices
from spanloom.diagnosis.population import Population
from spanloom.diagnosis.reach import Reach
from spanloom.diagnosis.resources import Kept
from spanloom.diagnosis.resting import may_find
from spanloom.diagnosis.running import let_go, running_threads
from spanloom.diagnosis.seen import Seen
from spanloom.diagnosis.takers import is_fresh, taken_from
from spanloom.diagnosis.waits import GIVERS

__all__ = ["Inquiry"]

_ALONE: Final = 100
"""Up to so many tasks in all, each is asked alone; if there are more, tasks at the same place in the same code are
asked as one crowd. Of crowds, those of more than so many tasks are asked last."""
_ASKED: Final = 300
"""Tasks whose code is searched for calls that take something out of a queue, at most."""
_POOLS: Final = 300
"""Resources that are checked for being a pool, at most."""
_ANY_GIVER: Final = frozenset(name for names in GIVERS.values() if names is not None for name in names)


class Inquiry:
    """One search for givers. Results are noted in the `Kept` resources and in the `Seen` tasks.

    Args:
        bytecode: Analyses of code, shared by the look.
        population: The tasks.
        cast: The actors.
        crowds: Receives the sets of those who were asked together.
        remembered: Tasks that no longer exist.
        objects: How many objects may be visited.

    Attributes:
        ended: Ended tasks, with the waits that they could have ended.
        functions: The program's functions that use a method which ends some wait.
    """

    def __init__(
        self,
        bytecode: Bytecode,
        population: Population,
        cast: Cast,
        crowds: Crowds,
        remembered: Sequence[Gone] = (),
        objects: int = MOST,
    ) -> None:
        self.ended: list[EndedTask] = []
        self.functions: tuple[OwnFunction, ...] = ()
        self._remembered = remembered
        self._bytecode = bytecode
        self._population = population
        self._cast = cast
        self._crowds = crowds
        self._budget = Budget(objects)
        self._known_owned: frozenset[int] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the budget was enough."""
        return not self._budget.spent

    def ask_first(self, wanted: Mapping[int, Kept], undetermined: Sequence[Seen]) -> list[list[Seen]]:
        """Ask all actors, and the tasks that are not in a large crowd.

        Args:
            wanted: The resources whose givers are searched for, by identity.
            undetermined: The tasks whose cancellers are searched for.

        Returns:
            The large crowds, for `ask_rest`.
        """
        owned = self._owned()
        for key, play in self._cast.plays.items():
            reach = Reach(self._bytecode, self._budget, owned)
            play(reach)
            self._note((key,), reach, wanted, undetermined)
        groups = _groups(self._population.tasks.values())
        large = [members for members in groups if len(members) > _ALONE]
        self._ask([members for members in groups if len(members) <= _ALONE], wanted, undetermined)
        return large

    def ask_rest(
        self, large: Iterable[Sequence[Seen]], wanted: Mapping[int, Kept], undetermined: Sequence[Seen]
    ) -> None:
        """Ask the large crowds, and find all that is needed only if some tasks do not progress.

        That is who takes from queues, which tasks have ended, what pools are made of, and references from outside.
        """
        self._ask(large, wanted, undetermined)
        self._find_takers(wanted.values())
        if undetermined:
            self._find_ended(wanted)
        self._find_between(wanted.values())
        self._find_owed(wanted, undetermined)
        self._find_outside(wanted.values(), frozenset(seen.key for seen in undetermined))

    def _find_ended(self, wanted: Mapping[int, Kept]) -> None:
        """Find the ended tasks and the functions that could have ended a wait."""
        functions = Functions(self._namespaces())
        ended = Ended(self._bytecode, self._budget, self._owned(), functions)
        ended.read(self._population.ended, tuple(wanted.values()))
        present = [seen.task for seen in self._population.tasks.values()]
        ended.remember(self._remembered, in_slices([*present, *self._population.ended]))
        self.ended = ended.found
        self.functions = functions.using(_ANY_GIVER)

    def _namespaces(self) -> Iterator[dict[str, Any]]:
        """Yield the globals of all code of the program's own that is in an await chain."""
        passed: set[int] = set()
        for seen in in_slices(self._population.tasks.values()):
            for link in seen.links:
                if id(link.code) not in passed:
                    passed.add(id(link.code))
                    if is_own(link.code.co_filename):
                        yield link.frame.f_globals

    def ask(self, tasks: Collection[Seen], wanted: Mapping[int, Kept], undetermined: Sequence[Seen]) -> None:
        """Ask tasks that have moved or are new since the first round; in crowds if there are many."""
        self._known_owned = None
        self._ask(_groups(tasks), wanted, undetermined)

    def _ask(
        self, groups: Iterable[Sequence[Seen]], wanted: Mapping[int, Kept], undetermined: Sequence[Seen]
    ) -> None:
        owned = self._owned()
        for members in groups:
            reach = Reach(self._bytecode, self._budget, owned, _contexts(members))
            for seen in in_slices(members):
                bring(seen, reach, self._ahead)
            self._note([seen.key for seen in members], reach, wanted, undetermined)

    def _ahead(self, link: Link) -> Ahead:
        return self._bytecode.ahead(link.code, link.frame.f_lasti)

    def _owned(self) -> frozenset[int]:
        """Return the identities of the coroutines and generators that tasks run."""
        if self._known_owned is None:
            self._known_owned = frozenset(self._each_owned())
        return self._known_owned

    def _each_owned(self) -> Iterator[int]:
        for seen in in_slices(self._population.tasks.values()):
            yield id(seen.coro)
            yield from (id(link.owner) for link in seen.links)

    def _note(
        self,
        keys: Sequence[int],
        reach: Reach,
        wanted: Mapping[int, Kept],
        undetermined: Sequence[Seen],
    ) -> None:
        """Note which resources those with these keys can reach, which waits they can end, and whom they may cancel."""
        crowd = self._crowds.add(keys)
        known = wanted.keys() & reach.objects.keys()
        known |= {key for key, name in reach.gives if key in wanted and name in _ANY_GIVER}
        finds_loops = reach.dynamic or may_find(reach.names)
        if finds_loops:
            known |= {key for key, kept in wanted.items() if kept.is_loop}
        for key in in_slices(known):
            kept = wanted[key]
            kept.known_to.append(crowd)
            for kind in kept.kinds():
                # Any actor that has the loop may run it: a thread may be in a function of asyncio's, whose names are
                # not read. Keys of actors are negative.
                runs = kind == "loop" and (finds_loops or keys[0] < 0)
                if runs or reach.can(kept.value, GIVERS.get(kind)):
                    kept.actors[kind].append(crowd)
        if "cancel" in reach.calm or reach.dynamic or reach.gives:
            for seen in in_slices(undetermined):
                task = seen.key
                can = (task, "cancel") in reach.gives or (task in reach.objects and "cancel" in reach.calm)
                if can and (len(keys) > 1 or keys[0] != task):
                    seen.cancellers.append(crowd)

    def _find_takers(self, wanted: Iterable[Kept]) -> None:
        """For each queue at which a task waits for room, find the tasks whose code takes items out."""
        tasks = self._population.tasks
        queues = {id(kept.value): kept for kept in wanted if "put" in kept.kinds()}
        able = dict.fromkeys(
            key
            for kept in queues.values()
            for key in self._crowds.members(kept.actors["put"])
            if key in tasks
        )
        for key in in_slices(list(able)[:_ASKED]):
            for value in taken_from(self._bytecode, tasks[key].links):
                kept = queues.get(id(value))
                if kept is not None:
                    kept.takers.add(key)
                    if is_fresh(self._bytecode, tasks[key].links, value):
                        kept.fresh.add(key)

    def _find_between(self, wanted: Iterable[Kept]) -> None:
        """For each joined, empty queue with missing reports, find who takes items, and who is between two of them."""
        between = Between(self._bytecode, self._population.holding, self._budget, self._owned())
        for kept in wanted:
            if "join" not in kept.kinds() or not lacks_reports(kept.value):
                continue
            keys = self._crowds.members(kept.actors["join"])
            able = [self._population.tasks[key] for key in keys if key in self._population.tasks]
            kept.between |= between.among(kept.value, able[:_ASKED])
            knowing = [key for key in self._crowds.members(kept.known_to) if key in self._population.tasks]
            for key in knowing[:_ASKED]:
                if any(
                    one is kept.value for one in taken_from(self._bytecode, self._population.tasks[key].links)
                ):
                    kept.takers.add(key)

    def _find_owed(self, wanted: Mapping[int, Kept], undetermined: Sequence[Seen]) -> None:
        """For each resource that may be a pool, and none of whose givers progresses, find the tasks that owe it."""
        still = {seen.key for seen in undetermined}
        # With the actors that need one of these tasks to end, as the caller of `asyncio.run`.
        still |= {key for key, one in self._cast.actors.items() if one.needs and still.issuperset(one.needs)}
        pools = {
            key: kept
            for key, kept in list(wanted.items())[:_POOLS]
            if not POOLED.isdisjoint(kept.kinds())
            and any(
                still.issuperset(self._crowds.members(kept.actors[kind]))
                for kind in POOLED.intersection(kept.kinds())
                if kept.actors[kind]
            )
        }
        owned = self._owned() if pools else frozenset()
        owing = Owing(self._bytecode, self._population.holding, self._budget, owned)
        for seen in undetermined[:_ASKED] if pools else ():
            for kept, held in owing.of(seen, pools):
                kept.owed.append((seen.key, held))

    def _outer(self) -> dict[int, list[int]]:
        """Return, by identity of each object in a closure of a task's done-callbacks, the keys of such tasks.

        The end of the task resolves such a future, as that of `shield`: then the task decides, and no other reference.
        """
        found: dict[int, list[int]] = defaultdict(list)
        for seen in in_slices(self._population.tasks.values()):
            for callback, _ in field(seen.task, "_callbacks") or ():
                for cell in (callback.__closure__ or ()) if type(callback) is FunctionType else ():
                    with suppress(ValueError):  # the cell is empty
                        found[id(cell.cell_contents)].append(seen.key)
        return found

    def _find_outside(self, wanted: Iterable[Kept], undetermined: frozenset[int]) -> None:
        """Add an ``"outside"`` giver to futures that only undetermined tasks could resolve, but others refer to."""
        asked: dict[frozenset[int], bool] = {}  # many futures share one set
        outer: dict[int, list[int]] | None = None
        orphans = []
        for kept in in_slices(wanted):
            if kept.is_future:
                givers = self._crowds.members(kept.actors["future"])
                if givers not in asked:
                    asked[givers] = givers <= undetermined
                if not asked[givers]:
                    continue
                outer = self._outer() if outer is None else outer
                if givers.isdisjoint(outer.get(id(kept.value), ())):
                    orphans.append(kept)
        if not orphans:
            return
        threads = running_threads()
        try:
            frames = [frame for thread in threads for frame in thread.frames]
            tasks = [seen.task for seen in self._population.tasks.values()]
            loops = self._population.loops.keys()
            found = held_outside((kept.value for kept in orphans), frames, tasks, loops)
            frames.clear()
        finally:
            let_go(threads)
        if found:
            somebody = self._crowds.add([self._cast.outside()])
            for kept in orphans:
                if id(kept.value) in found:
                    kept.actors["future"].append(somebody)


def _groups(tasks: Collection[Seen]) -> list[list[Seen]]:
    if len(tasks) <= _ALONE:
        return [[seen] for seen in tasks]
    groups: dict[tuple[Any, ...], list[Seen]] = defaultdict(list)
    for seen in in_slices(tasks):
        groups[tuple((id(link.code), link.frame.f_lasti) for link in seen.links)].append(seen)
    return list(groups.values())


def _contexts(members: Iterable[Seen]) -> list[Any]:
    """Return the contexts that tasks run in; not by `asyncio.Task.get_context`, which a subclass may override."""
    return [
        value for seen in in_slices(members) for value in get_referents(seen.task) if type(value) is Context
    ]
