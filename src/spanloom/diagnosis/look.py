"""One look at a program: from any thread, also while its loops are blocked.

It reads and changes nothing: no code of the program is run (no ``__repr__``, no property, no ``exception()``), no
coroutine is resumed, and what was looked at is let go when the look ends. It works in slices of a millisecond, between
which the program moves on; `spanloom.diagnosis.why` therefore looks twice.
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

    A look takes some 50 microseconds of CPU time a task, in slices of a millisecond. In the thread of a loop it holds
    that loop until it is done; from a coroutine, call it by ``await asyncio.to_thread(look)``.

    Args:
        remembered: Tasks that exist no more, of whom somebody has taken note.
        objects: How many may be visited in search of who can still end a wait. Where that is not enough, nothing is
            called dead.

    Returns:
        Plain values. None of the program's objects is kept.
    """
    with looking():
        # Most of the diagnosis, 20 ms: a program that is watched does without it until somebody asks.
        from spanloom.diagnosis.parts import Parts
        from spanloom.diagnosis.running import let_go, running_threads

        threads = running_threads()
        one = Parts(threads, remembered, objects)
        try:
            return one.take()
        finally:
            one.forget()
            let_go(threads)
