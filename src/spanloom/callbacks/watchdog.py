"""The watchdog: a batch that stands still is reported, though nobody has asked for that.

Theory of operation. A short batch pays for a timer of its loop, one for all batches that are open there at a time: set
when the first begins, cancelled when the last ends. When it fires, after `LONG_S`, a thread is started. It lives as
long as batches are open, looks once a second how far they have come, and imports nothing. Only when one has not moved
for a third of its stall time, or `LOOK_AFTER_S`, it has the diagnosis watch the process, which is imported in that
thread: it would hold the loop. The diagnosis writes the report, and leaves when everything moves again. A loop that is
blocked before the timer has fired is not seen.

The thread is made by ``_thread``, as that of the diagnosis is, stopped before a fork and started again in the parent.
A loop whose time is not the machine's, as in simulations and tests, gets no timer: it would jump to it.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import weakref
from asyncio import AbstractEventLoop, TimerHandle, _get_running_loop
from collections.abc import Callable
from time import monotonic
from typing import Final

from spanloom.callbacks.manager import running_batches
from spanloom.callbacks.standing import STALL_AFTER, STALL_AFTER_S, Stand, Standing

__all__ = ["WATCHDOG", "LoopTimer", "Watchdog"]

LONG_S: Final = 1.0
"""From here on a batch is not a short one."""
FEW: Final = 1
"""Times in a second that the timer of a loop is cancelled when its last batch ends."""
STEP_S: Final = 1.0
LOOK_AFTER_S: Final = 10.0
"""How long a batch must stand still to be looked at, if its stall time is not less than three times that."""
CALM_S: Final = 5.0
"""How long everything must move for the diagnosis to leave."""
GROWN: Final = 1.2
"""Of the longest time that a batch stood still before."""
STOP_S: Final = 2.0
"""How long a fork waits for the thread, which may be importing."""
NEAR_S: Final = 60.0
"""How far apart the clocks of a loop and of the machine may be: uvloop's stands still during a turn."""

_logger = logging.getLogger("spanloom.diagnosis")

Begin = Callable[[Standing, float | None], Callable[[], object]]
"""Has the process watched: takes what is known of the batches, and the stall time that holds for the process. Returns
what ends it."""


class LoopTimer:
    """The open batches of a loop, and the timer that is set while there are any.

    To set and cancel a timer costs a tenth of what a batch of four jobs does. Where batches follow each other quickly,
    it is left as it is between them, for a second at most.

    Attributes:
        open: How many batches are open.
        is_set: Whether the timer runs.
    """

    __slots__ = ("_cancels", "_handle", "_loop", "_second_s", "_set_s", "_sets", "is_set", "open")

    def __init__(self, loop: AbstractEventLoop, gone: Callable[[object], object]) -> None:
        self.open: int = 0
        self.is_set: bool = False
        self._loop = weakref.ref(loop, gone)
        # Weak, as it leads to the loop, which this must not keep.
        self._handle: weakref.ref[TimerHandle] | None = None
        self._cancels = False
        self._set_s = 0.0
        self._second_s = -LONG_S
        self._sets = 0

    def leave(self) -> None:
        """Take down that a batch has ended."""
        self.open -= 1
        if self._cancels and not self.open:
            handle = None if self._handle is None else self._handle()
            if handle is not None:
                handle.cancel()
            self._cancels = self.is_set = False

    def set(self, loop: AbstractEventLoop) -> None:
        """Have `WATCHDOG` look after the batches if one is open for long."""
        self.is_set = True
        self._set_s = now_s = monotonic()
        if not -NEAR_S < loop.time() - now_s < NEAR_S:  # not the machine's time
            return
        if now_s - self._second_s > LONG_S:
            self._second_s, self._sets = now_s, 0
        self._sets += 1
        self._cancels = self._sets <= FEW
        with contextlib.suppress(Exception):  # a loop of any kind
            self._handle = weakref.ref(loop.call_later(LONG_S, self._fire, loop))

    def _fire(self, loop: AbstractEventLoop) -> None:
        self._cancels = self.is_set = False
        if not self.open or monotonic() - self._set_s < LONG_S / 2:  # it has jumped
            return
        if max((event.age_ns for _, event in running_batches()), default=0) >= LONG_S * 1e9:
            WATCHDOG.start()
        else:  # none of those that are open has been all the time
            self.set(loop)


class Watchdog:
    """Looks after the batches of this process as long as there are any.

    Attributes:
        is_needed: Whether batches whose caller says nothing are looked after: not if the program has itself watched, or
            wants no reports.
    """

    def __init__(self) -> None:
        self.is_needed: bool = True
        self._is_relieved = False
        self._begin: Begin | None = None
        self._stall_after: Callable[[], float | None] = lambda: STALL_AFTER_S
        self._timers: dict[int, LoopTimer] = {}
        self._was_running = False
        self._forget()

    def _forget(self) -> None:
        self._timers.clear()
        self._usual_s: float | None = None
        self._standing = Standing()
        self._calm_s = 0.0
        self._end: Callable[[], object] | None = None
        self._has_failed = False
        self._changing = _thread.allocate_lock()
        self._ident: int | None = None
        self._stopping = False
        self._bell = (
            _thread.allocate_lock()
        )  # held, but for the moment in which the thread is told to look up
        self._bell.acquire()
        self._running = _thread.allocate_lock()  # held by the thread while it runs

    def wire(self, begin: Begin, stall_after: Callable[[], float | None]) -> None:
        """Say who watches the process, and what stall time holds for it; called once, by the composition root.

        Args:
            begin: See `Begin`.
            stall_after: Returns the time in seconds, ``None`` for never; asked before the thread is first started.
        """
        self._begin, self._stall_after = begin, stall_after

    def relieve(self) -> None:
        """Do nothing any more: somebody else watches the process, for good."""
        self.is_needed, self._is_relieved = False, True

    # batches ------------------------------------------------------------------------------------------

    def batch_began(self) -> LoopTimer | None:
        """Take down that a batch of the running loop has begun; whoever gets a timer must call its `leave`."""
        timer = self._timers.get(id(_get_running_loop()))  # documented for who implements loops
        if timer is None or not timer.is_set:
            return self._set_timer()
        timer.open += 1
        return timer

    def _set_timer(self) -> LoopTimer | None:
        loop = _get_running_loop()
        if loop is None:
            return None
        timer = self._timers.get(id(loop)) or self._meet(loop)
        if timer is not None:
            timer.open += 1
            timer.set(loop)
        return timer

    def _meet(self, loop: AbstractEventLoop) -> LoopTimer | None:
        key = id(loop)

        def forget(_: object) -> None:
            self._timers.pop(key, None)

        try:
            timer = self._timers[key] = LoopTimer(loop, forget)
        except TypeError:  # a loop to which there are no weak references
            return None
        return timer

    def _has_open(self) -> bool:
        return any(timer.open > 0 for timer in self._timers.copy().values())

    # the thread ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, unless it runs or has nothing to do."""
        with self._changing:
            if self._ident is not None or self._begin is None or self._is_relieved:
                return
            self._usual_s = self._stall_after()
            self.is_needed = self._usual_s is not None
            if not self.is_needed and not any(STALL_AFTER.values()):
                return
            self._running.acquire()
            try:
                self._ident = _thread.start_new_thread(self._run, ())
            except RuntimeError:  # no more threads are to be had
                self._running.release()

    def _run(self) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while not self._is_over():
                self._look(monotonic())
                self._bell.acquire(timeout=STEP_S)
        except BaseException:  # a mistake of ours must not show up as a thread that died
            _logger.debug("the watchdog has ended", exc_info=True)
            self._begin = self._ident = None
        finally:
            self._running.release()

    def _is_over(self) -> bool:
        if not self._stopping and (self._is_relieved or not self._has_open()):
            self._leave()
        with self._changing:
            if self._stopping or self._is_relieved or not self._has_open():
                self._ident = None
                return True
        return False

    def _look(self, now_s: float) -> None:
        """Have the process watched if a batch stands still; leave it alone if none has for some time."""
        if any(_is_due(stand, self._usual_s) for _, stand in self._standing.look(now_s)):
            self._calm_s = now_s + CALM_S
            if self._end is None and self._begin is not None:
                self._have_watched(self._begin)
        elif now_s > self._calm_s:
            self._leave()

    def _have_watched(self, begin: Begin) -> None:
        try:
            self._end = begin(self._standing.copy(), self._usual_s)
        except Exception as error:  # noqa: BLE001 -- whatever it is: it is tried again with the next look
            if not self._has_failed:
                self._has_failed = True
                what = f"{type(error).__name__}: {error}"
                _logger.warning("a batch stands still, and what would say why cannot be loaded: %s", what)

    def _leave(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()

    # forks --------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Have no thread while the process is copied."""
        self._was_running = self._ident is not None
        if self._was_running:
            self._stopping = True
            with contextlib.suppress(RuntimeError):  # rung already
                self._bell.release()
            if self._running.acquire(timeout=STOP_S):
                self._running.release()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._stopping = False
        if self._was_running:
            self.start()

    def after_fork_in_child(self) -> None:
        """Begin anew, with no batch open: those of the parent are not this process's."""
        STALL_AFTER.clear()
        self._forget()


def _is_due(stand: Stand, usual_s: float | None) -> bool:
    """Tell whether a batch has stood still for so long that it is looked at what it waits for."""
    limit_s = stand.limit_s(usual_s)
    if limit_s is None:
        return False
    return stand.still_s >= max(min(LOOK_AFTER_S, limit_s / 3), GROWN * stand.longest_s)


WATCHDOG: Final = Watchdog()
"""There is one process."""

os.register_at_fork(
    before=WATCHDOG.before_fork,
    after_in_parent=WATCHDOG.after_fork_in_parent,
    after_in_child=WATCHDOG.after_fork_in_child,
)
