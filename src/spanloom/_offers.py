"""What a package offers and loads only when it is asked for: most programs that are watched never do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

__all__ = ["offered"]


def offered(package: str, where: Mapping[str, str], name: str) -> object:
    """Return what the ``__getattr__`` of a package is asked for, which it has from then on.

    Args:
        package: Its name.
        where: The modules that have what it offers, by the names of that; none of them is called as such a module is,
            which would be found instead.
        name: What is asked for.

    Raises:
        AttributeError: it is not in `where`.
    """
    if name not in where:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(where[name]), name)
    setattr(sys.modules[package], name, value)
    return value
