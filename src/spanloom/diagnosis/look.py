"""One look at a program: from any thread, also while its loops are blocked.

A look reads and changes nothing. It runs no code of the program (no ``__repr__``, no property, no ``exception()``),
resumes no coroutine, and keeps no reference when it ends. It works in slices of a millisecond, between which the
program moves on. So one look is no consistent picture, and `spanloom.diagnosis.why` looks twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spanloom.diagnosis.budget import MOST
from spanloom.diagnosis.pace import forget
from spanloom.diagnosis.settings import looking

if TYPE_CHECKING:
    from spanloom.diagnosis.gone import Gone
    from spanloom.diagnosis.model import Snapshot

__all__ = ["forget", "look"]


def look(remembered: Sequence[Gone] = (), objects: int = MOST) -> Snapshot:
    """Take a snapshot of all tasks of all loops, what they wait for, and who can still end that.

    A look takes some 50 microseconds of CPU time a task, in slices of a millisecond. In the thread of a loop it blocks
    that loop until it is done; from a coroutine, call it by ``await asyncio.to_thread(look)``.

    Args:
        remembered: Notes on tasks that no longer exist.
        objects: How many objects may be visited in search of who can still end a wait. If that is not enough, the
            snapshot is not `complete`.

    Returns:
        Plain values without references to objects of the program.
    """
    with looking():
        # Most of the diagnosis, 20 ms to import: not loaded before somebody asks.
        from spanloom.diagnosis.parts import Parts
        from spanloom.diagnosis.running import let_go, running_threads

        threads = running_threads()
        one = Parts(threads, remembered, objects)
        try:
            return one.take()
        finally:
            one.forget()
            let_go(threads)
