"""What a handler without inline hooks can see of the events that have not ended."""

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
"""Entries looked at first, and then ever four times as many: most batches have no more open."""

T = TypeVar("T")


class OpenEvents:
    """The open events that one handler will get the end of: those of its manager, or of all if it is the process's.

    Args:
        guard: The handler's.

    Attributes:
        deep: Whether a manager measures busy time, or did that is gone.
    """

    def __init__(self, guard: Guard) -> None:
        self.deep: bool = False
        self._guard = guard
        # Weak: a handler may outlive its managers. With each, when the handler was added: what started before that
        # ends without it.
        self._added: tuple[tuple[weakref.ref[CallbackManager], int], ...] = ()

    def add(self, manager: CallbackManager, since_ns: int) -> None:
        """Look at the events of `manager`, too, that start at `since_ns` or later; not from two threads at once."""
        living = (added for added in self._added if added[0]() is not None)
        self._added = (*living, (weakref.ref(manager), since_ns))
        self.deep = self.deep or manager.deep

    def _managers(self) -> Iterator[tuple[CallbackManager, int]]:
        for reference, since_ns in self._added:
            manager = reference()
            if manager is not None:
                yield manager, since_ns

    def __bool__(self) -> bool:
        """Whether any event at all is open."""
        return any(manager.has_open for manager, _ in self._managers())

    def between(self, start_ns: int, end_ns: int) -> Iterator[Event]:
        """Yield what is open now and started at `start_ns` or later and before `end_ns`; safe from any thread.

        Takes time in proportion to what has started since `start_ns`, not to what is open.
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
        """Return how many events the handler should have got, and how many of those were lost on their way."""
        guard = self._guard
        return guard.account(lambda: sum(manager.unaccounted(guard) for manager, _ in self._managers()))


def newest(
    table: dict[int, T], start_of: Callable[[T], int | None], since_ns: int, until_ns: int | None = None
) -> list[T]:
    """Return at least the values of `table` that started in a stretch of time; safe from any thread.

    Args:
        table: Values in the order of their start, which another thread adds to and takes from.
        start_of: Returns when a value started; ``None`` if it has not yet.
        since_ns: From when on.
        until_ns: Before when; ``None`` for all that started since.
    """
    count = FIRST
    while True:
        try:
            found = list(
                islice(reversed(table.values()), count)
            )  # one step for the interpreter, most of the time
        except RuntimeError:  # the table has changed under it after all
            return list(table.copy().values())
        if len(found) < count:
            break
        # The oldest first; those that have not started yet tell nothing.
        starts = (start_of(value) for value in reversed(found))
        oldest_ns = next((start_ns for start_ns in starts if start_ns is not None), None)
        if oldest_ns is not None and oldest_ns < since_ns:
            break
        count *= 4
    # Whoever gets a value looks at it, and they lie all over the memory: it pays to look at some of them to find the
    # ends of the stretch.
    first = 0 if until_ns is None else _turn(found, start_of, until_ns)[0]
    return found[first : _turn(found, start_of, since_ns)[1]]


def _turn(found: list[T], start_of: Callable[[T], int | None], at_ns: int) -> tuple[int, int]:
    """Return between which two places of `found`, the newest first, there is the first that started before `at_ns`."""
    low, high = 0, len(found)
    while high - low > FIRST:
        middle = (low + high) // 2
        start_ns = start_of(found[middle])
        if start_ns is not None and start_ns < at_ns:
            high = middle
        else:
            low = middle
    return low, high
