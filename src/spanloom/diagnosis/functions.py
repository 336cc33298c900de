"""The program's own functions, by name: what a task that is gone may have called.

Such a task has left no values, at most its code. The names in that code, and in the functions with such names, tell
what it may have done. That is enough for a hint in a sentence, not for a proof.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any, Final

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.ahead import ITERATORS, MANAGERS, enters, iterates
from spanloom.diagnosis.fields import namespace_of
from spanloom.diagnosis.model import OwnFunction
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.pace import in_slices

__all__ = ["Functions"]

MOST: Final = 5_000
"""Functions that are read, at most; few programs have more."""
_DEPTH: Final = 4
"""How many calls deep functions are followed."""
_CALLED: Final = 200
"""Functions that are followed from one task's code, about."""


class Functions:
    """The functions in the program's own modules and classes, inner ones included; read on first use.

    Args:
        namespaces: Globals of code of the program's own, in addition to those of the modules in `sys.modules`.
    """

    def __init__(self, namespaces: Iterable[dict[str, Any]]) -> None:
        self._namespaces = namespaces

    @functools.cached_property
    def _by_name(self) -> dict[str, list[CodeType]]:
        found: dict[str, list[CodeType]] = {}
        for code in in_slices(_codes(self._namespaces)):
            found.setdefault(code.co_name, []).append(code)
        return found

    def using(self, names: frozenset[str]) -> tuple[OwnFunction, ...]:
        """Return the functions whose own code uses one of `names`."""
        return tuple(
            OwnFunction(bare_name(code.co_qualname), frozenset(code.co_names))
            for codes in self._by_name.values()
            for code in codes
            if not names.isdisjoint(code.co_names)
        )

    def called_by(self, codes: Iterable[CodeType]) -> tuple[frozenset[str], ...]:
        """Return the names used by each function that `codes` may call, directly or not, judged by function names."""
        now = [code for one in codes for code in _with_inner(one)]
        passed = {id(code) for code in now}
        found: list[frozenset[str]] = []
        for _ in range(_DEPTH):
            called = [
                code
                for name in dict.fromkeys(name for one in now for name in _called(one))
                for code in self._by_name.get(name, ())
                if id(code) not in passed
            ]
            now = [inner for code in called for inner in _with_inner(code)]
            passed.update(map(id, now))
            found += [frozenset(code.co_names) | MANAGERS for code in now]
            if not now or len(found) > _CALLED:
                break
        return tuple(found)


def _called(code: CodeType) -> tuple[str, ...]:
    """Return the names that code may call, including special methods that its statements call implicitly."""
    managers = sorted(MANAGERS) if enters(code) else ()
    iterators = sorted(ITERATORS) if iterates(code) else ()
    return (*code.co_names, *managers, *iterators)


def _codes(namespaces: Iterable[dict[str, Any]]) -> Iterator[CodeType]:
    spaces: dict[int, Mapping[str, Any]] = {id(space): space for space in namespaces}
    for module in list(sys.modules.values()):
        space = namespace_of(module)
        path = space.get("__file__")
        if type(path) is str and is_own(path):
            spaces[id(space)] = space
    passed: set[int] = set()
    for space in spaces.values():
        for value in list(space.values()):
            for code in _codes_of(value):
                if id(code) not in passed and len(passed) < MOST:
                    passed.add(id(code))
                    yield code


def _codes_of(value: Any) -> Iterator[CodeType]:
    """Yield the code of a function of the program's own, or of the methods of a class."""
    members = list(vars(value).values()) if issubclass(type(value), type) else [value]
    for member in members:
        for function in _functions_in(member):
            while type(function) is FunctionType:
                if is_own(function.__code__.co_filename):
                    yield from _with_inner(function.__code__)
                function = vars(function).get("__wrapped__")  # the function that a decorator has wrapped


def _functions_in(member: Any) -> tuple[Any, ...]:
    if type(member) in (staticmethod, classmethod):
        return (member.__func__,)
    return (member.fget, member.fset) if type(member) is property else (member,)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object, and those of the functions that are defined in it."""
    yield code
    for const in code.co_consts:
        if type(const) is CodeType:
            yield from _with_inner(const)
