"""The watchdog: reports a batch that stands still, by default.

Theory of operation. A short batch costs only its share of a timer: each loop has one for all its open batches, set when
the first begins, cancelled when the last ends. When the timer fires, after `LONG_S`, a thread is started. It lives as
long as batches are open, looks at their progress every `STEP_S`, and imports nothing. Only when a batch has not moved
for a third of its stall time, at most `LOOK_AFTER_S`, does it start the diagnosis, which is imported in this thread, as
the import would block the loop. The diagnosis writes the report, and is ended when everything moves again. A loop that
is blocked before its timer fires is not noticed.

The thread is made by ``_thread``, like that of the diagnosis. It is stopped before a fork and restarted in the parent.
A loop with a virtual clock, as in simulations and tests, gets no timer: the clock would jump to it.
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
"""Seconds from which on a batch is not a short one."""
FEW: Final = 1
"""Settings of a loop's timer per second that are cancelled when the last batch ends; later ones are left running."""
STEP_S: Final = 1.0
"""Seconds between two looks of the thread."""
LOOK_AFTER_S: Final = 10.0
"""Most seconds that a batch must stand still before the diagnosis is started; a third of its stall time if less."""
CALM_S: Final = 5.0
"""Seconds for which everything must move before the diagnosis is ended."""
GROWN: Final = 1.2
"""The diagnosis is not started before this multiple of the longest time that the batch stood still before."""
STOP_S: Final = 2.0
"""Seconds that a fork waits for the thread, which may be importing."""
NEAR_S: Final = 60.0
"""Seconds by which a loop's clock may differ from the machine's: uvloop's stands still during a turn of the loop."""

_logger = logging.getLogger("spanloom.diagnosis")

Begin = Callable[[Standing, float | None], Callable[[], object]]
"""Starts the diagnosis: takes what is known of the batches, and the stall time of the process. Returns a function that
ends it."""


class LoopTimer:
    """The number of open batches of a loop, and the timer that is set while there are any.

    Setting and cancelling a timer costs a tenth of a batch of four jobs. Where batches follow each other quickly, the
    timer is left running between them, for `LONG_S` at most.

    Attributes:
        open: How many batches are open.
        is_set: Whether the timer runs.
    """

    __slots__ = ("_cancels", "_handle", "_loop", "_second_s", "_set_s", "_sets", "is_set", "open")

    def __init__(self, loop: AbstractEventLoop, gone: Callable[[object], object]) -> None:
        self.open: int = 0
        self.is_set: bool = False
        self._loop = weakref.ref(loop, gone)
        # Weak: it refers to the loop, which this must not keep alive.
        self._handle: weakref.ref[TimerHandle] | None = None
        self._cancels = False
        self._set_s = 0.0
        self._second_s = -LONG_S
        self._sets = 0

    def leave(self) -> None:
        """Note that a batch has ended."""
        self.open -= 1
        if self._cancels and not self.open:
            handle = None if self._handle is None else self._handle()
            if handle is not None:
                handle.cancel()
            self._cancels = self.is_set = False

    def set(self, loop: AbstractEventLoop) -> None:
        """Set the timer that starts `WATCHDOG` if a batch is open for `LONG_S`."""
        self.is_set = True
        self._set_s = now_s = monotonic()
        if not -NEAR_S < loop.time() - now_s < NEAR_S:  # a virtual clock
            return
        if now_s - self._second_s > LONG_S:
            self._second_s, self._sets = now_s, 0
        self._sets += 1
        self._cancels = self._sets <= FEW
        with contextlib.suppress(Exception):  # a loop of any kind
            self._handle = weakref.ref(loop.call_later(LONG_S, self._fire, loop))

    def _fire(self, loop: AbstractEventLoop) -> None:
        self._cancels = self.is_set = False
        if not self.open or monotonic() - self._set_s < LONG_S / 2:  # the loop's clock has jumped
            return
        if max((event.age_ns for _, event in running_batches()), default=0) >= LONG_S * 1e9:
            WATCHDOG.start()
        else:  # the batches that are open began after the timer was set
            self.set(loop)


class Watchdog:
    """Watches the batches of this process as long as there are any.

    Attributes:
        is_needed: Whether batches with the default ``stall_after`` are watched: not if the program watches itself by
            `watch`, or has switched reports off.
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
        self._bell = _thread.allocate_lock()  # released only to wake the thread
        self._bell.acquire()
        self._running = _thread.allocate_lock()  # held by the thread while it runs

    def wire(self, begin: Begin, stall_after: Callable[[], float | None]) -> None:
        """Set what starts the diagnosis, and the stall time; called once, by the composition root.

        Args:
            begin: See `Begin`.
            stall_after: Returns the stall time of the process in seconds, ``None`` for never; called at each start of
                the thread.
        """
        self._begin, self._stall_after = begin, stall_after

    def relieve(self) -> None:
        """Stop for good: something else watches the process from now on."""
        self.is_needed, self._is_relieved = False, True

    # batches ------------------------------------------------------------------------------------------

    def batch_began(self) -> LoopTimer | None:
        """Note that a batch of the running loop has begun; a caller that gets a timer must call its `leave`."""
        timer = self._timers.get(id(_get_running_loop()))  # documented for event loop implementers
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
        except TypeError:  # a loop class without weak references
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
            except RuntimeError:  # the system has no more threads
                self._running.release()

    def _run(self) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while not self._is_over():
                self._look(monotonic())
                self._bell.acquire(timeout=STEP_S)
        except BaseException:  # a bug of ours must not show up as a traceback of a dead thread
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
        """Start the diagnosis if a batch stands still; end it if none has for `CALM_S`."""
        if any(_is_due(stand, self._usual_s) for _, stand in self._standing.look(now_s)):
            self._calm_s = now_s + CALM_S
            if self._end is None and self._begin is not None:
                self._have_watched(self._begin)
        elif now_s > self._calm_s:
            self._leave()

    def _have_watched(self, begin: Begin) -> None:
        try:
            self._end = begin(self._standing.copy(), self._usual_s)
        except Exception as error:  # noqa: BLE001 -- anything: the next look tries again
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
        """Stop the thread, waiting for `STOP_S` at most."""
        self._was_running = self._ident is not None
        if self._was_running:
            self._stopping = True
            with contextlib.suppress(RuntimeError):  # it has been released already
                self._bell.release()
            if self._running.acquire(timeout=STOP_S):
                self._running.release()

    def after_fork_in_parent(self) -> None:
        """Restart the thread if it was running."""
        self._stopping = False
        if self._was_running:
            self.start()

    def after_fork_in_child(self) -> None:
        """Start anew, without the batches of the parent process."""
        STALL_AFTER.clear()
        self._forget()


def _is_due(stand: Stand, usual_s: float | None) -> bool:
    """Tell whether a batch has stood still long enough to start the diagnosis."""
    limit_s = stand.limit_s(usual_s)
    if limit_s is None:
        return False
    return stand.still_s >= max(min(LOOK_AFTER_S, limit_s / 3), GROWN * stand.longest_s)


WATCHDOG: Final = Watchdog()
"""The one instance: there is one process."""

os.register_at_fork(
    before=WATCHDOG.before_fork,
    after_in_parent=WATCHDOG.after_fork_in_parent,
    after_in_child=WATCHDOG.after_fork_in_child,
)
