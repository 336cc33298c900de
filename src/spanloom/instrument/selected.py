"""The arguments of a call that an event records: those asked for by name, reduced to what is safe to keep."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any, Final, NamedTuple

__all__ = ["MAX_TEXT", "Selector"]

MAX_TEXT: Final = 500
"""Characters kept of a text, as of an exception's message."""

_PLAIN: Final = frozenset({int, float, bool, type(None)})
_MISSING: Final = object()


class _Wanted(NamedTuple):
    """One parameter, and what is to be known of its value."""

    name: str
    kind: object
    place: int
    default: object
    take: Callable[[Any], object] | None


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
        by_keyword = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
        self._named = frozenset(name for name, each in parameters.items() if each.kind in by_keyword)
        self._wanted: list[_Wanted] = []
        for name in names:
            parameter = parameters.get(name)
            if parameter is None:
                raise ValueError(
                    f"{getattr(function, '__qualname__', function)} has no parameter {name!r}; it has: "
                    + (", ".join(parameters) or "none")
                )
            default = _MISSING if parameter.default is Parameter.empty else parameter.default
            take = names[name] if isinstance(names, Mapping) else None
            self._wanted.append(_Wanted(name, parameter.kind, places[name], default, take))

    def select(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], bound: int = 0) -> dict[str, object]:
        """Return the values by name; that of ``*args`` is a tuple, that of ``**kwargs`` a dictionary.

        Args:
            args: The positional arguments.
            kwargs: The others.
            bound: Parameters that come before the first of `args`, because a method is bound: 0 or 1.
        """
        found: dict[str, object] = {}
        for name, kind, place, default, take in self._wanted:
            value = default
            if name in self._named and name in kwargs:
                value = kwargs[name]
            elif kind is Parameter.VAR_POSITIONAL:
                value = args[place - bound :]
            elif kind is Parameter.VAR_KEYWORD:
                value = {key: each for key, each in kwargs.items() if key not in self._named}
            elif kind is not Parameter.KEYWORD_ONLY and 0 <= place - bound < len(args):
                value = args[place - bound]
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
