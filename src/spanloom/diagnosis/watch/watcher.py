"""The watching thread: it looks at the running loops up to ten times a second, and answers questions.

Theory of operation. Nothing is put into the program: no task, no timer, no wrapper. A thread of our own reads from
``sys._current_frames`` where the loops are (`loops`), and remembers for some seconds what blocked them (`pulse`). A
look at all tasks and what they wait for costs more, and is taken only for a question or a report.

The thread is made by ``_thread``, so that ``threading`` does not know it: a program that counts its threads, or joins
all of them, sees the same as without us. All signals are blocked in it. It is stopped before a fork, as no other thread
may hold a lock then that the child needs, and started again in both processes. It is not joined at exit.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from spanloom.diagnosis.budget import MOST
from spanloom.diagnosis.settings import looking
from spanloom.diagnosis.watch.endpoint import Bell, Endpoint, wait_for
from spanloom.diagnosis.watch.loops import see_loops
from spanloom.diagnosis.watch.pulse import Pulse
from spanloom.diagnosis.watch.stacks import Stacks

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding
    from spanloom.diagnosis.gone import Gone
    from spanloom.diagnosis.watch.stalls import Reporter

__all__ = ["LOOK_S", "Watcher"]

LOOK_S: Final = 0.1
"""Seconds between two looks at busy loops; a hold is known after as long."""
IDLE_S: Final = 0.5
"""Seconds between two looks at loops that rest: some hundredths of a percent of a core."""
CALM_S: Final = 2.0
"""Seconds for which a loop must only have been seen to rest, to count as one that rests."""
YOUNG_S: Final = 10.0
"""Seconds for which a watched program is looked at so often at any cost: what begins badly shows within seconds."""
SHARE: Final = 0.000_4
"""Share of a core for looks at healthy loops, from then on."""
RAREST_S: Final = 1.0
"""Seconds between two looks at most, whatever they cost."""
STOP_S: Final = 0.5
"""Seconds for which a fork waits for the thread to stop."""
AWAY_S: Final = 1.0
"""Seconds without being found for which a loop still counts as running: it may be below a deep recursion."""
FORGET_S: Final = 60.0
"""Seconds for which the pulse of an ended loop is kept."""

_logger = logging.getLogger("spanloom.diagnosis")

Finder = Callable[["Watcher"], "Iterable[Finding]"]
"""Called for each question, on the watching thread: returns findings of its own, from what it has seen over time."""
Observer = Callable[[float], object]
"""Called on the watching thread, with the monotonic time in seconds; may return the seconds until its next call."""


class Watcher:
    """The watching thread of this process.

    Args:
        endpoint: Whether to open the socket, too.

    Attributes:
        pulses: What has been seen of each loop, by its id.
        observers: Called after each look; one that raises is taken out, and that is logged.
        reporter: Reports unasked what stands still.
        finders: Called for more findings at each question.
        remembered: Returns the notes on tasks that no longer exist.
        answers: Functions that answer, by the word of the question; to be extended before `start`.
        ident: The id of the thread; ``None`` while it does not run.
        started_s, looked_s: When it was made, and when it looked last, by the monotonic clock.
    """

    def __init__(self, *, endpoint: bool = True) -> None:
        self.pulses: dict[int, Pulse] = {}
        self.observers: list[Observer] = []
        self.reporter: Reporter | None = None
        self.finders: list[Finder] = []
        self.remembered: Callable[[], Sequence[Gone]] = tuple
        self.answers: dict[str, Callable[[Mapping[str, Any]], object]] = {"ping": lambda _: "here"}
        self.ident: int | None = None
        self.started_s: float = time.monotonic()
        self.looked_s: float = self.started_s
        self._wants_endpoint = endpoint
        self._endpoint: Endpoint | None = None
        self._stacks: Stacks | None = None
        self._bell: Bell | None = None
        self._stopping = False
        self._lively_s = self._due_s = self.started_s
        self._cost_s = 0.0
        self._running = _thread.allocate_lock()  # held by the thread while it runs

    # its life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self.ident is not None:
            return
        self._stopping = False
        self._open()
        self._running.acquire()
        try:
            self.ident = _thread.start_new_thread(self._run, ())
        except RuntimeError:  # no more threads can be started, and the program needs those that there are
            self._running.release()

    def _open(self) -> None:
        """Make those that are missing of the bell, the socket and the file for the stacks."""
        if self._bell is None:
            with contextlib.suppress(OSError):
                self._bell = Bell()
        if self._wants_endpoint and self._endpoint is None:
            try:
                self._endpoint = Endpoint(self.answers)
            except OSError as error:
                _logger.debug("this process cannot be asked from outside: %s", error)
        if self._endpoint is not None and self._stacks is None:
            with contextlib.suppress(OSError):
                self._stacks = Stacks()

    def _reopen(self) -> None:
        """Make anew what the program has closed: one that becomes a daemon closes all descriptors."""
        if self._bell is not None and self._bell.fileno() < 0:
            self._bell.close()
            self._bell = None
        if self._endpoint is not None and self._endpoint.fileno() < 0:
            self._endpoint.close()
            self._endpoint = None
            if self._stacks is not None:
                self._stacks.close()
                self._stacks = None
        self._open()

    def stop(self, timeout: float = STOP_S) -> bool:
        """Stop the thread; return whether it has stopped within `timeout` seconds."""
        if self.ident is None:
            return True
        self._stopping = True
        if self._bell is not None:
            self._bell.ring()
        if not self._running.acquire(timeout=timeout):
            return False
        self._running.release()
        self.ident = None
        return True

    def close(self) -> None:
        """Stop the thread, and remove the socket and all else."""
        has_stopped = self.stop()
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()
        stacks, self._stacks = self._stacks, None
        if stacks is not None:
            stacks.close()
        if has_stopped and self._bell is not None:
            self._bell.close()
            self._bell = None

    def _run(self) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while not self._stopping:
                began_s = time.thread_time()
                was_asked = self._wait()
                if self._stopping:
                    break
                self.look()
                if self._stacks is not None:
                    self._stacks.beat()
                if not was_asked:
                    self._cost_s += (time.thread_time() - began_s - self._cost_s) / 8
                self._observe()
        except BaseException:  # a fault of ours must not be shown as a crashed thread of the program
            _logger.debug("the watching thread has ended", exc_info=True)
        finally:
            self._running.release()

    def _wait(self) -> bool:
        """Wait for the next look, and answer questions meanwhile; return whether there was one."""
        bell = -1 if self._bell is None else self._bell.fileno()
        door = -1 if self._endpoint is None else self._endpoint.fileno()
        is_deaf = self._endpoint is not None and self._endpoint.is_deaf
        ready = wait_for([bell] if is_deaf else [bell, door], self._pause_s())
        if (bell < 0 or (door < 0 and self._endpoint is not None)) and not self._stopping:
            self._reopen()
            return True
        if bell in ready and self._bell is not None:
            self._bell.quiet()
        if door in ready and self._endpoint is not None and not self._stopping:
            self.look()
            with contextlib.nullcontext() if self._stacks is None else self._stacks.beating():
                self._endpoint.serve()
            return True
        return False

    def _pause_s(self) -> float:
        """Return the seconds to the next look: more if all loops rest, as these show when a turn began."""
        now_s = time.monotonic()
        rests = all(
            now_s - pulse.rested_s < IDLE_S * 2 for pulse in self.pulses.values() if pulse.hold is None
        )
        held = any(pulse.hold is not None for pulse in self.pulses.values())
        is_calm = bool(self.pulses) and rests and not held and now_s > self._lively_s + CALM_S
        pause_s = IDLE_S if is_calm else LOOK_S
        if not any(pulse.hold or pulse.held for pulse in self.pulses.values()) and self._is_grown(now_s):
            pause_s = max(pause_s, min(RAREST_S, self._cost_s / SHARE))
        return max(0.01, min(pause_s, self._due_s - now_s))

    def _is_grown(self, now_s: float) -> bool:
        """Return whether the program has been watched for so long that the cost of looks counts."""
        return now_s - self.started_s > YOUNG_S

    # what it does -------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at the loops, once."""
        self.looked_s = now_s = time.monotonic()
        frames = sys._current_frames()  # noqa: SLF001 -- there is no other way
        own = _thread.get_ident()
        frames.pop(own, None)
        try:
            for now in see_loops(frames):
                key = id(now.loop)
                pulse = self.pulses.get(key)
                if pulse is None or pulse.loop() is not now.loop:
                    pulse = self.pulses[key] = Pulse(now, now_s)
                pulse.look(now, now_s, frames[now.thread])
                if not now.polls or now.pause_s == 0:
                    self._lively_s = now_s
        finally:
            frames.clear()
        for pulse in self.pulses.values():
            if pulse.hold is not None and pulse.seen_s < now_s:
                pulse.miss(now_s)
        if len(self.pulses) > 1:
            for key, pulse in list(self.pulses.items()):
                if now_s - pulse.seen_s > FORGET_S or pulse.loop() is None:
                    del self.pulses[key]

    def findings(self, objects: int = MOST, within_s: float = math.inf) -> list[Finding]:
        """Return the findings of this moment; see `spanloom.diagnosis.watch.verdict.findings_now`.

        Args:
            objects: As `spanloom.diagnosis.look.look` takes it.
            within_s: For how many seconds the client waits. If there are findings after half of that time, no
                further rule is run.
        """
        by_s = time.monotonic() + within_s / 2
        with looking():
            # Most of the diagnosis, 40 ms to import: not loaded before somebody asks.
            from spanloom.diagnosis.watch.verdict import findings_now

            return findings_now(self, objects, by_s)

    def look_now(self) -> None:
        """Look at the loops, if called on the watching thread, whose regular looks are delayed meanwhile."""
        if _thread.get_ident() == self.ident:
            self.look()

    def running(self) -> list[Pulse]:
        """Return the pulses of the loops that ran in the last look, whenever that was."""
        from_s = self.looked_s - AWAY_S
        return [
            pulse for pulse in list(self.pulses.values()) if pulse.seen_s > from_s or pulse.hold is not None
        ]

    def lively_s(self) -> float:
        """Return when a loop was last seen at work, by the monotonic clock: now, if one is blocked."""
        is_held = any(pulse.hold is not None for pulse in self.pulses.values())
        return time.monotonic() if is_held else self._lively_s

    def _observe(self) -> None:
        now_s = time.monotonic()
        self._due_s = now_s + RAREST_S
        for observer in list(self.observers):
            try:
                due_s = observer(now_s)
                if isinstance(due_s, float):
                    self._due_s = min(self._due_s, now_s + due_s)
            except Exception:
                _logger.exception("an observer of the diagnosis has failed, and is not called any more")
                self.observers.remove(observer)

    # forks --------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Stop the thread while the process is copied."""
        self._was_running = self.ident is not None
        self.stop()

    def after_fork_in_parent(self) -> None:
        """Start the thread again."""
        if self._was_running:
            self.start()

    def after_fork_in_child(self, *, restart: bool = True) -> None:
        """Begin anew, under the child's own id, if it is to be watched."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close(unlink=False)
        stacks, self._stacks = self._stacks, None
        if stacks is not None:
            stacks.close(unlink=False)
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._running = _thread.allocate_lock()
        self.ident = None
        self.pulses = {}
        self.started_s = time.monotonic()
        if self._was_running and restart:
            self.start()
