"""What is called in the place of a function, and how functions are pickled and copied."""

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

    # By a function of the standard library: who reads it need not have this one.
    return name if value is function else (pkgutil.resolve_name, (f"{module}:{name}",))


class Copied:
    """Is copied as a function is: it stays the same."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
