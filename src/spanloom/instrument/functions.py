"""The type of wrappers, and how they are pickled and copied as functions are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias

__all__ = ["Args", "Copied", "KwArgs", "Wrapper", "by_name"]

Args: TypeAlias = tuple[Any, ...]
KwArgs: TypeAlias = Mapping[str, Any]
Wrapper: TypeAlias = Callable[[Callable[..., Any], Any, Args, KwArgs], Any]
"""Is called in the place of a function: with the function, bound already; what it is bound to, or ``None``; and the
arguments."""


def by_name(function: Any) -> str | tuple[Any, ...]:
    """Return how `function` is pickled, as functions are: by its name."""
    module, name = function.__module__, function.__qualname__
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    import pkgutil

    # By a function of the standard library: the process that unpickles it need not have ours.
    return name if value is function else (pkgutil.resolve_name, (f"{module}:{name}",))


class Copied:
    """A mixin: copying returns the same object, as with functions."""

    __slots__ = ()  # or it would bring a `__dict__` of its own, and hide that of the function that a proxy shows

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
