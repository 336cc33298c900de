"""Crowds: tasks at the same place in the same code, for which who can give what is found out once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Crowds"]


class Crowds:
    """Sets of keys of tasks and actors, each with a number, and their unions.

    If thousands of tasks could resolve each of thousands of futures, each future keeps one number. A set for each would
    take gigabytes.
    """

    def __init__(self) -> None:
        self._sets: list[frozenset[int]] = []
        self._unions: dict[tuple[int, ...], frozenset[int]] = {}

    def add(self, keys: Iterable[int]) -> int:
        """Add a crowd of tasks and actors with these keys, and return its number."""
        self._sets.append(frozenset(keys))
        return len(self._sets) - 1

    def members(self, numbers: Sequence[int]) -> frozenset[int]:
        """Return the union of the crowds with these numbers: the same object for the same numbers.

        The fixpoint relies on that: it takes equal sets to be one node by their identity.
        """
        if len(numbers) == 1:
            return self._sets[numbers[0]]
        wanted = tuple(numbers)
        found = self._unions.get(wanted)
        if found is None:
            found = self._unions[wanted] = frozenset().union(*(self._sets[number] for number in wanted))
        return found
