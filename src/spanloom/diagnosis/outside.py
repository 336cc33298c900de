"""Whether an object is referred to from where the look cannot see: from C code, or the stack of a running frame.

That nobody who was asked (`spanloom.diagnosis.reach`) can resolve a future is a proof only if nobody else refers to it.
So references are counted: if an object's reference count is higher than the number of references that the garbage
collector knows, the others are held outside. The same is asked of its referrers, of theirs, and so on: a walk back
through the heap, level by level.

The walk ends at what is asked itself, or followed by names: tasks and their frames, loops, modules, classes. An object
of a compiled type counts as held outside: its code has no names to read, so it may use whatever it refers to.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import Any, Final

from spanloom.diagnosis.chain import SUSPENDABLE
from spanloom.diagnosis.fields import field, is_a, is_task, module_of, namespace_of
from spanloom.diagnosis.pace import step
from spanloom.diagnosis.variables import variables_of

__all__ = ["held_outside"]

DEPTH: Final = 12
"""Levels of the walk."""
MOST: Final = 20_000
"""Objects in one level; the walk ends at a level with more."""
BUDGET: Final = 4_000_000
"""Objects whose referents are read, all levels together: about half a second. Then the walk ends."""
SMALL: Final = 250_000
FEW: Final = 16
"""Up to so many allocated blocks, and objects in a level, one call of `gc.get_referrers` is used (3 to 4 ms)."""
_CHUNK: Final = 256
_HEAP_TYPE: Final = 1 << 9
_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})
_ASKED: Final = frozenset({*SUSPENDABLE, FrameType, asyncio.Task})
"""Most referrers: the walk ends at them, see `_is_asked`."""


class _Known:
    """The state of a walk.

    Attributes:
        loops: Identities of the loops that are asked.
        level: The objects whose references are counted next, by identity.
        origins: For each object met, the identities of the candidates from which it was reached.
        seen: Identities of all objects met.
        outside: Identities of the candidates that are held outside.
        left: What is left of the budget.
    """

    def __init__(self, candidates: Iterable[Any], loops: Container[int]) -> None:
        self.loops = loops
        self.level: dict[int, Any] = {id(one): one for one in candidates}
        self.origins: dict[int, set[int]] = {key: {key} for key in self.level}
        self.seen: set[int] = set(self.level)
        self.outside: set[int] = set()
        self.left = BUDGET


def held_outside(
    candidates: Iterable[Any],
    frames: Sequence[FrameType],
    tasks: Iterable[Any] = (),
    loops: Container[int] = (),
) -> frozenset[int]:
    """Return the identities of those of `candidates` that may be used by somebody who was not asked.

    Costs some 100 nanoseconds for each object of the process and level, in slices between which other threads run.

    Args:
        candidates: Objects that the garbage collector tracks.
        frames: The running frames of all threads: references from their variables are known, as threads are asked.
        tasks: The tasks that are asked: the collector does not see all of their done-callbacks.
        loops: Identities of the loops that are asked. Any other open loop may call what it refers to: one that has no
            task and has not run yet is known to nobody.
    """
    known = _Known(candidates, loops)
    running, inner = _variables(frames)
    running.update(_hidden_callbacks(tasks))
    for _ in range(DEPTH):
        if known.level and len(known.level) <= MOST and known.left > 0:
            known.level = _step(known, running, inner)
    for key in known.level:  # the walk has not come to its end there: nothing is proven of what it came from
        known.outside |= known.origins[key]
    return frozenset(known.outside)


def _variables(frames: Sequence[FrameType]) -> tuple[Counter[int], frozenset[int]]:
    """Return, by identity, how often variables of running frames refer to what, and what they refer to by cells."""
    values: Counter[int] = Counter()
    inner: set[int] = set()
    for frame in frames:
        variables = variables_of(frame)
        cells = {*frame.f_code.co_cellvars, *frame.f_code.co_freevars}
        for name, value in variables.items():
            if name in cells:
                inner.add(id(value))
            else:
                values[id(value)] += 1
        del variables
    return values, frozenset(inner)


def _hidden_callbacks(tasks: Iterable[Any]) -> Iterator[int]:
    """Yield the identities of done-callbacks that a task does not show to the garbage collector, as on Python 3.11."""
    for task in tasks:
        callbacks = field(task, "_callbacks")
        if callbacks:
            known = {id(one) for one in gc.get_referents(task)}
            known |= {
                id(one)
                for referent in gc.get_referents(task)
                if type(referent) is list
                for one in _first(referent)
            }
            yield from (id(callback) for callback, _ in callbacks if id(callback) not in known)


def _first(callbacks: list[Any]) -> Iterator[Any]:
    yield from (one[0] for one in callbacks if type(one) is tuple and one)


def _step(known: _Known, running: Counter[int], inner: frozenset[int]) -> dict[int, Any]:
    """Count the references to the objects of one level, and return the next level: their referrers.

    The walk refers to the objects itself. How often is measured with a probe that only the walk refers to.
    """
    level = known.level
    probe = _add_probe(level)
    known.origins[probe] = set()
    own = {id(known.seen), id(known.origins), id(vars(known)), id(level)}
    counts = dict.fromkeys(level, 0)
    own.add(id(counts))
    found: dict[int, tuple[Any, set[int]]] = {}
    for referrer, hit in _referrers(known):
        for key in hit:
            counts[key] += 1
        if type(referrer) not in _ASKED and id(referrer) not in own:
            found[id(referrer)] = referrer, set().union(*(known.origins[key] for key in hit))
        del referrer
    usual = {key: sys.getrefcount(value) - counts[key] - (key in found) for key, value in level.items()}
    for key, more in usual.items():
        if more - usual[probe] > running[key] + _cell_of(level[key], inner):
            known.outside |= known.origins[key]
    del level[probe]
    return _following(known, found)


def _referrers(known: _Known) -> Iterator[tuple[Any, list[int]]]:
    """Yield each referrer of a level, with the identities it refers to: one entry for each reference."""
    level = known.level
    if sys.getallocatedblocks() < SMALL and len(level) <= FEW:
        known.left -= SMALL // 10
        wanted = tuple(level.values())
        for value, hit in _hits(gc.get_referrers(*wanted), level):
            if value is not wanted:  # from Python 3.13 on, the arguments of the call are found, too
                yield value, hit
        return
    everything = gc.get_objects()
    known.left -= len(everything)
    while everything:
        step()
        values = [value for value in everything[-_CHUNK:] if type(value) is not ModuleType]
        del everything[-_CHUNK:]  # in pieces: to free the whole list at once would block the other threads
        if not level.keys().isdisjoint(map(id, gc.get_referents(*values))):
            yield from _hits(values, level)


def _hits(values: list[Any], level: dict[int, Any]) -> Iterator[tuple[Any, list[int]]]:
    # Without modules: on Python 3.12, `_asyncio` reports objects that are on its free list, and to take and drop a
    # reference to one of those corrupts the list. Names in modules are followed anyhow.
    for value in values:
        hit = (
            [key for key in map(id, gc.get_referents(value)) if key in level]
            if type(value) is not ModuleType
            else ()
        )
        if hit:
            yield value, list(hit)


def _following(known: _Known, found: dict[int, tuple[Any, set[int]]]) -> dict[int, Any]:
    """Return the referrers whose own references are to be counted next; candidates that are held outside are noted."""
    for value in list(known.level.values()):
        for reference in weakref.getweakrefs(value) if type(value).__weakrefoffset__ else ():
            if type(reference) is not weakref.ReferenceType:  # of a weak dictionary: a way to the value
                found[id(reference)] = reference, known.origins[id(value)]
    following: dict[int, Any] = {}
    for key, (referrer, origins) in found.items():
        if _may_use(referrer) or _is_unasked_loop(referrer, known.loops):
            known.outside |= origins
        elif not (key in known.seen or _is_asked(referrer) or origins <= known.outside):
            known.seen.add(key)
            known.origins[key] = origins
            following[key] = referrer
    return following


def _add_probe(level: dict[int, Any]) -> int:
    """Add an object to a level that nothing but the walk refers to, and return its identity."""
    probe: list[None] = []
    level[id(probe)] = probe
    return id(probe)


def _cell_of(value: Any, inner: frozenset[int]) -> int:
    """Return, for a cell, 1 if a running frame may refer to it; 0 for anything else."""
    if type(value).__name__ != "cell":
        return 0
    return sum(id(content) in inner for content in gc.get_referents(value))


def _is_asked(value: Any) -> bool:
    """Return whether the walk ends at `value`: it is ours, is asked itself, or is followed by names."""
    kind = type(value)
    if kind is dict:
        return "__builtins__" in value and "__name__" in value
    return (
        kind in SUSPENDABLE
        or kind is FrameType
        or is_task(value)
        or issubclass(kind, type | ModuleType | asyncio.AbstractEventLoop)
        or module_of(kind).startswith("spanloom.diagnosis")
    )


def _is_unasked_loop(value: Any, loops: Container[int]) -> bool:
    return is_a(value, asyncio.AbstractEventLoop) and id(value) not in loops and not value.is_closed()


def _may_use(value: Any) -> bool:
    """Return whether `value` is of a compiled type, not the standard library's, or of `ctypes`: its code is unknown."""
    kind = type(value)
    if kind in _CONTAINERS:
        return False
    module = module_of(kind)
    if any(base.__module__ == "_ctypes" for base in kind.__mro__) or module.startswith("_cython"):
        return True
    if not module or module.partition(".")[0] in sys.stdlib_module_names:
        return False
    if not kind.__flags__ & _HEAP_TYPE:
        return True
    file = namespace_of(sys.modules.get(module)).get("__file__")
    return isinstance(file, str) and not file.endswith((".py", ".pyc"))
