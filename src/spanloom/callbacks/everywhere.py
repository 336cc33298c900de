"""Handlers of the process: they get the events of every manager, whoever makes it and whatever handlers it has.

For tools that observe a whole program from outside, such as ``spanloom run``. The program's own managers do not show
such a handler in `handlers` and `stats`, and neither `set_handlers` nor `close` removes it. It has one guard for all
managers, hence one thread and one order of events, and is closed when the process ends.
"""

from __future__ import annotations

import threading
import weakref
from typing import Final, Protocol

from spanloom.callbacks.guard import Guard

__all__ = ["EVERYWHERE", "Everywhere"]


class Table(Protocol):
    """The table of a manager's handlers."""

    def refresh(self) -> None:
        """Read `Everywhere.guards` again."""


class Everywhere:
    """The handlers of the process, and the tables they are in.

    Attributes:
        guards: The handlers, guarded, in order.
        deep: Whether every manager made from now on measures the busy time of its jobs.
    """

    def __init__(self) -> None:
        self.guards: tuple[Guard, ...] = ()
        self.deep: bool = False
        self._lock = threading.RLock()
        self._tables: weakref.WeakSet[Table] = weakref.WeakSet()

    def join(self, table: Table) -> None:
        """Add a table that has just been made, and let it read `guards`."""
        with self._lock:
            self._tables.add(table)
        if self.guards:
            table.refresh()  # after joining: else a handler added in between would be missed

    def add(self, handler: object) -> Guard:
        """Give `handler` the events that start from now on, of all managers there are and will be.

        Raises:
            TypeError: it defines no hook, or an inline hook is ``async def``.
        """
        guard = Guard(handler, raise_errors=False)
        with self._lock:
            self.guards = (*self.guards, guard)
        self._refresh()
        return guard

    def remove(self, guard: Guard) -> None:
        """Undo one `add`; the caller must close the guard."""
        with self._lock:
            self.guards = tuple(other for other in self.guards if other is not guard)
        self._refresh()

    def _refresh(self) -> None:
        with self._lock:
            tables = list(self._tables)
        for table in tables:
            table.refresh()

    def after_fork(self) -> None:
        """Drop, in a forked child, what only the parent process can deliver."""
        self._lock = threading.RLock()
        for guard in self.guards:
            guard.after_fork()


EVERYWHERE: Final = Everywhere()
"""The one instance: there is one process."""
