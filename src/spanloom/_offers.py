"""What a package offers and loads only when it is asked for: most programs that are watched never do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping

__all__ = ["offered_late"]


def offered_late(package: str, where: Mapping[str, str]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: Its name.
        where: The modules that have what it offers, by the names of that; none of them is called as such a module is,
            which would be found instead.
    """

    def __getattr__(name: str) -> object:  # noqa: N807 -- the name that a package gives it
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(where[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__
