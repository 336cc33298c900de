"""The context managers whose ``with`` and ``async with`` blocks a suspended frame is in, read from its stack.

The exit method of a block is on the stack until it is called: up to CPython 3.13 as a bound method, from 3.14 on as the
function followed by its object, as ``LOAD_SPECIAL`` leaves them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from gc import get_referents
from itertools import pairwise
from types import BuiltinMethodType, CodeType, MethodType
from typing import Any, Final, NamedTuple

__all__ = ["EXITS", "Exit", "exits_in", "exits_of"]

EXITS: Final = frozenset({"__aexit__", "__exit__"})
"""Names of exit methods: one is on the stack of a frame for each block that it is in."""
_IS_METHOD: Final = 1 << 17
"""``Py_TPFLAGS_METHOD_DESCRIPTOR``: set on types whose instances are called with their object as the first argument."""

_WRAPPERS: Final = frozenset({"_Bound", "BoundFunctionWrapper"})
"""Types of patched bound methods: wrapt's, and ours that derives from it."""


class Exit(NamedTuple):
    """The exit of a block: the unbound exit method, and its context manager."""

    function: Any
    manager: Any


def exits_of(suspended: object) -> list[Exit]:
    """Return the exits of the blocks that a suspended coroutine or generator is in, the outermost first.

    A block that it is about to enter is among them.
    """
    return exits_in(get_referents(suspended))


def exits_in(referents: Sequence[Any]) -> list[Exit]:
    """Do what `exits_of` does, given the ``gc.get_referents`` of the coroutine or generator."""
    if sys.version_info >= (3, 14):
        return _unbound(referents)
    return [found for value in referents if (found := _bound(value)) is not None]


def _bound(value: Any) -> Exit | None:
    """Return the exit that `value` is, if it is a bound exit method."""
    kind = type(value)
    if kind.__name__ in _WRAPPERS:
        value = value.__wrapped__
        kind = type(value)
    if kind is MethodType:
        return Exit(value.__func__, value.__self__) if value.__func__.__name__ in EXITS else None
    return Exit(value, value.__self__) if kind is BuiltinMethodType and value.__name__ in EXITS else None


def _unbound(referents: Sequence[Any]) -> list[Exit]:
    found = []
    for value, following in pairwise((*referents, None)):
        bound = _bound(value)  # an exit method that is not a plain function is still bound
        if bound is not None:
            found.append(bound)
        # A frame's own function is followed by its code.
        elif (
            type(value).__flags__ & _IS_METHOD and value.__name__ in EXITS and type(following) is not CodeType
        ):
            found.append(Exit(value, following))
    return found
