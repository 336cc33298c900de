"""Bounded plain copies of arbitrary values: what leaves the process holds no user object.

No user code runs here: no ``__str__``, ``__repr__``, ``__iter__``, ``__eq__`` or ``__class__``
property. Types are tested by ``issubclass(type(value), ...)``, because ``isinstance`` reads
``value.__class__``. Values are read by the methods of the built-in base classes, because a subclass
may override them.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any, Final

__all__ = ["placeholder", "plain_payload", "plain_text"]

MAX_TEXT: Final = 2_000
"""Characters kept of one string: the beginning of a long prompt, a few lines of a screen."""
MAX_KEY: Final = 200
"""Characters kept of a key or of the name of a type."""
MAX_ITEMS: Final = 100
"""Items kept of one collection."""
MAX_DEPTH: Final = 5
"""Nested collections; the payload itself is the first. Ends reference cycles, too."""
MAX_VALUES: Final = 1_000
"""Values kept of one payload, all depths together: 100 items at each of 5 depths would be 10**10."""
MAX_TOTAL_TEXT: Final = 64_000
"""Characters kept of one payload, all strings together."""
MAX_INT_BITS: Final = 1_024
"""Longer integers are not written out: that takes time quadratic in their length."""

CUT: Final = "…"
"""Stands at the end of a string, as the last item of a list, or as a key, where something was left out."""

_SEQUENCES: Final = (list, tuple, set, frozenset)
_SCALARS: Final = frozenset({bool, int, float, type(None)})

# The getters of `type` itself: a metaclass may define properties of these names.
_module_of = type.__dict__["__module__"].__get__
_qualname_of = type.__dict__["__qualname__"].__get__


def plain_text(text: str, limit: int = MAX_TEXT) -> str:
    """Return at most `limit` characters of `text` as an exact ``str`` that UTF-8 can hold."""
    text = str.__str__(text)
    if len(text) > limit:
        text = text[: max(0, limit - 1)] + CUT
    if text.isascii():
        return text
    # Lone surrogates: file names that are not valid in their encoding have them.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def placeholder(kind: type) -> str:
    """Return ``<module.Type>``, or ``<Type>`` for a built-in type, at most `MAX_KEY` characters of each."""
    module = _module_of(kind)
    name = plain_text(_qualname_of(kind), MAX_KEY)
    if not issubclass(type(module), str) or module == "builtins":
        return f"<{name}>"
    return f"<{plain_text(module, MAX_KEY)}.{name}>"


def plain_payload(payload: dict[str, object]) -> dict[str, object]:
    """Return a copy of `payload` that JSON can hold, bounded in size and depth.

    Strings are cut at `MAX_TEXT`, collections at `MAX_ITEMS`, and everything together at
    `MAX_VALUES` and `MAX_TOTAL_TEXT`; a `CUT` marks what was left out. Sets and tuples become lists,
    and non-finite floats the strings ``NaN``, ``Infinity`` and ``-Infinity``. Integers beyond
    `MAX_INT_BITS` and whatever else JSON cannot hold become a placeholder.
    """
    return _Copy().mapping(payload, MAX_DEPTH)


class _Copy:
    """One copy of one payload, with what is left of its budget."""

    __slots__ = ("_text", "_values")

    def __init__(self) -> None:
        self._values = MAX_VALUES
        self._text = MAX_TOTAL_TEXT

    def value(self, value: object, depth: int) -> object:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            return self.text(value, MAX_TEXT)  # type: ignore[arg-type]  # mypy narrows by isinstance only
        if issubclass(kind, int):
            return _integer(value)
        if issubclass(kind, float):
            return _float(value)
        if depth and issubclass(kind, dict):
            return self.mapping(value, depth)
        if depth and issubclass(kind, _SEQUENCES):
            return self.sequence(value, depth)
        return self.text(placeholder(kind), 2 * MAX_KEY)

    def text(self, text: str, limit: int) -> str:
        plain = plain_text(text, min(limit, self._text))
        self._text = max(0, self._text - len(plain))
        return plain

    # Any: a dict or a sequence of whatever class and contents, known by `issubclass` alone.
    def mapping(self, mapping: Any, depth: int) -> dict[str, object]:
        try:
            items = list(islice(dict.items(mapping), MAX_ITEMS))
        except RuntimeError:  # its owner writes to it in another thread
            items = list(islice(dict.copy(mapping).items(), MAX_ITEMS))
        out: dict[str, object] = {}
        for key, value in items:
            if not self._take():
                break
            label = self._label(key)
            if label in out:
                label = f"{label} #{len(out)}"
            out[label] = self.value(value, depth - 1)
        left = dict.__len__(mapping) - len(out)
        if left > 0:
            out[CUT if CUT not in out else f"{CUT} #{len(out)}"] = f"{left} more"
        return out

    def sequence(self, sequence: Any, depth: int) -> list[object]:
        base = next(base for base in _SEQUENCES if issubclass(type(sequence), base))
        try:
            items = list(islice(base.__iter__(sequence), MAX_ITEMS))
        except RuntimeError:  # a set that its owner writes to in another thread
            items = list(islice(set.copy(sequence), MAX_ITEMS))
        out = [self.value(item, depth - 1) for item in items if self._take()]
        left = base.__len__(sequence) - len(out)
        if left > 0:
            out.append(f"{CUT} {left} more")
        return out

    def _take(self) -> bool:
        self._values -= 1
        return self._values >= 0 and self._text > 0

    def _label(self, key: object) -> str:
        kind = type(key)
        if issubclass(kind, str):
            return self.text(key, MAX_KEY)  # type: ignore[arg-type]  # mypy narrows by isinstance only
        if kind in _SCALARS:
            return str(self.value(key, 0))
        return placeholder(kind)


def _integer(value: Any) -> int | str:
    bits = int.bit_length(value)
    return int.__int__(value) if bits <= MAX_INT_BITS else f"<int of {bits} bits>"


def _float(value: Any) -> float | str:
    number = float.__float__(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
