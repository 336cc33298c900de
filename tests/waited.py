"""How long a block waited: what a deadline is judged by on a machine that others use, too, and that stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAP_S = 0.01


@contextmanager
def waited() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds that passed in the block, up to now or to its end, as naps of a thread.

    A nap never takes less than it should, so this is never more than what a clock says. Where the machine takes a
    second away from the process, it is one nap; where the block waits for a second, it is a hundred of them.
    """
    naps, over = 0, threading.Event()

    def nap() -> None:
        nonlocal naps
        while not over.wait(NAP_S):
            naps += 1

    thread = threading.Thread(target=nap, name="waited", daemon=True)
    thread.start()
    try:
        yield lambda: naps * NAP_S
    finally:
        over.set()
        thread.join()
