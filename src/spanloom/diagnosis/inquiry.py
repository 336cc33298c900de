"""Who can still end what tasks wait for: asked of all that acts, and of each task."""

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
"""Tasks up to which each is asked by itself; more of the same function at the same place are asked together."""
_ASKED: Final = 300
"""Tasks of which the calls are looked for that take something out of a queue."""
_POOLS: Final = 300
"""Things waited for of which it is asked whether they are a pool."""
_ANY_GIVER: Final = frozenset(name for names in GIVERS.values() if names is not None for name in names)


class Inquiry:
    """One round of questions. What is found out is noted in what is waited for, and in the tasks that wait.

    Args:
        bytecode: Tells what code may still do.
        population: The tasks.
        cast: What else acts.
        crowds: Gets those who are asked together.
        remembered: Tasks that exist no more.
        objects: How many may be visited.

    Attributes:
        ended: What ended tasks could have done.
        functions: Those of the program that give what can be waited for.
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
        """Whether there was time to ask everything."""
        return not self._budget.spent

    def ask_first(self, wanted: Mapping[int, Kept], undetermined: Sequence[Seen]) -> list[list[Seen]]:
        """Ask all that acts, and the tasks that are few of a kind.

        Args:
            wanted: What it is asked of who can give it.
            undetermined: The tasks of which it is asked who can cancel them.

        Returns:
            The others, for `ask_rest`.
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
        """Ask the tasks that are many of a kind, and all that is asked of tasks only where some stand still."""
        self._ask(large, wanted, undetermined)
        self._find_takers(wanted.values())
        if undetermined:
            self._find_ended(wanted)
        self._find_between(wanted.values())
        self._find_owed(wanted, undetermined)
        self._find_outside(wanted.values(), frozenset(seen.key for seen in undetermined))

    def _find_ended(self, wanted: Mapping[int, Kept]) -> None:
        """Find the ended tasks, and the functions, that would have been needed."""
        functions = Functions(self._namespaces())
        ended = Ended(self._bytecode, self._budget, self._owned(), functions)
        ended.read(self._population.ended, tuple(wanted.values()))
        present = [seen.task for seen in self._population.tasks.values()]
        ended.remember(self._remembered, in_slices([*present, *self._population.ended]))
        self.ended = ended.found
        self.functions = functions.using(_ANY_GIVER)

    def _namespaces(self) -> Iterator[dict[str, Any]]:
        """Yield the globals of the program's own code that tasks run."""
        passed: set[int] = set()
        for seen in in_slices(self._population.tasks.values()):
            for link in seen.links:
                if id(link.code) not in passed:
                    passed.add(id(link.code))
                    if is_own(link.code.co_filename):
                        yield link.frame.f_globals

    def ask(self, tasks: Collection[Seen], wanted: Mapping[int, Kept], undetermined: Sequence[Seen]) -> None:
        """Ask tasks that were seen since; those of one function at one place together if there are many."""
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
        """Note what those with these keys know, what of that they can give, and whom they may cancel."""
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
                # A thread may be inside of a function of asyncio's that runs a loop, the names in which are not read.
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
        """Find of the queues at which somebody waits for room the tasks that take something out."""
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
        """Find of the queues of which items are missing who takes some, and who reports none before it has another."""
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
        """Find of what is perhaps a pool the tasks that have something of it, if all stand still that wait for it."""
        still = {seen.key for seen in undetermined}
        # And who goes on only after one of these has ended, as whoever has called `asyncio.run`.
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
        """Return by identity what the end of which tasks resolves, as with `shield`: then it is that task's matter."""
        found: dict[int, list[int]] = defaultdict(list)
        for seen in in_slices(self._population.tasks.values()):
            for callback, _ in field(seen.task, "_callbacks") or ():
                for cell in (callback.__closure__ or ()) if type(callback) is FunctionType else ():
                    with suppress(ValueError):  # it is empty
                        found[id(cell.cell_contents)].append(seen.key)
        return found

    def _find_outside(self, wanted: Iterable[Kept], undetermined: frozenset[int]) -> None:
        """Find the futures that only dead tasks might resolve, and that somebody who was not asked may have."""
        asked: dict[frozenset[int], bool] = {}  # of many futures it is the same set
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
    """Return the contexts that tasks run in, without asking a subclass by the method that there is (3.12)."""
    return [
        value for seen in in_slices(members) for value in get_referents(seen.task) if type(value) is Context
    ]
