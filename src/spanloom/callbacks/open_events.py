"""A handler's view of the events that have not ended."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from spanloom.events.event import Event
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.callbacks.guard import Guard
    from spanloom.callbacks.manager import CallbackManager

__all__ = ["OpenEvents", "newest"]

FIRST: Final = 64
"""Entries looked at first, then four times as many each time: most batches have no more open."""

T = TypeVar("T")


class OpenEvents:
    """The open events whose end one handler will get: those of its managers; of all for a handler of the process.

    Args:
        guard: The handler's.

    Attributes:
        deep: Whether any of these managers measures busy time, or did while it existed.
    """

    def __init__(self, guard: Guard) -> None:
        self.deep: bool = False
        self._guard = guard
        # Weak, as a handler may outlive its managers. With each the time when the handler was added: it gets no end of
        # what started before.
        self._added: tuple[tuple[weakref.ref[CallbackManager], int], ...] = ()

    def add(self, manager: CallbackManager, since_ns: int) -> None:
        """Include the events of `manager` that start at `since_ns` or later; not from two threads at once."""
        living = (added for added in self._added if added[0]() is not None)
        self._added = (*living, (weakref.ref(manager), since_ns))
        self.deep = self.deep or manager.deep

    def _managers(self) -> Iterator[tuple[CallbackManager, int]]:
        for reference, since_ns in self._added:
            manager = reference()
            if manager is not None:
                yield manager, since_ns

    def __bool__(self) -> bool:
        """Whether any event is open, wanted or not."""
        return any(manager.has_open for manager, _ in self._managers())

    def between(self, start_ns: int, end_ns: int) -> Iterator[Event]:
        """Yield the events open now with ``start_ns <= event.start_ns < end_ns``; safe from any thread.

        Costs time in proportion to the events started since `start_ns`, not to all open ones.
        """
        guard = self._guard
        wants, wants_jobs = guard.wants, guard.wants_type(EventType.JOB)
        for manager, since_ns in self._managers():
            first_ns = max(start_ns, since_ns)
            found = manager.opened_since(first_ns, since_ns, end_ns, jobs=wants_jobs)
            if wants is not None:
                found = [event for event in found if event.type in wants]
            yield from [
                event for event in found if first_ns <= event.start_ns < end_ns and event.end_ns is None
            ]

    def account(self) -> tuple[int, int]:
        """Return how many events the handler should have received, and how many of those were lost."""
        guard = self._guard
        return guard.account(lambda: sum(manager.unaccounted(guard) for manager, _ in self._managers()))


def newest(
    table: dict[int, T], start_of: Callable[[T], int | None], since_ns: int, until_ns: int | None = None
) -> list[T]:
    """Return at least the values of `table` that started in an interval; safe from any thread.

    Args:
        table: Values in order of their start; another thread may add and remove some meanwhile.
        start_of: Returns when a value started; ``None`` if it has not yet.
        since_ns: Begin of the interval.
        until_ns: Its end, exclusive; ``None`` for no bound.
    """
    count = FIRST
    while True:
        try:
            found = list(islice(reversed(table.values()), count))  # atomic under the GIL, most of the time
        except RuntimeError:  # the table has changed during the iteration after all
            return list(table.copy().values())
        if len(found) < count:
            break
        # The oldest that has started decides.
        starts = (start_of(value) for value in reversed(found))
        oldest_ns = next((start_ns for start_ns in starts if start_ns is not None), None)
        if oldest_ns is not None and oldest_ns < since_ns:
            break
        count *= 4
    # Callers read every value returned, and values are scattered in memory: reading a few of them first, to find the
    # ends of the interval, pays off.
    first = 0 if until_ns is None else _turn(found, start_of, until_ns)[0]
    return found[first : _turn(found, start_of, since_ns)[1]]


def _turn(found: list[T], start_of: Callable[[T], int | None], at_ns: int) -> tuple[int, int]:
    """Return two indexes of `found`, newest first, between which lies the first that started before `at_ns`.

    Binary search, to within `FIRST` values.
    """
    low, high = 0, len(found)
    while high - low > FIRST:
        middle = (low + high) // 2
        start_ns = start_of(found[middle])
        if start_ns is not None and start_ns < at_ns:
            high = middle
        else:
            low = middle
    return low, high
