"""What a user writes for a processor, checked where it is given: a mistake in it would show in each item, or never."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["check_part", "check_parts"]


def check_parts(name: str, parts: object, kind: type, *methods: str) -> None:
    """Make sure that `parts` is a list of such as `check_part` lets pass, or ``None``.

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
    """Make sure that `part` has its methods, or is ``None``; of which class it is does not matter.

    Args:
        name: What it was given as.
        part: What was given.
        kind: The class that one would derive from.
        methods: What is called of it.

    Raises:
        TypeError: it lacks one, or it is a class and no object of one.
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
