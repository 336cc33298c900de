"""The arguments of a call that an event records: those asked for by name, reduced to what is safe to keep."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

__all__ = ["MAX_TEXT", "Selector"]

MAX_TEXT: Final = 500
"""Characters kept of a text, as of an exception's message."""

_PLAIN: Final = frozenset({int, float, bool, type(None)})
_MISSING: Final = object()


class Selector:
    """Takes the values of some parameters from the arguments of a call.

    Args:
        function: What is called.
        names: The parameters; with a mapping, each with a function that converts the value.

    Raises:
        ValueError: `function` has no parameter of that name.
    """

    def __init__(
        self, function: Callable[..., Any], names: Sequence[str] | Mapping[str, Callable[[Any], object]]
    ) -> None:
        parameters = inspect.signature(function).parameters
        places = {name: place for place, name in enumerate(parameters)}
        self._wanted: list[tuple[str, int, object, Callable[[Any], object] | None]] = []
        for name in names:
            parameter = parameters.get(name)
            if parameter is None:
                raise ValueError(
                    f"{getattr(function, '__qualname__', function)} has no parameter {name!r}; it has: "
                    + (", ".join(parameters) or "none")
                )
            place = -1 if parameter.kind is inspect.Parameter.KEYWORD_ONLY else places[name]
            default = _MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            self._wanted.append((name, place, default, names[name] if isinstance(names, Mapping) else None))

    def select(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], bound: int = 0) -> dict[str, object]:
        """Return the values by name.

        Args:
            args: The positional arguments.
            kwargs: The others.
            bound: Parameters that come before the first of `args`, because a method is bound: 0 or 1.
        """
        found: dict[str, object] = {}
        for name, place, default, take in self._wanted:
            if name in kwargs:
                value = kwargs[name]
            else:
                value = args[place - bound] if 0 <= place - bound < len(args) else default
            if value is not _MISSING:
                found[name] = _safe(value if take is None else take(value))
        return found


def _safe(value: object) -> object:
    """Return `value` if it is a number, a flag or a text (cut to `MAX_TEXT`); else the name of its type."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, str):
        text = str.__str__(value)
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return f"<{kind.__name__}>"
