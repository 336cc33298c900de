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
from time import sleep
from typing import Final

from spanloom.events.clock import monotonic_ns

__all__ = ["Turn"]

# `sleep` is bound at import: whoever replaces it later, to find calls that block a loop, does not mean this one.
NAP_S: Final = 0.000_05
"""Seconds that a producer sleeps: what a thread on another core takes to wake up."""
WORKED_NS: Final = 20_000
"""Nanoseconds of CPU time that a thread uses during a nap if it comes: more than a futile wake-up costs."""
GAP_NS: Final = 250_000
"""Nanoseconds until the next nap; doubled up to `MAX_GAP_NS` each time that the thread did not come. It may wait for a
disk or a collector, and the GIL may be held by a thread of the program's."""
MAX_GAP_NS: Final = 32_000_000
_NEVER: Final = 1 << 63


class Turn:
    """When one thread wants the GIL. Safe from any thread, without a lock: a note that is lost costs a few naps.

    Attributes:
        cpu_clock: The clock of the thread's CPU time, for ``time.clock_gettime_ns``; ``None`` if there is none.
    """

    __slots__ = ("_due_ns", "_gap_ns", "cpu_clock")

    def __init__(self) -> None:
        self._due_ns = _NEVER
        self._gap_ns = GAP_NS
        self.cpu_clock: int | None = None

    def want(self, at_ns: int | None) -> None:
        """Note when the thread will want the GIL, as a `monotonic_ns` reading; ``None`` for never."""
        self._gap_ns = GAP_NS
        self._due_ns = _NEVER if at_ns is None else at_ns

    def let_in(self) -> None:
        """Give the thread the GIL if it wants it by now; for producers, every now and then."""
        due_ns = self._due_ns
        if monotonic_ns() < due_ns:
            return
        used_ns = self._used_ns()
        sleep(NAP_S)
        if self._due_ns == due_ns:
            if self._used_ns() - used_ns < WORKED_NS:
                self._gap_ns = min(2 * self._gap_ns, MAX_GAP_NS)
            self._due_ns = monotonic_ns() + self._gap_ns

    def _used_ns(self) -> int:
        """Return the CPU time that the thread has used, in nanoseconds; 0 if it has ended or there is no such clock."""
        try:
            return 0 if self.cpu_clock is None else time.clock_gettime_ns(self.cpu_clock)
        except OSError:
            return 0
