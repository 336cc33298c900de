"""Checks of the user's objects when they are given: a mistake would otherwise show in each item, or never."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["check_part", "check_parts"]


def check_parts(name: str, parts: object, kind: type, *methods: str) -> None:
    """Check that `parts` is ``None``, or a list of objects that pass `check_part`.

    Raises:
        TypeError: it is not.
    """
    if parts is None:
        return
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        raise TypeError(f"{name} must be a list of {kind.__name__} objects, or None (got {parts!r})")
    for number, part in enumerate(parts):
        if part is None:
            raise TypeError(f"{name}[{number}] must be like {kind.__name__} (got None)")
        check_part(f"{name}[{number}]", part, kind, *methods)


def check_part(name: str, part: object, kind: type, *methods: str) -> None:
    """Check that `part` is ``None``, or has `methods`; its class does not matter.

    Args:
        name: Name of the parameter, for the message.
        part: What was given.
        kind: The class to derive from, for the message.
        methods: Names of the methods that will be called.

    Raises:
        TypeError: it lacks a method, or is a class instead of an instance.
    """
    if part is None:
        return
    if isinstance(part, type):
        raise TypeError(
            f"{name} must be an object, not its class: give {part.__name__}(...), not {part.__name__}"
        )
    missing = [method for method in methods if not callable(getattr(part, method, None))]
    if missing:
        raise TypeError(
            f"{name} must be like {kind.__name__}, and lacks {' and '.join(missing)} (got {part!r})"
        )
