"""What the ``with`` and ``async with`` blocks are about that a suspended frame is in, read off its stack.

The end of a block lies there until it is called: up to CPython 3.13 as a bound method, from 3.14 on as the function and
its object, one after the other, as ``LOAD_SPECIAL`` leaves them.
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
"""Of a ``with`` statement's manager: one of these is on the stack of the frame that is inside."""
_IS_METHOD: Final = 1 << 17
"""``Py_TPFLAGS_METHOD_DESCRIPTOR``: of types whose instances are called with their object as the first argument."""

_WRAPPERS: Final = frozenset({"_Bound", "BoundFunctionWrapper"})
"""Types of wrapt's, ours of it included: a method that was patched, looked up in an instance."""


class Exit(NamedTuple):
    """The end of a block: what will be called, unbound, and whose it is."""

    function: Any
    manager: Any


def exits_of(suspended: object) -> list[Exit]:
    """Return the ends of the blocks that a suspended coroutine or generator is in, the outermost first.

    That of a block which it is about to enter is among them.
    """
    return exits_in(get_referents(suspended))


def exits_in(referents: Sequence[Any]) -> list[Exit]:
    """Return what `exits_of` does, given what the coroutine or generator refers to."""
    if sys.version_info >= (3, 14):
        return _unbound(referents)
    return [found for value in referents if (found := _bound(value)) is not None]


def _bound(value: Any) -> Exit | None:
    """Return the end of a block that `value` is, if it is one that knows its object."""
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
        bound = _bound(value)  # what is no plain function is bound still
        if bound is not None:
            found.append(bound)
        # A frame's own function is followed by its code.
        elif (
            type(value).__flags__ & _IS_METHOD and value.__name__ in EXITS and type(following) is not CodeType
        ):
            found.append(Exit(value, following))
    return found
