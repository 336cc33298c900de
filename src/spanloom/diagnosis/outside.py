"""Whether somebody may have an object of whom the look knows nothing: C code, or the stack of a running frame.

Who can resolve a future is asked of all that acts (`spanloom.diagnosis.reach`). That is a proof only if nobody else
refers to it, and this is counted: if the collector knows of fewer references to an object than its count says,
then the others are held where it does not look. The same holds for what refers to it, and for what refers to that.
The walk back ends where all that acts is asked by itself, and where names are known: at tasks and their frames, at
loops, modules and classes. Code that was compiled has no names to be read: what it holds, it may use.
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
"""Steps that are gone back. What is farther away belongs to so much that it proves nothing."""
MOST: Final = 2_000
"""Objects of one step; of more, none is looked at any more."""
BUDGET: Final = 4_000_000
"""Objects that are asked what they refer to, all steps together: about half a second."""
SMALL: Final = 250_000
FEW: Final = 16
"""Blocks of memory, and objects asked about, up to which all is asked at once, in 3 to 4 ms; else in pieces."""
_CHUNK: Final = 256
_HEAP_TYPE: Final = 1 << 9
_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})


class _Known:
    """What has been found, and what the walk itself adds to the counts."""

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
    """Return the identities of those of `candidates` to which more refers than can be accounted for.

    Costs some 100 nanoseconds for each object of the process and step, in pieces between which other threads run.

    Args:
        candidates: Objects that the collector tracks.
        frames: The running frames of all threads: their variables are accounted for, as threads are asked.
        tasks: The tasks that are asked: the collector is not told of all that they call when they end.
        loops: The identities of the loops that are asked. Of one that has not run yet, and has no task, nobody knows;
            it may have something to call.
    """
    known = _Known(candidates, loops)
    running, inner = _variables(frames)
    running.update(_hidden_callbacks(tasks))
    for _ in range(DEPTH):
        if known.level and len(known.level) <= MOST and known.left > 0:
            known.level = _step(known, running, inner)
    return frozenset(known.outside)


def _variables(frames: Sequence[FrameType]) -> tuple[Counter[int], frozenset[int]]:
    """Return how often running frames refer to what, and to what by a cell of a closure."""
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
    """Yield the identities of callbacks of tasks to which these do not admit to refer, as on Python 3.11."""
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
    """Count the references to one level, and return who has them."""
    level = known.level
    probe = _add_probe(level)
    known.origins[probe] = set()
    own = {id(known.seen), id(known.origins), id(vars(known)), id(level)}
    counts: Counter[int] = Counter()
    found: dict[int, tuple[Any, set[int]]] = {}
    for referrer, hit in _referrers(known):
        counts.update(hit)
        if id(referrer) not in own:
            found[id(referrer)] = referrer, set().union(*(known.origins[key] for key in hit))
        del referrer
    usual = {key: sys.getrefcount(value) - counts[key] - (key in found) for key, value in level.items()}
    for key, more in usual.items():
        if more - usual[probe] > running[key] + _cell_of(level[key], inner):
            known.outside |= known.origins[key]
    del level[probe]
    return _following(known, found)


def _referrers(known: _Known) -> Iterator[tuple[Any, list[int]]]:
    """Yield who refers to one of a level, with to which, as often as they do."""
    level = known.level
    if sys.getallocatedblocks() < SMALL and len(level) <= FEW:
        known.left -= SMALL // 10
        yield from _hits(gc.get_referrers(*level.values()), level)
        return
    everything = gc.get_objects()
    known.left -= len(everything)
    while everything:
        step()
        values = [value for value in everything[-_CHUNK:] if type(value) is not ModuleType]
        del everything[-_CHUNK:]  # to let go of all at once would be one step of the interpreter
        if not level.keys().isdisjoint(map(id, gc.get_referents(*values))):
            yield from _hits(values, level)


def _hits(values: list[Any], level: dict[int, Any]) -> Iterator[tuple[Any, list[int]]]:
    # Not the modules: on Python 3.12, that of asyncio's C code tells of objects that are free already, and whoever
    # takes those up and lets them go again breaks its list of them. Names in modules are known anyhow.
    for value in values:
        hit = (
            [key for key in map(id, gc.get_referents(value)) if key in level]
            if type(value) is not ModuleType
            else ()
        )
        if hit:
            yield value, list(hit)


def _following(known: _Known, found: dict[int, tuple[Any, set[int]]]) -> dict[int, Any]:
    """Return of those who refer to a level the ones to whom it is to be counted who refers."""
    for value in list(known.level.values()):
        for reference in weakref.getweakrefs(value) if type(value).__weakrefoffset__ else ():
            if (
                type(reference) is not weakref.ReferenceType
            ):  # a weak dictionary's, which is a way to the value
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
    """Add an object to which nothing refers but what refers to all of a level."""
    probe: list[None] = []
    level[id(probe)] = probe
    return id(probe)


def _cell_of(value: Any, inner: frozenset[int]) -> int:
    """Return how many running frames may have `value` if that is a cell."""
    if type(value).__name__ != "cell":
        return 0
    return sum(id(content) in inner for content in gc.get_referents(value))


def _is_asked(value: Any) -> bool:
    """Return whether the walk ends at `value`: it is ours, or what it can come to is asked by itself."""
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
    """Return whether `value` is of a type that was compiled, and not by Python's own makers: its code is unknown."""
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
