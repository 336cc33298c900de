"""When, and to which loop, to listen for raised and caught exceptions (`probe`): unasked, and for a question.

Unasked rarely, and ever more rarely while nothing is heard. A question is to show what began a moment ago, so
for it a window is opened at once, and another one half a second later if the first has heard a storm.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from spanloom.diagnosis.chain import links_of
from spanloom.diagnosis.fields import field, future_done, loop_of
from spanloom.diagnosis.history.live import Ref, with_task

if TYPE_CHECKING:
    from spanloom.diagnosis.history.probe import Window

__all__ = ["APART_S", "Listening"]

WINDOWS: Final = 12
"""Windows that are kept, at most."""
FIRST_REST_S: Final = 0.25
"""Seconds between the first window and the second."""
REST_S: Final = 0.5
"""Seconds after a window with failures."""
MAX_REST_S: Final = 60.0
"""Seconds between two windows, at most, while none hears failures."""
LISTEN_S: Final = 0.15
"""Seconds for which a question waits for a window; a little more than that lasts."""
APART_S: Final = 0.4
"""Between the beginnings of the two windows that tell a storm.

A task that pauses twice as long after each failure has failed for as long as its last pause: half a second after the
first failure it fails no more than twice a second.
"""
LONG_AGO_S: Final = 1.0
"""Between two windows, from which on what both have heard need not have lasted: clients that pause ever longer, and all
as long, fail together now and then.
"""
MORE: Final = 3
"""Windows that are opened where those before were full too early."""
LATE_S: Final = 5.0
"""Age of a window until which it tells that."""
FRESH_S: Final = 1.0
"""Age in seconds of the last window from which on a question opens another one."""


class _Open(msgspec.Struct, eq=False):
    """An open window: its closing function, its due time, and its loop."""

    finish: Callable[[], Window | None]
    until: float
    loop: asyncio.AbstractEventLoop


class Listening:
    """Opens a `Window` now and then, and keeps the closed ones. One thread calls `begin`; any may ask.

    Attributes:
        windows: The closed windows, oldest first.
    """

    def __init__(self) -> None:
        self.windows: deque[Window] = deque(maxlen=WINDOWS)
        self._open: deque[_Open] = deque()  # one at most; the thread that pops it closes it
        self._rest_s = FIRST_REST_S
        self._next = 0.0

    def begin(self, moved: Iterable[Ref], now: float) -> None:
        """Open a window, if one is due, for the loop of one of these tasks that may be retrying.

        Args:
            moved: Tasks that have moved since the last step.
            now: By `time.monotonic`.
        """
        if self._open or now < self._next:
            return
        loop = _loop_of_one_that_retries(moved)
        if loop is not None:
            self._listen(loop, now)

    def end(self, now: float | None = None) -> None:
        """Close the open window.

        Args:
            now: The present, by `time.monotonic`: close it only if it is due; ``None``: close it at once.
        """
        if now is not None and any(now < one.until for one in tuple(self._open)):
            return
        while self._open:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._take(self._open.pop().finish())

    def _take(self, window: Window | None) -> None:
        if window is not None:
            self.windows.append(window)
            failures = sum(window.failures.values())
            # The less is heard, the more rarely a window is opened.
            self._rest_s = REST_S if failures > 1 else min(MAX_REST_S, self._rest_s * 1.7)

    def now_if_stale(self, now: float) -> None:
        """Let `begin` open a window at once, unless there are two, and the last one is younger than `FRESH_S`.

        Args:
            now: By `time.monotonic`.
        """
        if len(self.windows) < 2 or now - self.windows[-1].began > FRESH_S:
            self._next = 0.0

    def hear_out(self, is_storm: Callable[[Window], bool], may_be_storm: Callable[[Window], bool]) -> None:
        """Wait for the open window, and open one more if only that has heard a storm, or the one before is long ago.

        If windows are full before they have heard enough, some more are opened. Blocks for some 0.6 s at most, and not
        at all if no window is open.

        Args:
            is_storm: Tells whether a window has heard a storm, which counts if the window before has heard it, too.
            may_be_storm: Tells whether a window was full too early to tell that.
        """
        loop = self._wait()
        heard = self.last_two()
        if loop is None or not heard:
            return
        if not is_storm(heard[0]):
            self._hear_more(loop, may_be_storm)
            return
        if len(heard) > 1 and heard[0].began - heard[1].began < LONG_AGO_S and is_storm(heard[1]):
            return
        time.sleep(max(0.0, heard[0].began + APART_S - time.monotonic()))
        self._listen(loop, time.monotonic())
        self._wait()

    def _hear_more(self, loop: asyncio.AbstractEventLoop, may_be_storm: Callable[[Window], bool]) -> None:
        """Open some more windows, if of those of late more than one was full too early."""
        late = [window for window in tuple(self.windows) if time.monotonic() - window.began < LATE_S]
        if sum(map(may_be_storm, late)) > 1:
            for _ in range(MORE):
                self._listen(loop, time.monotonic())
                self._wait()

    def last_two(self) -> list[Window]:
        """Return the last window, and the last one that began at least `APART_S` before it, as far as there are any."""
        windows = list(self.windows)[::-1]
        apart = [window for window in windows if window.began <= windows[0].began - APART_S]
        return windows[:1] + apart[:1]

    def due_s(self, now: float) -> float | None:
        """Return in how many seconds the open window is due to be closed; ``None`` if none is open."""
        return next((max(0.0, one.until - now) for one in tuple(self._open)), None)

    def _wait(self) -> asyncio.AbstractEventLoop | None:
        """Wait until the open window is due, and close it; return its loop."""
        for one in tuple(self._open)[:1]:
            time.sleep(max(0.0, min(one.until - time.monotonic(), LISTEN_S)))
            self.end()
            return one.loop
        return None

    def _listen(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        thread = field(loop, "_thread_id")
        if not isinstance(thread, int) or thread == threading.get_ident():
            return
        from spanloom.diagnosis.history.probe import WINDOW_S, open_window  # late: rarely needed

        self._open.append(_Open(open_window(loop, thread), now + WINDOW_S, loop))
        self._next = now + self._rest_s


def _loop_of_one_that_retries(refs: Iterable[Ref]) -> asyncio.AbstractEventLoop | None:
    """Return the loop of one of the tasks that are in a loop with an ``except`` that leads back into it."""
    # Late: not before a task has moved, which short programs do not reach.
    from spanloom.diagnosis.history.flow import flow_of
    from spanloom.diagnosis.origin import belongs_to_us, is_standard

    found: list[asyncio.AbstractEventLoop] = []

    def look(task: asyncio.Task[Any]) -> None:
        if future_done(task):
            return
        for _, code, frame in links_of(task):
            lasti = frame.f_lasti
            ours = belongs_to_us(code.co_filename) and not code.co_filename.endswith("attempts.py")
            if not is_standard(code.co_filename) and not ours and lasti >= 0 and flow_of(code).retries(lasti):
                found.append(loop_of(task))
                return

    for ref in refs:
        with contextlib.suppress(
            Exception
        ):  # a task that changes meanwhile is looked at again in the next step
            with_task(ref, look)
        if found:
            return found[0]
    return None
