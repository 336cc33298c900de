"""Keeping the garbage collector from collecting the whole program because of what a look makes for a moment.

A look at 10,000 tasks makes some 100,000 objects, and lets go of all of them in the end. The collector cannot know
that: it takes those that survive its second generation for permanent ones, and when they are a quarter of what there
is, it goes through everything, with the interpreter in its hands: 60 ms of a program of that size, once or twice a
look.

So while there is a look, nothing is promoted to the oldest generation: the threshold of the second one is out of
reach. Young garbage, the program's own included, is collected as ever, and so is everything when the program asks for
that. What the look has made is gone when the threshold is as it was, and the program's own objects are promoted then.
From Python 3.14 on the oldest generation is collected in steps, and the same number makes these small.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from typing import Final

__all__ = ["promoting_nothing"]

_FAR: Final = 1_000_000_000


class _Threshold:
    """The threshold of the second generation: raised by the first who asks, put back by the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._before = 0

    def raise_(self) -> None:
        with self._lock:
            self._asked += 1
            if self._asked == 1:
                first, self._before, third = gc.get_threshold()
                gc.set_threshold(first, _FAR, third)

    def put_back(self) -> None:
        with self._lock:
            self._asked -= 1
            if self._asked == 0:
                self._restore()

    def _restore(self) -> None:
        first, second, third = gc.get_threshold()
        if second == _FAR:  # else the program has set it meanwhile, and means that
            gc.set_threshold(first, self._before, third)

    def after_fork(self) -> None:
        """Put it back in a child, to which nobody comes who looks."""
        if self._asked:
            self._restore()
        self.__init__()  # type: ignore[misc] # the lock may be held by a thread that is not there


_threshold: Final = _Threshold()
os.register_at_fork(after_in_child=_threshold.after_fork)


@contextlib.contextmanager
def promoting_nothing() -> Iterator[None]:
    """Have nothing promoted to the oldest generation inside of the ``with`` block; of any thread, also nested."""
    _threshold.raise_()
    try:
        yield
    finally:
        _threshold.put_back()
