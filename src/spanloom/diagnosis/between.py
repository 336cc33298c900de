"""Workers that call ``task_done()`` only after they have taken another item: pollers that are between two items.

``join()`` returns when every item that was put has been reported by ``task_done()``. A worker that polls the queue can
reach that call again, so it looks like a giver. But if each path to the call takes an item first, and the queue is
empty, it will never report an item that it had before: a missing report is missing for good.
"""

from __future__ import annotations

import asyncio
import dis
import itertools
from collections.abc import Container, Sequence
from typing import Any, Final

from spanloom.diagnosis.ahead import STATEMENT_ENDS, Ahead, Bytecode
from spanloom.diagnosis.bringing import bring
from spanloom.diagnosis.budget import Budget
from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.control import JUMPS
from spanloom.diagnosis.fields import field, module_of
from spanloom.diagnosis.holders import Holding
from spanloom.diagnosis.landmarks import GET, WAIT_FOR
from spanloom.diagnosis.origin import belongs_to_us
from spanloom.diagnosis.reach import Reach
from spanloom.diagnosis.seen import Seen
from spanloom.diagnosis.takers import taking_at
from spanloom.diagnosis.waits import GIVERS

__all__ = ["Between", "lacks_reports"]

_TRIES: Final = 5
"""How often to look until no task moves during the look; a worker may wake every few milliseconds."""
_GIVING_ONE: Final = frozenset({GET, WAIT_FOR})
"""``Queue.get``, and ``wait_for`` around it: they return only with an item, and else raise."""


def lacks_reports(queue: Any) -> bool:
    """Tell whether a queue is empty although items that were taken have not been reported by ``task_done()``."""
    return (
        issubclass(type(queue), asyncio.Queue)
        and bool(field(queue, "_unfinished_tasks"))
        and not field(queue, "_queue")
    )


class Between:
    """Tells which tasks are between two items.

    Args:
        bytecode: Tells what code may still do.
        holding: Tells what frames hold.
        budget: What may be spent.
        owned: As `Reach` takes it.
    """

    def __init__(self, bytecode: Bytecode, holding: Holding, budget: Budget, owned: frozenset[int]) -> None:
        self._bytecode = bytecode
        self._holding = holding
        self._budget = budget
        self._owned = owned

    def among(self, queue: object, tasks: Sequence[Seen]) -> frozenset[int]:
        """Return the keys of those of `tasks` that reach no ``task_done()`` of `queue` before they take an item.

        It holds for all of them at one moment, at which a report was missing. Empty if there was no such moment.
        """
        for _ in range(_TRIES):
            now = [Seen(one.task, one.loop) for one in tasks]
            for seen in now:
                seen.look(self._holding, running=False, moving=True)
            found = frozenset(seen.key for seen in now if self._is_so(seen, queue))
            if not lacks_reports(queue):
                break
            if not any(seen.has_moved for seen in now):
                return found
        return frozenset()

    def _is_so(self, seen: Seen, queue: object) -> bool:
        if seen.state != "waiting":
            return False
        inner: dict[int, Link] = {}
        links = [link for link in seen.links if not belongs_to_us(link.code.co_filename)]
        for outer, link in itertools.pairwise(links):
            inner[id(outer.owner)] = link

        def ahead(link: Link) -> Ahead:
            return self._ahead(link, inner.get(id(link.owner)), queue)

        reach = Reach(self._bytecode, self._budget, self._owned)
        bring(seen, reach, ahead)
        return not reach.can(queue, GIVERS["join"]) and not self._budget.spent

    def _ahead(self, link: Link, inner: Link | None, queue: object) -> Ahead:
        """Return what a frame may still run if no call completes that takes an item from `queue`."""
        lasti = link.frame.f_lasti
        taking = taking_at(self._bytecode, link, queue)
        if not taking or lasti < 0:
            return self._bytecode.ahead(link.code, lasti)
        waits = inner is not None and inner.code in _GIVING_ONE
        thrown = waits and _is_for(self._bytecode.instructions(link.code), lasti, taking)
        managers = [] if inner is None else list(self._holding.entered(link, inner))
        if all(module_of(type(manager)).startswith("asyncio.") for manager in managers):
            # Only managers of asyncio around it: `asyncio.timeout` turns a cancel into `TimeoutError`, none swallows.
            taking |= self._bytecode.swallowing(link.code, lasti)
        return self._bytecode.ahead_without(link.code, lasti, taking, thrown=thrown)


def _is_for(instructions: Sequence[dis.Instruction], lasti: int, taking: Container[int]) -> bool:
    """Tell whether the expression awaited at the offset `lasti` calls a method looked up at one of `taking`."""
    past = [one for one in instructions if one.offset <= lasti]
    while past and past.pop().opname != "GET_AWAITABLE":
        pass
    for one in reversed(past):
        if one.offset in taking:
            return True
        if one.opname == "GET_AWAITABLE" or one.opcode in JUMPS or one.opname.startswith(STATEMENT_ENDS):
            return False
    return False
