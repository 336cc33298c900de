"""Notes on other people's objects, kept outside of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["SideTable"]

V = TypeVar("V")


class SideTable(Generic[V]):
    """Values by object, which it does not keep alive; safe from any thread.

    By identity, not by equality as in a ``WeakKeyDictionary``: a class of the program may call two of its locks equal,
    or have no hash.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[object], V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __setitem__(self, key: object, value: V) -> None:
        self._entries[id(key)] = self._entry(key, value)

    def _entry(self, key: object, value: V) -> tuple[weakref.ref[object], V]:
        number, entries = id(key), self._entries

        def gone(reference: weakref.ref[object]) -> None:
            entry = entries.get(number)
            if entry is not None and entry[0] is reference:
                entries.pop(number, None)

        return weakref.ref(key, gone), value

    def get(self, key: object) -> V | None:
        """Return the value of `key`, or ``None``."""
        entry = self._entries.get(id(key))
        return entry[1] if entry is not None and entry[0]() is key else None

    def of(self, key: object, make: Callable[[], V]) -> V:
        """Return the value of `key`, made by `make` if there is none.

        Without a lock, which a fork could leave locked, or a finalizer could wait for. So two threads
        that ask at the same time may both call `make`; both get the value that was stored first.
        """
        known = self.get(key)
        if known is not None:
            return known
        entry = self._entry(key, make())
        kept = self._entries.setdefault(id(key), entry)
        if kept[0]() is not key:  # of an earlier object at this address
            self._entries[id(key)] = kept = entry
        return kept[1]

    def pop(self, key: object) -> V | None:
        """Take out the value of `key` and return it, or ``None``."""
        value = self.get(key)
        if value is not None:
            self._entries.pop(id(key), None)
        return value

    def items(self) -> list[tuple[object, V]]:
        """Return ``(object, value)`` for the objects that still exist."""
        found = ((reference(), value) for reference, value in self._entries.copy().values())
        return [(key, value) for key, value in found if key is not None]

    def values(self) -> list[V]:
        """Return the values of the objects that still exist."""
        return [value for _, value in self.items()]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
