"""A thread's turn to run beside an event loop that never waits.

Theory of operation. A loop that always has something ready gives up the GIL once per turn, in its selector, for about
a microsecond. Each time, a thread that waits for the GIL is woken and finds it taken again. CPython asks the holder to
let go only if the GIL was not released at all for 5 ms (``take_gil`` in ``Python/ceval_gil.c``), so the thread waits
for as long as the loop is busy: for hundreds of milliseconds, while each futile wake-up costs CPU time on both sides.

So a thread that is about to sleep notes here when it will want the GIL. Producers look at this from time to time, and
sleep for a moment if the thread is late: it is on its way already, and takes what they leave. Then they wait while it
works, as they would have to at any switch of threads.
"""

from __future__ import annotations

import time
from typing import Final

from spanloom.events.clock import monotonic_ns

__all__ = ["Turn"]

NAP_S: Final = 0.000_05
"""Seconds that a producer sleeps: what a thread on another core takes to wake up."""
NAP_NS: Final = 3 * int(NAP_S * 1e9)
"""Nanoseconds after which a nap has been longer than the kernel makes it: the thread had the GIL meanwhile."""
GAP_NS: Final = 250_000
"""Nanoseconds until the next nap if the thread did not come; doubled each time up to `MAX_GAP_NS`. It may wait for a
disk or a collector, or the system gives it no core."""
MAX_GAP_NS: Final = 32_000_000
_NEVER: Final = 1 << 63


class Turn:
    """When one thread wants the GIL. Safe from any thread, without a lock: a lost note costs one nap."""

    __slots__ = ("_due_ns", "_gap_ns")

    def __init__(self) -> None:
        self._due_ns = _NEVER
        self._gap_ns = GAP_NS

    def want(self, at_ns: int | None) -> None:
        """Note when the thread will want the GIL, as a `monotonic_ns` reading; ``None`` for never."""
        self._gap_ns = GAP_NS
        self._due_ns = _NEVER if at_ns is None else at_ns

    def let_in(self) -> None:
        """Give the thread the GIL if it wants it by now; for producers, every now and then."""
        due_ns = self._due_ns
        now_ns = monotonic_ns()
        if now_ns < due_ns:
            return
        time.sleep(NAP_S)
        if self._due_ns == due_ns:
            after_ns = monotonic_ns()
            if after_ns - now_ns < NAP_NS:
                self._gap_ns = min(2 * self._gap_ns, MAX_GAP_NS)
            self._due_ns = after_ns + self._gap_ns
