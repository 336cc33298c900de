"""Which objects a piece of code calls which methods of, told from its instructions and the values it starts from.

``self.owner.lock.release()`` is the path ``self.owner.lock`` and the method ``release``; the path leads to the object,
from the variables of a frame or from the ``self`` that a method would have. Methods that are called on the way are
followed. Nothing of the program is run: only attributes that lie in an instance or in a slot are gone along.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.fields import field
from spanloom.diagnosis.origin import is_own

__all__ = ["Call", "calls_in", "methods_of", "resolve", "subjects"]

_DEPTH: Final = 4
_VARIABLES: Final = ("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_NOTHING: Final = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "NOP", "EXTENDED_ARG"})
_UNNAMED: Final = {"GET_AITER": "__anext__", "BEFORE_ASYNC_WITH": "__aenter__", "BEFORE_WITH": "__enter__"}
_SPECIAL: Final = {0: "__enter__", 2: "__aenter__"}
"""What ``LOAD_SPECIAL`` looks up, from 3.14 on, in what ``COPY`` has made two of: the end first, then the beginning."""


class Call(NamedTuple):
    """A use of a method: ``self.lock.acquire`` is the path ``("self", "lock")`` and the method ``acquire``."""

    path: tuple[str, ...]
    method: str
    offset: int
    line: int


def calls_in(instructions: Sequence[dis.Instruction]) -> Iterator[Call]:
    """Yield all attributes that are taken of what has a path, methods among them, in the order of the code."""
    path: list[str] = []
    copied: list[str] = []
    aliases: dict[str, list[str]] = {}
    line = 0
    for instruction in instructions:
        line = _line(instruction) or line
        name = instruction.opname
        value = instruction.argval
        if name.startswith(_VARIABLES):
            variable = value[-1] if type(value) is tuple else value
            path, copied = [*aliases.get(variable, (variable,))], []
        elif name in {"LOAD_METHOD", "LOAD_ATTR"}:
            if path:
                yield Call(tuple(path), value, instruction.offset, line)
                path.append(value)
        elif name in _UNNAMED:
            if path:
                yield Call(tuple(path), _UNNAMED[name], instruction.offset, line)
            path = []
        elif name == "COPY":
            path, copied = [], path
        elif name == "LOAD_SPECIAL":
            if copied and instruction.arg in _SPECIAL:
                yield Call(tuple(copied), _SPECIAL[instruction.arg], instruction.offset, line)
        elif name.startswith("STORE_FAST"):
            path = _store(name, value, path, aliases)
        elif name not in _NOTHING:
            path = []


def _line(instruction: dis.Instruction) -> int | None:
    """Return the line that begins with an instruction, if one does."""
    starts = instruction.starts_line
    if starts is None or starts is False:
        return None
    number = getattr(instruction, "line_number", starts)  # 3.13 has a bool in starts_line
    return number if isinstance(number, int) else None


def _store(name: str, value: Any, path: list[str], aliases: dict[str, list[str]]) -> list[str]:
    """Have a variable stand for the path that is stored in it; return the path that is there then."""
    first, *others = value if type(value) is tuple else (value,)  # two in one, from 3.13 on
    aliases.pop(first, None)
    if len(path) > 1:
        aliases[first] = path
    if not others:
        return []
    if name == "STORE_FAST_LOAD_FAST":
        return [*aliases.get(others[0], others)]
    aliases.pop(others[0], None)
    return []


def resolve(path: Sequence[str], variables: Mapping[str, object], namespace: Mapping[str, Any]) -> object:
    """Return the object that a path leads to; ``None`` if it leads nowhere."""
    value = variables.get(path[0], namespace.get(path[0]))
    for name in path[1:]:
        if value is None:
            return None
        value = field(value, name)
    return value


def methods_of(value: object, name: str) -> FunctionType | None:
    """Return the function that a method of `value` is, if it is the program's own."""
    for cls in type(value).__mro__:
        found = cls.__dict__.get(name)
        if found is not None:
            while type(found) is FunctionType and not is_own(found.__code__.co_filename):
                found = vars(found).get("__wrapped__")  # what `asynccontextmanager` has made of it
            return found if type(found) is FunctionType else None
    return None


def subjects(
    bytecode: Bytecode,
    code: CodeType,
    variables: Mapping[str, object],
    namespace: Mapping[str, Any],
    methods: frozenset[str],
) -> Iterator[object]:
    """Yield the objects of which `code`, or a method that it calls, calls one of `methods`.

    Args:
        bytecode: Where instructions are remembered.
        code: The code.
        variables: Its variables, as far as they are known.
        namespace: Its globals.
        methods: The names to look for.
    """
    yield from _subjects(bytecode, code, variables, namespace, methods, _DEPTH, set())


def _subjects(
    bytecode: Bytecode,
    code: CodeType,
    variables: Mapping[str, object],
    namespace: Mapping[str, Any],
    methods: frozenset[str],
    depth: int,
    seen: set[tuple[int, int]],
) -> Iterator[object]:
    for call in calls_in(bytecode.instructions(code)):
        value = resolve(call.path, variables, namespace)
        if value is None:
            continue
        if call.method in methods:
            yield value
            continue
        for name in (call.method, "__aiter__") if call.method == "__anext__" else (call.method,):
            function = methods_of(value, name)
            if function is None or depth == 0 or not function.__code__.co_argcount:
                continue
            if (id(function), id(value)) not in seen:
                seen.add((id(function), id(value)))
                own = {function.__code__.co_varnames[0]: value}
                yield from _subjects(
                    bytecode, function.__code__, own, function.__globals__, methods, depth - 1, seen
                )
