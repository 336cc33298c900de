"""Names that a package imports on first access (PEP 562); most programs never use them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

__all__ = ["offered"]


def offered(package: str, where: Mapping[str, str], name: str) -> object:
    """Import attribute `name` of a package, set it on the package and return it; for the package's ``__getattr__``.

    Args:
        package: Name of the package.
        where: By attribute, the module that defines it. An attribute must not share the name of a submodule of the
            package, which would be found instead.
        name: The attribute.

    Raises:
        AttributeError: `name` is not in `where`.
    """
    if name not in where:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(where[name]), name)
    setattr(sys.modules[package], name, value)
    return value
