"""Whether a task gets something done: its *fingerprints* of two looks, of the values that it knows, are compared."""

from __future__ import annotations

import ast
import asyncio
import dis
import gc
import itertools
import linecache
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final, NamedTuple

from spanloom.diagnosis.chain import link_of
from spanloom.diagnosis.fields import attributes, is_a
from spanloom.diagnosis.variables import variables_of
from spanloom.diagnosis.watch.atwork import BareCall
from spanloom.diagnosis.watch.frames import Call, is_own

__all__ = ["Round", "fingerprint", "fingerprint_of_call", "is_bound", "is_bound_in_function", "place_of_call"]

MAX_OBJECTS: Final = 150
DEPTH: Final = 3
FEW: Final = 20
"""Elements of a container that are compared, at most."""
LETTERS: Final = 200
_GIVES: Final = frozenset({"JUMP_BACKWARD_NO_INTERRUPT", "END_SEND"})
"""The last instruction of an ``await``, in Python 3.11 and since 3.12: its value is on the stack then."""
_PARTS: Final = frozenset({"UNPACK_SEQUENCE", "UNPACK_EX", "COPY", "NOT_TAKEN"})
"""Instructions between that and the ones that store the value."""
_ASKS: Final = frozenset({"call_soon", "call_later", "call_at", "call_soon_threadsafe"})
_SIZED: Final = (list, dict, set, deque, bytearray, tuple, frozenset)
_ITERATORS: Final[tuple[type, ...]] = (
    type(iter(range(0))),
    type(iter([])),
    type(iter(())),
    type(iter({})),
    type(iter({}.items())),
    type(iter({}.values())),
    type(iter(set())),
    enumerate,
    zip,
    map,
    filter,
    itertools.islice,
    itertools.chain,
    itertools.product,
    itertools.combinations,
    itertools.permutations,
)
_COUNTED: Final = frozenset({type(iter(range(0))), type(iter([])), type(iter(()))})
"""Iterators that tell how much is left. The loop's variable may be another loop's inside of it, and so tells less."""
_LINES: Final = frozenset({"_getters", "_putters", "_waiters"})
"""Attributes with the waiters of asyncio's primitives, which a task may join and leave at each turn."""
_PASSING: Final = (
    CoroutineType,
    GeneratorType,
    AsyncGeneratorType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
    CodeType,
    FrameType,
    type,
    asyncio.Future,
    asyncio.AbstractEventLoop,
    asyncio.Handle,
)
"""Types that are made anew at each turn, or that belong to nobody in particular."""


class Round(NamedTuple):
    """How far the ``for`` loops of a frame have come.

    Attributes:
        left: How many turns are left of each loop that can tell, outermost first.
        is_all: Whether all loops can tell.
        numbers: The numbers among the frame's variables.
    """

    left: tuple[int, ...]
    is_all: bool
    numbers: tuple[tuple[str, float], ...]

    def begins_anew(self, before: object) -> bool:
        """Tell whether it is further from its end than before: then it goes on inside of an endless loop."""
        return type(before) is Round and self.is_all and before.is_all and self.left > before.left


def fingerprint(chain: list[object]) -> tuple[dict[str, object], dict[str, float]]:
    """Return the values that the coroutines (or running frames) of `chain` have, by name: things, and numbers."""
    things: dict[str, object] = {}
    numbers: dict[str, float] = {}
    for level, part in enumerate([*chain, *_iterated(chain)]):
        link = link_of(part)
        if link is None or not is_own(link.code):
            continue
        names = variables_of(link.frame, link.owner)
        received = _received(link.code)
        for name, value in names.items():
            if name in received and type(value) in {int, float}:
                things[f"{level}.{name}"] = value  # no counter: the number is the next of several things
            else:
                _note(f"{level}.{name}", name, value, things, numbers)
        # What no variable has: the iterator of a `for`, say, which is known to move on.
        known = {id(value) for value in names.values()}
        iterators = [
            value for value in gc.get_referents(part) if type(value) in _ITERATORS and id(value) not in known
        ]
        if iterators:
            left = tuple(value.__length_hint__() for value in iterators if type(value) in _COUNTED)
            things[f"{level}.for"] = Round(left, len(left) == len(iterators), tuple(numbers.items()))
    return things, numbers


def fingerprint_of_call(call: BareCall) -> tuple[dict[str, object], dict[str, float]]:
    """Return the same for a call: from its `self`, arguments, closure, and the globals that it names."""
    things: dict[str, object] = {}
    numbers: dict[str, float] = {}
    _note("self", "self", call.owner, things, numbers)
    _note("call", "call", call.function, things, numbers)
    for number, value in enumerate(call.arguments):
        _note(f"{number}", f"{number}", value, things, numbers)
    function: FunctionType = call[0]
    namespace: dict[str, object] = function.__globals__
    for name in call.code.co_names:
        value = namespace.get(name)
        if type(value) is not FunctionType:
            _note(f"global {name}", name, value, things, numbers)
    return things, numbers


def place_of_call(call: BareCall) -> Call:
    """Return the place where a function asks the loop for another call; its first line if it does not."""
    line = call.code.co_firstlineno
    for instruction in dis.get_instructions(call.code):
        if instruction.argval in _ASKS and instruction.positions is not None:
            line = instruction.positions.lineno or line
    return Call(call.code, line, 0)


@lru_cache(maxsize=256)
def _received(code: CodeType) -> frozenset[str]:
    """Return the names to which a function assigns the result of an ``await``, or the items of an ``async for``."""
    names: set[str] = set()
    given = False
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GIVES:
            given = True
        elif given and instruction.opname.startswith("STORE_"):
            stored = instruction.argval  # of instructions that are two in one: both names
            names.update((stored,) if type(stored) is str else stored[: instruction.opname.count("STORE_")])
        elif instruction.opname not in _PARTS:
            given = False
    return frozenset(names)


def _iterated(chain: list[object]) -> list[object]:
    """Return the generators that the coroutines of `chain` iterate: their variables tell how far they are."""
    return [
        part
        for coroutine in chain
        for part in gc.get_referents(coroutine)
        if type(part) is GeneratorType and is_own(part.gi_code) and part not in chain
    ]


def _note(key: str, name: str, value: object, things: dict[str, object], numbers: dict[str, float]) -> None:
    seen: set[int] = set()
    todo: deque[tuple[str, str, object, int]] = deque([(key, name, value, 0)])
    while todo and len(seen) < MAX_OBJECTS:
        key, name, value, depth = todo.popleft()
        if type(value) in {int, float}:
            numbers[name] = value  # type: ignore[assignment] # narrowed by its exact type
            continue
        if value is None or type(value) in {bool, str, bytes}:
            things[key] = value[:LETTERS] if is_a(value, (str, bytes)) else value
            continue
        if id(value) in seen or is_a(value, _PASSING):
            continue
        seen.add(id(value))
        kind: Any = next((kind for kind in _SIZED if is_a(value, kind)), None)
        if kind is not None:
            # By its length and first elements: an equal container, made anew at each turn, is no progress. By the
            # methods of the built-in type, as those of a subclass are the program's code.
            things[f"{key}#"] = kind.__len__(value), frozenset(map(_told_by, _first(kind.__iter__(value))))
            if type(value) is dict and depth < DEPTH:
                todo += [
                    (f"{key}[{n}]", name, one, depth + 1) for n, one in enumerate(_first(value.values()))
                ]
            continue
        things[key] = id(value)
        if depth < DEPTH:
            if type(value) is FunctionType:
                for free, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
                    inner = gc.get_referents(cell)
                    todo += [(f"{key}.{free}", free, one, depth + 1) for one in inner]
            else:
                found = [(at, one) for at, one in list(attributes(value).items())[:50] if at not in _LINES]
                todo += [(f"{key}.{at}", at, one, depth + 1) for at, one in found]


def _first(values: Iterable[object]) -> list[object]:
    """Return the first few values of an iterable that may be large, and may change meanwhile."""
    try:
        return list(itertools.islice(values, FEW))
    except RuntimeError:
        return []


def _told_by(value: object) -> object:
    """Return what identifies an element of a container: its identity; a number itself, as its memory is soon reused."""
    return value if type(value) in {int, float} else id(value)


def is_bound(place: Call, names: set[str]) -> bool:
    """Tell whether the exit of the loop around `place` depends, or may depend, on one of `names`."""
    conditions = _conditions(place.code, place.line)
    if conditions is None:
        return True  # its source is not available
    known, has_call = conditions
    return bool(known & names) or (has_call and any(name not in place.code.co_varnames for name in names))


def is_bound_in_function(place: Call, names: set[str]) -> bool:
    """Tell the same for a function that the loop calls anew each time: whether a condition in it may depend on one."""
    conditions = _decisions(place.code)
    return conditions is None or bool(conditions & names)


@lru_cache(maxsize=256)
def _decisions(code: CodeType) -> frozenset[str] | None:
    """Return the names in all conditions of a function; ``None`` if its source is not available."""
    tree = _tree(code)
    if tree is None:
        return None
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.While | ast.IfExp) and _is_within(node, code):
            found |= _names_in(node.test)[0]
    return frozenset(found)


def _is_within(node: ast.If | ast.While | ast.IfExp, code: CodeType) -> bool:
    last = max((line for _, _, line in code.co_lines() if line is not None), default=code.co_firstlineno)
    return code.co_firstlineno <= node.lineno <= last


def _tree(code: CodeType) -> ast.Module | None:
    lines = linecache.getlines(code.co_filename)
    try:
        return ast.parse("".join(lines)) if lines else None
    except SyntaxError:
        return None


def _names_in(test: ast.AST) -> tuple[set[str], bool]:
    """Return the names in an expression, and whether it calls something."""
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(test) if isinstance(node, ast.Attribute)}
    return names, any(isinstance(node, ast.Call) for node in ast.walk(test))


@lru_cache(maxsize=256)
def _conditions(code: CodeType, line: int) -> tuple[frozenset[str], bool] | None:
    """Return the names in the conditions of the innermost ``while`` around `line`, and whether those call something."""
    tree = _tree(code)
    if tree is None:
        return None
    loops = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.While) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    if not loops:
        return frozenset(), False
    loop = max(loops, key=lambda node: node.lineno)
    tests: list[ast.AST] = [loop.test]
    tests += [
        node.test
        for node in ast.walk(loop)
        if isinstance(node, ast.If)
        and any(isinstance(inner, ast.Break | ast.Return | ast.Raise) for inner in ast.walk(node))
    ]
    found: set[str] = set()
    has_call = False
    for test in tests:
        names, calls = _names_in(test)
        found |= names
        has_call = has_call or calls
    return frozenset(found), has_call
