"""Which methods a piece of code calls of which objects, read from its instructions and its variables.

``self.owner.lock.release()`` is the path ``self.owner.lock`` and the method ``release``. A path is resolved to an
object from the variables of a frame, or from the ``self`` of a method; it may have an index: ``self.locks[number]``.
Methods that the code calls are followed. No code of the program is run: only attributes in an instance or a slot are
read, and only elements of built-in containers and their subclasses.
"""

from __future__ import annotations

import dis
import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.fields import field
from spanloom.diagnosis.origin import is_own

__all__ = [
    "Call",
    "Item",
    "Path",
    "calls_in",
    "keys_of",
    "methods_of",
    "resolve",
    "stored_between",
    "subjects",
]

_DEPTH: Final = 4
_MOST: Final = 10_000
"""Keys of a dictionary that are compared, at most: it is not asked itself, as that may run an ``__eq__``."""
_PLAIN_KEYS: Final = (int, str, bytes)
_CONSTANTS: Final = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
_INDEXING: Final = frozenset({"BINARY_SUBSCR", "BINARY_OP"})
_INDEXES: Final = frozenset({"", "[]"})
"""`dis.Instruction.argrepr` of an index: from 3.14 on, that is one of many kinds of ``BINARY_OP``."""
_VARIABLES: Final = ("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_NOTHING: Final = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "NOP", "EXTENDED_ARG"})
_UNNAMED: Final = {"GET_AITER": "__anext__", "BEFORE_ASYNC_WITH": "__aenter__", "BEFORE_WITH": "__enter__"}
_SPECIAL: Final = {0: "__enter__", 2: "__aenter__"}
"""What ``LOAD_SPECIAL`` looks up by its argument, from 3.14 on, in the manager that ``COPY`` has copied.

It looks up the exit first and then the entry, which is what counts here.
"""


class Item(NamedTuple):
    """A step of a path: an element of a container.

    Attributes:
        path: The path to the index or key; ``None`` if that is a constant.
        constant: The index or key, if it is a constant.
    """

    path: tuple[str, ...] | None
    constant: object = None


Path = tuple[str | Item, ...]


class Call(NamedTuple):
    """A use of a method: ``self.lock.acquire`` is the path ``("self", "lock")`` and the method ``acquire``."""

    path: Path
    method: str
    offset: int
    line: int


def calls_in(instructions: Sequence[dis.Instruction]) -> Iterator[Call]:  # noqa: C901 -- a branch for each instruction
    """Yield each lookup of an attribute, methods among them, of an object that has a path; in the order of the code."""
    path: list[str | Item] = []
    under: list[str | Item] = []  # the path of what lies below it on the stack
    key: Item | None = None
    copied: list[str | Item] = []
    aliases: dict[str, list[str | Item]] = {}
    line = 0
    for instruction in instructions:
        line = _line(instruction) or line
        name = instruction.opname
        value = instruction.argval
        if name.startswith(_VARIABLES):
            under = path
            for variable in value if type(value) is tuple else (value,):
                under, path = path, [*aliases.get(variable, (variable,))]
            key, copied = None, []
        elif name in _CONSTANTS:
            under, path, key = path, [], Item(None, value)
        elif name in _INDEXING and instruction.argrepr in _INDEXES:
            path = _element(under, path, key)
            under, key = [], None
        elif name in {"LOAD_METHOD", "LOAD_ATTR"}:
            if path:
                yield Call(tuple(path), value, instruction.offset, line)
                path = [*path, value]
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


def _element(container: list[str | Item], index: list[str | Item], key: Item | None) -> list[str | Item]:
    """Return the path to an element of what `container` leads to; empty if the index has no path and is no constant."""
    if not container:
        return []
    if key is not None:
        return [*container, key]
    names = tuple(step for step in index if type(step) is str)
    return [*container, Item(names)] if names and len(names) == len(index) else []


def _line(instruction: dis.Instruction) -> int | None:
    """Return the line that begins with an instruction, if one does."""
    starts = instruction.starts_line
    if starts is None or starts is False:
        return None
    number = getattr(instruction, "line_number", starts)  # 3.13 has a bool in starts_line
    return number if isinstance(number, int) else None


def _store(
    name: str, value: Any, path: list[str | Item], aliases: dict[str, list[str | Item]]
) -> list[str | Item]:
    """Note that a variable now stands for the path stored in it; return the path that is on top of the stack then.

    Not for an element of a container: the same index or key may lead to another one later.
    """
    first, *others = value if type(value) is tuple else (value,)  # two in one, from 3.13 on
    aliases.pop(first, None)
    if len(path) > 1 and all(type(step) is str for step in path):
        aliases[first] = path
    if not others:
        return []
    if name == "STORE_FAST_LOAD_FAST":
        return [*aliases.get(others[0], others)]
    aliases.pop(others[0], None)
    return []


def resolve(path: Path, variables: Mapping[str, object], namespace: Mapping[str, Any]) -> object:
    """Return the object that a path leads to; ``None`` if it leads nowhere."""
    first, *steps = path
    value = variables.get(first, namespace.get(first)) if type(first) is str else None
    for step in steps:
        if value is None:
            return None
        if type(step) is str:
            value = field(value, step)
        elif type(step) is Item:
            key = step.constant if step.path is None else resolve(step.path, variables, namespace)
            value = _element_of(value, key)
    return value


def _element_of(container: Any, key: object) -> object:
    """Return an element of a list, tuple or dictionary; of a subclass, by the methods of the built-in type."""
    if issubclass(type(container), (list, tuple)):
        kind: Any = list if issubclass(type(container), list) else tuple
        size = kind.__len__(container)
        return kind.__getitem__(container, key) if type(key) is int and -size <= key < size else None
    if not issubclass(type(container), dict) or type(key) not in _PLAIN_KEYS:
        return None
    try:
        items = list(itertools.islice(dict.items(container), _MOST))
    except RuntimeError:  # it has changed meanwhile
        return None
    return next((value for one, value in items if type(one) is type(key) and one == key), None)


def stored_between(
    instructions: Iterable[dis.Instruction], names: Container[str], start: int, end: int
) -> bool:
    """Return whether one of the variables `names` is assigned after the offset `start` and up to `end`."""
    for one in instructions:
        if start < one.offset <= end and one.opname.startswith("STORE_"):
            stored = one.argval if type(one.argval) is tuple else (one.argval,)
            if any(name in names for name in stored):
                return True
    return False


def keys_of(path: Path) -> frozenset[str]:
    """Return the variables that the indexes and keys of a path start from."""
    return frozenset(step.path[0] for step in path if type(step) is Item and step.path is not None)


def methods_of(value: object, name: str) -> FunctionType | None:
    """Return the function behind a method of `value`, if it is the program's own; else ``None``."""
    for cls in type(value).__mro__:
        found = cls.__dict__.get(name)
        if found is not None:
            while type(found) is FunctionType and not is_own(found.__code__.co_filename):
                found = vars(found).get("__wrapped__")  # through decorators such as `asynccontextmanager`
            return found if type(found) is FunctionType else None
    return None


def subjects(
    bytecode: Bytecode,
    code: CodeType,
    variables: Mapping[str, object],
    namespace: Mapping[str, Any],
    methods: frozenset[str],
) -> Iterator[object]:
    """Yield the objects of which `code`, or a method that it calls (up to `_DEPTH` calls deep), uses one of `methods`.

    Args:
        bytecode: Analyses of code, shared by the look.
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
