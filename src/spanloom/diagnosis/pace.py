"""How long a look keeps the GIL at a time: it works in slices, and pauses between them.

A thread that wants the GIL gets it only after the switch interval, which is short during a look (`settings`), and it
waits anew after each call that releases the GIL: ten sends to sockets in one turn of a loop would wait ten times beside
a thread that computes. So the thread that looks pauses by itself, and long enough for the others to take the GIL: a
sleep of 0 s ends before they have woken.
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
"""The longest slice, beside threads that compute."""
PAUSE_S: Final = 0.000_01
"""With what the kernel adds, less than a tenth of a slice."""
_FEW: Final = 7
"""A bit mask: the clock is read at every eighth value."""
_T = TypeVar("_T")


class _Slice(threading.local):
    """The end of a thread's present slice, by `time.perf_counter`."""

    due_s = 0.0


_slice: Final = _Slice()


def step() -> None:
    """Release the GIL for a moment, if this thread's slice is over.

    If others compute, it comes back late. Then the next slice is as long as they had it, up to `LONGEST_S`: a look at a
    busy program must end, too.
    """
    began_s = time.perf_counter()
    if began_s < _slice.due_s:
        return
    time.sleep(PAUSE_S)
    now_s = time.perf_counter()
    _slice.due_s = now_s + min(LONGEST_S, max(SLICE_S, now_s - began_s))


def in_slices(values: Iterable[_T]) -> Iterator[_T]:
    """Yield `values`, with a `step` before every eighth: for bodies of some microseconds each."""
    for number, value in enumerate(values):
        if not number & _FEW:
            step()
        yield value


def empty(values: dict[Any, Any]) -> None:
    """Empty a dictionary in slices: to free all of its values at once would block the other threads."""
    while values:
        step()
        for _ in range(min(_FEW, len(values))):
            values.popitem()


def forget(snapshot: Snapshot) -> None:
    """Empty a snapshot that is no longer needed, in slices, so that to free it does not block a loop."""
    for found in (snapshot.tasks, snapshot.resources, snapshot.actors):
        empty(found)
