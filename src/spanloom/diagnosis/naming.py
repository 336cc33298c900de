"""What the program calls an object: the variable, attribute or element that refers to it, found by identity."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import FunctionType, ModuleType
from typing import Any, Final

from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.fields import attributes, field
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.variables import variables_of

__all__ = ["Search", "name_in"]

_ELEMENTS: Final = 2_000
"""Elements of a container that are looked at, at most."""
_DEPTH: Final = 3
_STEPS: Final = 20_000
"""Places that are looked at for one name, at most."""
_ALL_STEPS: Final = 300_000
"""The same for all names of one look, a tenth of a second: of thousands of futures, the last ones get no name."""
_CLOSED: Final = frozenset(
    {"asyncio", "_asyncio", "builtins", "concurrent", "threading", "_thread", "uvloop", "collections"}
)
_NAMELESS: Final = frozenset({(0, "self"), (0, "cls")})
"""``(depth, name)`` of variables that do not name an object: a lock is not ``self`` in a method of its own class."""
_CONDITIONS: Final = (asyncio.Condition, threading.Condition)
_PLAIN: Final = (int, float, str, bytes, bool, type(None), type, FunctionType, ModuleType)


class Search:
    """How many more places may be looked at for names. Shared by one look.

    Attributes:
        left: The number.
    """

    def __init__(self) -> None:
        self.left: int = _ALL_STEPS


def name_in(links: Sequence[Link], wanted: object, search: Search) -> str | None:
    """Return what the program's own frames of `links` call `wanted`; ``None`` if it is not found.

    The name of a variable, ``Class.attribute`` or ``name[key]``. The fewest steps win; then the innermost frame, whose
    variables come before globals.
    """
    steps = min(_STEPS, search.left)
    if steps <= 0:
        return None
    left = [steps]
    try:
        return _named(links, wanted, left)
    finally:
        search.left -= steps - left[0]


def _named(links: Sequence[Link], wanted: object, left: list[int]) -> str | None:
    own = [link for link in reversed(links) if is_own(link.code.co_filename)]
    namespaces: list[dict[str, Any]] = []
    scopes = []
    for link in own:
        scopes.append(variables_of(link.frame, link.owner))
        namespace = link.frame.f_globals
        if not any(namespace is known for known in namespaces):
            namespaces.append(namespace)
    for depth in range(_DEPTH + 1):
        for variables in scopes:
            for name, value in variables.items():
                found = None if (depth, name) in _NAMELESS else _path(name, value, wanted, depth, left)
                if found is not None:
                    return found
        if depth <= 1:
            for namespace in namespaces:
                for name, value in list(namespace.items()):
                    found = None if name.startswith("__") else _path(name, value, wanted, depth, left)
                    if found is not None:
                        return found
    return None


def _path(name: str, value: Any, wanted: object, depth: int, left: list[int]) -> str | None:
    """Return the path to `wanted` from a value that is called `name`, exactly `depth` steps away."""
    left[0] -= 1
    if depth == 0:
        # A condition's own lock gets the name of the condition.
        is_its_lock = issubclass(type(value), _CONDITIONS) and field(value, "_lock") is wanted
        return name if value is wanted or is_its_lock else None
    if left[0] < 0:
        return None
    if type(value) in _PLAIN:
        return None
    for step, inner in _steps(name, value):
        found = _path(step, inner, wanted, depth - 1, left)
        if found is not None:
            return found
    return None


def _steps(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if kind is dict:
        for key, inner in islice(list(value.items()), _ELEMENTS):
            yield f"{name}[{_key(key)}]", inner
        return
    if kind in (list, tuple):
        for index, inner in enumerate(islice(list(value), _ELEMENTS)):
            yield f"{name}[{index}]", inner
        return
    if kind.__module__.split(".", 1)[0] in _CLOSED:
        return
    found: Mapping[str, Any] = attributes(value)
    for attribute, inner in islice(list(found.items()), _ELEMENTS):
        yield f"{kind.__name__}.{attribute}", inner
    for cls in kind.__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for attribute in (slots,) if type(slots) is str else tuple(slots):
            if type(attribute) is str:
                yield f"{kind.__name__}.{attribute}", field(value, attribute)
        for attribute, inner in list(vars(cls).items()):  # class attributes
            if type(inner) not in _PLAIN and not attribute.startswith("__"):
                yield f"{cls.__name__}.{attribute}", inner


def _key(key: object) -> str:
    """Write a key as in source code; one of any other than a plain type, by the name of its type."""
    if type(key) is str:
        return repr(key) if len(key) <= 40 else repr(f"{key[:40]}…")
    return str(key) if type(key) in (int, float, bool, type(None)) else type(key).__name__
