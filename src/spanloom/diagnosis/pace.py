"""How long a look keeps the interpreter at a time: it works in slices, and leaves the others their turn between them.

Whoever wants the interpreter asks for it after the switch interval only, which is short during a look (`settings`), and
once for each call that lets go of it: ten sends to sockets in one turn of a loop would wait ten times beside a thread
that computes. So the thread that looks pauses by itself, and long enough that those who wait have it: a sleep of no
length at all ends before they have woken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from spanloom.diagnosis.model import Snapshot

__all__ = ["empty", "forget", "in_slices", "step"]

SLICE_S: Final = 0.001
LONGEST_S: Final = 0.004
"""The longest slice, where a program has set a switch interval of its own."""
PAUSE_S: Final = 0.000_01
"""With what the kernel adds to it, less than a tenth of a slice."""
_FEW: Final = 7
"""The clock is read where none of these bits is set in a value's number."""
_T = TypeVar("_T")


class _Slice(threading.local):
    """The slice that a thread is in."""

    due_s = 0.0


_slice: Final = _Slice()


def step() -> None:
    """Give the interpreter to others, if this thread's slice is over.

    Where they compute, it comes back late: then the next slice is as long as they have had it, for a look at a busy
    program is to end, too.
    """
    began_s = time.perf_counter()
    if began_s < _slice.due_s:
        return
    time.sleep(PAUSE_S)
    now_s = time.perf_counter()
    _slice.due_s = now_s + min(LONGEST_S, max(SLICE_S, now_s - began_s))


def in_slices(values: Iterable[_T]) -> Iterator[_T]:
    """Yield `values`, with a step before every few of them: each is good for some microseconds."""
    for number, value in enumerate(values):
        if not number & _FEW:
            step()
        yield value


def empty(values: dict[Any, Any]) -> None:
    """Take all out of a dictionary: to let go of what is in it all at once would be one step of the interpreter."""
    while values:
        step()
        for _ in range(min(_FEW, len(values))):
            values.popitem()


def forget(snapshot: Snapshot) -> None:
    """Empty a snapshot of many tasks that is not needed any more, so that to let go of it does not hold the loop."""
    for found in (snapshot.tasks, snapshot.resources, snapshot.actors):
        empty(found)
