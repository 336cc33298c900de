"""What the program calls an object: the variable, attribute or element in which it is found, by identity."""

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
"""Elements of a container that are looked through."""
_DEPTH: Final = 3
_STEPS: Final = 20_000
"""Places that are looked at for one name."""
_ALL_STEPS: Final = 300_000
"""The same for all names of one look, a tenth of a second: of thousands of futures the last ones stay nameless."""
_CLOSED: Final = frozenset(
    {"asyncio", "_asyncio", "builtins", "concurrent", "threading", "_thread", "uvloop", "collections"}
)
_NAMELESS: Final = frozenset({(0, "self"), (0, "cls")})
"""What says nothing of which one it is: a lock in a method of its own class is called as its owner calls it."""
_CONDITIONS: Final = (asyncio.Condition, threading.Condition)
_PLAIN: Final = (int, float, str, bytes, bool, type(None), type, FunctionType, ModuleType)


class Search:
    """How many more places may be looked at for names. Shared by all names of one look."""

    def __init__(self) -> None:
        self.left: int = _ALL_STEPS


def name_in(links: Sequence[Link], wanted: object, search: Search) -> str | None:
    """Return what the frames of `links` call `wanted`, the innermost of the program's own frames first.

    A variable is called by its name, an attribute as ``Class.attribute``, an element as ``name[key]``.
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
        # The lock that a condition has made itself is called as the condition is.
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
        for attribute, inner in list(vars(cls).items()):  # what all instances share
            if type(inner) not in _PLAIN and not attribute.startswith("__"):
                yield f"{cls.__name__}.{attribute}", inner


def _key(key: object) -> str:
    """Write a key as the program would, without asking a class of its own."""
    if type(key) is str:
        return repr(key) if len(key) <= 40 else repr(f"{key[:40]}…")
    return str(key) if type(key) in (int, float, bool, type(None)) else type(key).__name__
