"""Filter of the events of a run by type, by the number of their label."""

from __future__ import annotations

from collections.abc import Container

from spanloom.store.opening import Opened

__all__ = ["Wanted"]

_TYPE = "SELECT type FROM label WHERE run = ? AND id = ?"


class Wanted:
    """Decides for each label, and looks each up in the file once.

    Args:
        opened: The file.
        run: The number of the run.
        types: Event types that are wanted; ``None`` for all.
    """

    def __init__(self, opened: Opened, run: int, types: Container[str] | None) -> None:
        self._opened = opened
        self._run = run
        self._types = types
        self._known: dict[int, bool] = {}

    def has(self, label: int) -> bool:
        """Return whether events with this label are wanted."""
        if self._types is None:
            return True
        known = self._known.get(label)
        if known is None:
            found = self._opened.fetch(_TYPE, (self._run, label))
            known = self._known[label] = bool(found) and found[0][0] in self._types
        return known
