"""The drain: a handler's own thread, which hands it ended events in lists.

Producers only append to a bounded deque; when it is full, the oldest event is dropped. The thread
sleeps until the first event, then looks every `INTERVAL_S`, and goes back to sleep when nothing has
been running for a while. One thread per handler: a handler that hangs delays no other one. Beside a
loop that never waits, it gets the GIL because producers leave it to it; see `Turn`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, Final, cast

import msgspec

from spanloom.callbacks.turn import Turn
from spanloom.events.clock import deadline_ns, left_s, monotonic_ns
from spanloom.events.event import Event
from spanloom.events.trace import Trace
from spanloom.exceptions import HandlerError

if TYPE_CHECKING:
    from spanloom.callbacks.guard import Guard

__all__ = ["CAPACITY", "Drain", "TraceEnded", "TraceStarted"]

CAPACITY: Final = 100_000
"""Events that may wait for one handler: some 20 MB, or half a second of the fastest batches."""
CHUNK: Final = 512
"""Events per call of ``on_events``: about 0.1 ms of a statistics handler."""
HOLD_NS: Final = 1_000_000
"""Nanoseconds that the thread works before it yields the GIL to the loop's thread: a fifth of the interpreter's own
switch interval. The pause itself, a kernel timer, may take as long as a list of events."""
BACKLOG: Final = CAPACITY // 4
"""Events waiting above which the thread no longer yields and works until the interpreter takes the GIL from it, after
5 ms. With the GIL for only 1 ms in 6, it would fall behind a batch of jobs that hardly wait, and lose events."""
MOVING_NS: Final = 1_000_000_000
"""A handler hangs if it has had its list for that long and its thread has used no CPU time for that long. Wall time
alone would also condemn a thread that merely does not get the GIL: SQLite releases it at each row, and a loop that
never waits keeps it for milliseconds."""
PATIENCE_NS: Final = 10_000_000_000
"""A handler also hangs if it has had its list for that long, however much CPU time it uses: it may loop for ever."""
RELIEF_S: Final = 0.002
"""Seconds that producers should pause when half of `CAPACITY` is waiting; doubled for each further tenth."""
INTERVAL_S: Final = 0.08
"""Seconds between two looks: less than the 0.1 s within which a record has what has ended, because a look and its
transaction take time, too."""
FIRST_S: Final = 0.02
"""Seconds from the start of the thread to its first look; most batches of a few jobs are over by then."""
LINGER_S: Final = 1.0
"""Seconds for which the thread goes on looking after there was nothing any more. To wake it costs more than a look: for
a moment, it fights for the GIL with the thread that has woken it."""
JOIN_S: Final = 0.1
"""Seconds that the end of the thread is waited for."""
RING_NS: Final = 5_000_000
"""Nanoseconds in which a thread that was woken should have looked; see `Turn`."""
BURST: Final = BACKLOG // 4
"""Events that came during a look from which on the thread looks again at once. With fewer, what a handler does once per
look, such as a transaction, would cost more than what it does with the events."""


class TraceStarted(msgspec.Struct, frozen=True):
    """Marks, among the events, where a trace began."""

    trace: Trace


class TraceEnded(msgspec.Struct, frozen=True):
    """Marks, among the events, where a trace ended. Its map, which may be large, is made on the handler's thread."""

    trace: Trace


_MARKS: Final = frozenset({TraceStarted, TraceEnded})


class Drain:
    """The buffer and the thread of one handler.

    Args:
        guard: The handler's.
        on_events: Its hook for lists.
        marks: Whether `TraceStarted` and `TraceEnded` may be among the events: looking for them takes
            as long as the delivery itself.
    """

    def __init__(self, guard: Guard, on_events: Callable[[Sequence[Event]], object], *, marks: bool) -> None:
        self._guard = guard
        self._on_events = on_events
        self._marks = marks
        self.reset()

    def reset(self) -> None:
        """Start anew with nothing buffered and no thread: at construction, and in a forked child."""
        self.outbox: deque[Event | TraceStarted | TraceEnded] = deque(maxlen=CAPACITY)
        self._in_hand = 0
        self._taken_ns = 0
        self._looked = (0, 0)
        self._batches = 0
        self._parked = True
        self._stirred = False
        self._closed = False
        # Re-entrant: a signal handler that emits events may interrupt the thread that holds it.
        self._lock = threading.RLock()
        self._delivery = threading.Lock()
        self._wake = threading.Event()
        self._turn = Turn()
        self._flushed = threading.Condition(self._lock)
        self._asked = 0
        self._done = 0
        self._failure: HandlerError | None = None
        self._thread: threading.Thread | None = None
        self._runner: asyncio.Runner | None = None

    @property
    def pending(self) -> int:
        """Number of events that wait here or are in the handler's hands; one that is moving may count twice.

        Takes no lock. The caller may hold one of its own, and `_take` may run the garbage collector, with a finalizer
        that waits for the caller's lock: a deadlock.
        """
        waiting, in_hand = (
            self.outbox.copy(),
            self._in_hand,
        )  # in this order: an event that has left the outbox is already counted in hand
        return self._count_events(waiting) + in_hand

    def let_in(self) -> None:
        """Let the thread work now if it wants to, and the GIL keeps it from that; for producers, every now and then."""
        self._turn.let_in()

    def relief_s(self) -> float:
        """Return the seconds that producers should pause so that the handler can catch up.

        0 while at most half of `CAPACITY` is waiting, and 0 for a handler that hangs. A handler that is only slow, or
        gets little CPU time, is given more time the less room is left, up to 2**5 times `RELIEF_S`.
        """
        excess = len(self.outbox) - CAPACITY // 2
        if excess <= 0 or self._closed or self._thread is None:
            return 0.0
        if not self._in_hand:
            self._wake.set()
        elif not self._is_moving():
            return 0.0
        return RELIEF_S * (1 << excess * 10 // CAPACITY)

    def _is_moving(self) -> bool:
        now_ns = monotonic_ns()
        held_ns = now_ns - self._taken_ns
        if held_ns < MOVING_NS:
            return True
        if self._turn.cpu_clock is None or held_ns >= PATIENCE_NS:
            return False
        looked_ns, cpu_ns = self._looked
        try:
            used_ns = time.clock_gettime_ns(self._turn.cpu_clock)
        except OSError:  # the thread has ended
            return False
        if used_ns != cpu_ns:
            self._looked = now_ns, used_ns
            return True
        return now_ns - looked_ns < MOVING_NS

    def push(self, item: Event | TraceStarted | TraceEnded) -> None:
        """Append one item from any thread; wake the thread if it sleeps."""
        self.outbox.append(item)
        if self._parked:
            self._ring()

    def stir(self) -> None:
        """Note, from any thread, that an event has started; wake the thread if it sleeps."""
        self._stirred = True
        if self._parked:
            self._ring()

    def batch_started(self) -> None:
        """Look every `INTERVAL_S` from now on: a batch appends to `outbox` without waking the thread."""
        with self._lock:
            self._batches += 1
        if self._parked:
            self._ring()

    def batch_ended(self) -> None:
        """Undo one `batch_started`; the thread looks once more before it sleeps."""
        with self._lock:
            self._batches = max(0, self._batches - 1)  # a forked child may end its parent's batch

    def ask(self) -> int:
        """Ask the thread to deliver everything appended before this call; return a ticket for `flush`."""
        with self._lock:
            self._asked += 1
            asked = self._asked
        self._turn.want(monotonic_ns())
        self._wake.set()
        return asked

    def flush(self, timeout: float, asked: int) -> bool:
        """Wait until what `ask` asked for is delivered; return False if `timeout` seconds did not suffice.

        Delivers in the caller's thread if there is no other. Returns False at once on the handler's own thread.

        Raises:
            HandlerError: a hook failed on the thread since the last flush, under ``raise_handler_errors``.
        """
        thread = self._thread
        if thread is threading.current_thread():
            return False
        if thread is not None and thread.is_alive():
            with self._flushed:
                done = self._flushed.wait_for(lambda: self._done >= asked, max(0.0, timeout))
        else:
            done = self._delivery.acquire(timeout=max(0.0, timeout))
            if done:
                try:
                    self._hand_over()
                finally:
                    self._delivery.release()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return done

    def close(self, timeout: float) -> None:
        """Stop the thread after its present look; wait up to `timeout` s for its end, but not on itself."""
        self._closed = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            # Else it would soon fight for the GIL with the caller, only to end. No longer than that takes: a loop of an
            # async hook, which ends with it, may have tasks that are slow to end.
            with suppress(RuntimeError):  # the interpreter is shutting down
                thread.join(min(timeout, JOIN_S))

    def call_on_events(self, events: Sequence[Event]) -> None:
        """Call the hook and, if it is async, run it to completion on this thread's own loop."""
        result = self._on_events(events)
        if inspect.isawaitable(result):
            if self._runner is None:
                self._runner = asyncio.Runner(loop_factory=_DrainLoop)
            self._runner.run(_finish(result))

    def _ring(self) -> None:
        with self._lock:
            self._parked = False
            thread = None
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name=f"spanloom-{self._guard.name}", daemon=True)
                self._thread = thread  # before the start: `flush` compares it, perhaps called by a hook
        if thread is None:
            self._turn.want(monotonic_ns() + RING_NS)
            self._wake.set()
            return
        try:
            thread.start()  # without the lock: a thread that waits for it would next wait for the GIL, for long
        except RuntimeError:
            self._thread = None  # the interpreter is shutting down: flush() delivers in its caller's thread

    def _run(self) -> None:
        if hasattr(time, "pthread_getcpuclockid"):
            self._turn.cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        self._sleep(FIRST_S)
        linger_ns = 0
        while not self._closed:
            self._turn.want(monotonic_ns() + HOLD_NS)  # if it lets go of the GIL meanwhile, as SQLite does
            self._wake.clear()
            next_ns = deadline_ns(INTERVAL_S)
            asked = self._asked
            self._stirred = False
            with self._delivery:
                handed = self._hand_over()
                is_open = self._tick()
            with self._flushed:
                self._done = asked
                self._flushed.notify_all()
                if handed or self._batches or is_open:
                    linger_ns = deadline_ns(LINGER_S)
                self._parked = parked = monotonic_ns() >= linger_ns
            waiting = len(self.outbox)
            if waiting >= BURST or (parked and (waiting or self._stirred)):
                continue  # too much to leave waiting, or pushed before a producer could see that we park
            if not self._closed:
                # Some of what waits came when the look began, so count from there.
                timeout = left_s(next_ns) if waiting >= CHUNK else INTERVAL_S
                self._sleep(None if parked else timeout)
        self._turn.want(None)
        if self._runner is not None:
            # At the end of the interpreter, from 3.12 on, no thread can be started to end the executor of its loop. The
            # loop is closed all the same.
            with suppress(RuntimeError):
                self._runner.close()

    def _sleep(self, timeout: float | None) -> None:
        self._turn.want(None if timeout is None else deadline_ns(timeout))
        self._wake.wait(timeout)

    def _hand_over(self) -> int:
        """Deliver what is there now; return its number. What comes meanwhile waits, else a flush might never end."""
        handed = 0
        left = len(self.outbox)
        pause_at = monotonic_ns() + HOLD_NS
        while left > 0 and (chunk := self._take()):
            left -= len(chunk)
            if self._in_hand == len(chunk):
                handed += self._deliver(cast("list[Event]", chunk))
            else:
                handed += self._deliver_marked(chunk)
            if monotonic_ns() > pause_at and len(self.outbox) < BACKLOG:
                self._turn.want(monotonic_ns())
                time.sleep(0)
                self._turn.want(monotonic_ns() + HOLD_NS)
                pause_at = monotonic_ns() + HOLD_NS
        return handed

    def _tick(self) -> bool:
        """Call ``on_tick`` of a handler that has it; return True if it is to be called again in `INTERVAL_S`."""
        if not self._guard.watches:
            return False
        try:
            return self._guard.tick()
        except HandlerError as error:
            self._failure = error
            return False

    def _take(self) -> list[Event | TraceStarted | TraceEnded]:
        outbox = self.outbox
        count = min(CHUNK, len(outbox))  # nobody else takes any, so all that len() counts are there
        self._taken_ns = monotonic_ns()
        self._in_hand = count  # before they leave, else `pending` would see them in neither place
        chunk = list(map(deque.popleft, repeat(outbox, count)))  # two thirds of the time of a loop
        self._in_hand = self._count_events(chunk)
        return chunk

    def _count_events(self, items: Collection[Event | TraceStarted | TraceEnded]) -> int:
        if not self._marks or _MARKS.isdisjoint(map(type, items)):
            return len(items)
        return sum(isinstance(item, Event) for item in items)

    def _deliver(self, events: list[Event]) -> int:
        if events:
            if self._call("on_events", events):
                self._guard.delivered(len(events))
            self._in_hand -= len(events)
        return len(events)

    def _deliver_marked(self, chunk: list[Event | TraceStarted | TraceEnded]) -> int:
        """Deliver events with marks of traces among them, each mark in its place; return the number of events."""
        handed = 0
        events: list[Event] = []
        for item in chunk:
            if isinstance(item, Event):
                events.append(item)
                continue
            handed += self._deliver(events)
            events = []
            if isinstance(item, TraceStarted):
                self._call("start_trace", item.trace.trace_id, item.trace.name)
            else:
                self._call("end_trace", item.trace.trace_id, item.trace.tree())
        return handed + self._deliver(events)

    def _call(self, hook: str, *args: object) -> bool:
        try:
            return self._guard.call(hook, *args)
        except HandlerError as error:
            self._failure = error  # raise_handler_errors: raised by flush(), as a thread has no caller
            return False


async def _finish(awaitable: Awaitable[object]) -> None:
    await awaitable


class _DrainLoop(asyncio.SelectorEventLoop):
    """The loop of an async batch hook, which a forked child drops without closing it.

    Parent and child share one epoll instance: closing the loop in the child would unregister the
    parent's wake-up pipe, and other threads could never wake the parent's loop again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._pid:
            super().__del__()
