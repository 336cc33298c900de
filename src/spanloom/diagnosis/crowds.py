"""Those who were asked together, and are told together: of thousands of tasks, a few sets, and not one for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Crowds"]


class Crowds:
    """Sets of tasks and actors, by number.

    Thousands of futures that thousands of tasks could resolve are as many numbers; as many sets would be gigabytes.
    """

    def __init__(self) -> None:
        self._sets: list[frozenset[int]] = []
        self._unions: dict[tuple[int, ...], frozenset[int]] = {}

    def add(self, keys: Iterable[int]) -> int:
        """Return the number of a new one, of tasks and actors with these keys."""
        self._sets.append(frozenset(keys))
        return len(self._sets) - 1

    def members(self, numbers: Sequence[int]) -> frozenset[int]:
        """Return the keys of all who are in one of these: the same object for the same numbers."""
        if len(numbers) == 1:
            return self._sets[numbers[0]]
        wanted = tuple(numbers)
        found = self._unions.get(wanted)
        if found is None:
            found = self._unions[wanted] = frozenset().union(*(self._sets[number] for number in wanted))
        return found
