"""The pulse of one loop: its *holds*, which are callbacks that block it for long, and whether it ever rests."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections import Counter, deque
from types import FrameType
from typing import Any, Final

import msgspec

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.fields import field, task_name
from spanloom.diagnosis.watch.frames import Call, is_foreign, native_id, own_place, stack_of
from spanloom.diagnosis.watch.loops import HANDLE_RUN, LoopNow, since

__all__ = ["Hold", "Pulse", "Used", "function_of", "used_by"]

LONG_S: Final = 0.1
"""Seconds from which on a callback counts as a hold: the default of asyncio's ``slow_callback_duration``."""
WINDOW_S: Final = 6.0
"""Seconds for which holds are remembered."""
COMPUTES: Final = 0.25
"""Share of a core from which on a thread computes rather than waits; low, as there may be more threads than cores."""
RESTLESS: Final = 0.5
"""Share of a core from which on a loop that does not show its turns counts as one that never rests."""
SHORT_S: Final = 0.02
"""Seconds; the system's CPU times are too coarse for shorter times."""
MAX_SAMPLES: Final = 200
MAX_DEPTH: Final = 60
"""Innermost calls of a sample that are kept, at most."""


class Used(msgspec.Struct, frozen=True):
    """The CPU time of a thread until now.

    Attributes:
        cpu_s: Seconds in which it computed.
        starved_s: Seconds in which it could have computed, and other threads or processes did.
    """

    cpu_s: float
    starved_s: float


class Hold:
    """One callback that blocks the loop for long.

    Attributes:
        began_s: When it began, on the monotonic clock, at the latest.
        seen_s: When it was seen last.
        ended_s: When it was seen to have ended; ``None`` while it goes on.
        task: The name of its task; ``None`` for a bare callback.
        function: The name of the task's function, or of the callback.
        samples: How often it was seen where: the place, and the innermost calls.
        own: A weak reference to the task.
    """

    def __init__(self, began_s: float, task: asyncio.Task[Any] | None, used: Used) -> None:
        self.began_s = began_s
        self.seen_s: float = began_s
        self.ended_s: float | None = None
        self.task: str | None = None
        self.function: str | None = None
        self.own: weakref.ref[asyncio.Task[Any]] | None = None
        if task is not None:
            self.task = task_name(task)
            self.function = function_of(task)
            self.own = weakref.ref(task)
        self.places: Counter[Call] = Counter()
        self.stack: tuple[Call, ...] = ()
        self._before = self._now = used

    def add(self, stack: tuple[Call, ...], now_s: float, used: Used) -> None:
        """Note where it is, and the CPU time of its thread until now."""
        # When a generator has just been entered, its caller cannot be seen: such a stack ends there.
        if len(stack) >= len(self.stack) or stack[-1].code is self.stack[-1].code:
            self.stack = stack
        self._now = used
        self.seen_s = now_s
        place = own_place(stack)
        if place is not None and sum(self.places.values()) < MAX_SAMPLES:
            self.places[place] += 1

    @property
    def place(self) -> Call | None:
        """Where it was seen most often."""
        return self.places.most_common(1)[0][0] if self.places else None

    @property
    def computes(self) -> bool:
        """Whether its thread computes meanwhile, rather than waits."""
        own_s = self.seen_s - self.began_s - self._starved_s
        return self._now.cpu_s - self._before.cpu_s > COMPUTES * own_s

    @property
    def _starved_s(self) -> float:
        return self._now.starved_s - self._before.starved_s

    def outermost(self) -> str | None:
        """Return the name of the function that the loop has called."""
        found: str | None = None
        for call in self.stack:
            if call.code is HANDLE_RUN:
                break
            if not is_foreign(call.code) or found is None:
                found = call.name
        return found

    def lasts_s(self, now_s: float) -> float:
        """Return for how many seconds it has blocked the loop."""
        return max(0.0, (now_s if self.ended_s is None else self.ended_s) - self.began_s)

    def own_s(self, now_s: float) -> float:
        """Return the same without the time in which its thread was ready, but the machine ran something else."""
        return max(0.0, self.lasts_s(now_s) - self._starved_s)


class Pulse:
    """What has been seen of one loop.

    Args:
        now: The first look at it.
        now_s: The monotonic time of that look.
    """

    def __init__(self, now: LoopNow, now_s: float) -> None:
        self.loop: weakref.ref[asyncio.AbstractEventLoop] = weakref.ref(now.loop)
        self.thread: int = now.thread
        self.hold: Hold | None = None
        self.held: deque[Hold] = deque(maxlen=1_000)
        self.waited: deque[tuple[float, float, Hold]] = deque(maxlen=MAX_SAMPLES)
        self.first_s: float = now_s
        self.seen_s: float = now_s
        self.rested_s: float = now_s
        self.restless_looks: int = 0
        self._step: tuple[float | None, int, int] | None = None
        self._step_s: float = now_s
        self._probe: _Probe | None = None
        self._used = self._used_before = Used(0.0, 0.0)

    def look(self, now: LoopNow, now_s: float, frame: FrameType) -> None:
        """Process one look.

        Args:
            now: The look.
            now_s: The monotonic time.
            frame: The innermost frame of the loop's thread.
        """
        pause_s = now_s - self.seen_s
        if now.polls and not now.is_native and pause_s < SHORT_S:
            self._end(now_s)
            return  # too soon after the last look to tell whether it rests
        self.seen_s = now_s
        self.thread = now.thread
        self._used_before, self._used = self._used, used_by(now.thread)
        if now.polls:
            self._end(now_s)
            if not now.is_native and self._computed(pause_s):
                self.restless_looks += 1  # the CPU time shows what such a loop does between two looks
            elif now.pause_s is None or now.pause_s > 0:
                self.rested_s = now_s
                self.restless_looks = 0
            else:
                self.restless_looks += 1
            return
        self.restless_looks += 1
        began_s = self._began(now, now_s)
        self._note_wait(now, now_s, pause_s, frame)
        if now_s - began_s < LONG_S:
            return
        hold = self.hold
        if hold is None:
            hold = self.hold = Hold(began_s, now.task, self._used_before)
        hold.add(stack_of(frame, MAX_DEPTH), now_s, self._used)

    def miss(self, now_s: float) -> None:
        """Process a look that has not found the loop: it has ended, or is hidden below a deep recursion."""
        from spanloom.diagnosis.resting import is_run  # most programs start without it

        loop = self.loop()
        if loop is None or not is_run(loop):
            self._end(now_s)

    def _computed(self, pause_s: float) -> bool:
        """Return whether the loop's thread has computed most of the time since the last look."""
        used, before = self._used, self._used_before
        own_s = pause_s - (used.starved_s - before.starved_s)
        return used.cpu_s - before.cpu_s > RESTLESS * max(own_s, SHORT_S)

    def _note_wait(self, now: LoopNow, now_s: float, pause_s: float, frame: FrameType) -> None:
        """Note that the turn goes on while its thread waits in it: it may make one short call after the other."""
        age_s = since(now)
        if age_s is None or age_s < LONG_S:
            return
        before, used = self._used_before, self._used
        own_s = pause_s - (used.starved_s - before.starved_s)
        if used.cpu_s - before.cpu_s > COMPUTES * own_s:
            return
        part = Hold(now_s, now.task, used)
        part.add(stack_of(frame, MAX_DEPTH), now_s, used)
        self.waited.append((now_s, min(own_s, age_s), part))

    def _began(self, now: LoopNow, now_s: float) -> float:
        """Return since when, at the latest, the present callback has been running."""
        task = id(now.task)
        step = now.turn, now.place, task
        if now.is_native:
            if step != self._step:
                self._end(now_s)
                self._step = step
                age = since(now)
                # The first callback of a turn began with it; any other has begun since the last look.
                self._step_s = now_s - age if age is not None and now.place == 0 else now_s
            return self._step_s
        if step != self._step:
            self._end(now_s)
            self._step, self._step_s, self._probe = step, now_s, None
        elif self._probe is None:
            self._probe = _Probe(now.loop, now_s)
        elif self._probe.turned:
            self._end(now_s)
            self._step, self._step_s, self._probe = step, now_s, _Probe(now.loop, now_s)
        return self._step_s

    def _end(self, now_s: float) -> None:
        self._step = self._probe = None
        hold, self.hold = self.hold, None
        if hold is not None:
            hold.ended_s = (hold.seen_s + now_s) / 2
            self.held.append(hold)
        while self.held and (self.held[0].ended_s or now_s) < now_s - WINDOW_S:
            self.held.popleft()

    def recent(self, now_s: float) -> list[Hold]:
        """Return the recent holds and the present one, oldest first."""
        found = [hold for hold in self.held if (hold.ended_s or now_s) >= now_s - WINDOW_S]
        return [*found, self.hold] if self.hold is not None else found


class _Probe:
    """A callback of ours in a loop that does not show its turns, scheduled while it is at work."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now_s: float) -> None:
        self.turned = False
        self.asked_s = now_s
        try:
            loop.call_soon_threadsafe(self._turn)
        except RuntimeError:  # it is closed
            self.turned = True

    def _turn(self) -> None:
        self.turned = True


def used_by(thread: int) -> Used:
    """Return the CPU time of a thread, which must still be running, or the process may crash."""
    native = native_id(thread)
    if native is not None:
        try:
            # Nanoseconds on a core, and ready to run without one (the kernel's Documentation/scheduler/sched-stats).
            file = os.open(f"/proc/self/task/{native:d}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fields = os.read(file, 100).split()
            finally:
                os.close(file)
            return Used(int(fields[0]) / 1e9, int(fields[1]) / 1e9)
        except (OSError, ValueError, IndexError):
            pass
    try:
        return Used(time.clock_gettime(time.pthread_getcpuclockid(thread)), 0.0)
    except OSError:
        return Used(0.0, 0.0)


def function_of(task: asyncio.Task[Any]) -> str | None:
    """Return the name of the function that a task runs."""
    name = field(field(task, "_coro"), "__qualname__")
    return bare_name(name) if type(name) is str else None
