"""The drain: a thread of a handler's own that hands it ended events in lists.

Producers append to a bounded deque, which is all they ever do; the oldest event gives way when it
is full. The thread sleeps until the first event, then looks every `INTERVAL_S`, and goes back to
sleep when nothing is running any more. One thread per handler: a handler that hangs keeps nobody
but itself from its events.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Final, cast

import msgspec

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
"""How long the thread works before it lets the loop's thread have the GIL, a fifth of the interpreter's own
switch interval. The pause itself, a timer of the kernel's, may take as long as a list of events does."""
BACKLOG: Final = CAPACITY // 4
"""Events beyond which the thread works on until the interpreter takes the GIL from it, which is after 5 ms. Who only
gets it for 1 ms in 6 falls behind a batch of jobs that hardly wait, and would lose what is more than `CAPACITY`."""
MOVING_NS: Final = 1_000_000_000
"""How long a handler may have had its list in hand, or its thread may have used no CPU time since: it hangs then, for
all that can be told. The clock on the wall alone would call a thread dead that merely does not get the GIL: SQLite
gives it away at each row, and a loop that never waits keeps it for milliseconds."""
PATIENCE_NS: Final = 10_000_000_000
"""How long a list may be in hand however busy the thread is: it may be in a circle."""
RELIEF_S: Final = 0.002
"""How long who makes events should wait when half of `CAPACITY` does; twice as long for each tenth more."""
INTERVAL_S: Final = 0.1
BURST: Final = BACKLOG // 4
"""Events that have come during a look beyond which the thread looks again at once. With fewer, what a handler does once
for each look, such as a transaction, would cost more than what it does with the events."""


class TraceStarted(msgspec.Struct, frozen=True):
    """Stands among the events where a trace began."""

    trace: Trace


class TraceEnded(msgspec.Struct, frozen=True):
    """Stands among the events where a trace ended. Its map is made on the handler's thread: it may be large."""

    trace: Trace


_MARKS: Final = frozenset({TraceStarted, TraceEnded})


class Drain:
    """The buffer and the thread of one handler.

    Args:
        guard: The handler's.
        on_events: Its hook for lists.
        marks: Whether `TraceStarted` and `TraceEnded` will be among the events: looking for them takes
            as long as handing over does.
    """

    def __init__(self, guard: Guard, on_events: Callable[[Sequence[Event]], object], *, marks: bool) -> None:
        self._guard = guard
        self._on_events = on_events
        self._marks = marks
        self.reset()

    def reset(self) -> None:
        """Begin anew, with nothing buffered and no thread: as made, and after a fork in the child."""
        self.outbox: deque[Event | TraceStarted | TraceEnded] = deque(maxlen=CAPACITY)
        self._in_hand = 0
        self._taken_ns = 0
        self._looked = (0, 0)
        self._cpu_clock: int | None = None
        self._batches = 0
        self._parked = True
        self._stirred = False
        self._closed = False
        # Re-entrant: a signal handler that emits events may interrupt whoever holds it.
        self._lock = threading.RLock()
        self._delivery = threading.Lock()
        self._wake = threading.Event()
        self._flushed = threading.Condition(self._lock)
        self._asked = 0
        self._done = 0
        self._failure: HandlerError | None = None
        self._thread: threading.Thread | None = None
        self._runner: asyncio.Runner | None = None

    @property
    def pending(self) -> int:
        """Events that wait here or are in the handler's hands; some that go from one to the other may count twice.

        Without a lock: who asks may hold one that a finalizer waits for which the garbage collector runs in `_take`.
        """
        waiting, in_hand = (
            self.outbox.copy(),
            self._in_hand,
        )  # in this order: what has left the one is in the other
        return self._count_events(waiting) + in_hand

    def relief_s(self) -> float:
        """Return for how long a pause of who makes events would help: not at all unless half of what may wait does.

        Nor with a handler that hangs. One that is only slow, or gets little of a busy machine, is given the more time
        the less room there is, up to 2**5 times `RELIEF_S`.
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
        if self._cpu_clock is None or held_ns >= PATIENCE_NS:
            return False
        looked_ns, cpu_ns = self._looked
        try:
            used_ns = time.clock_gettime_ns(self._cpu_clock)
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
        """Tell that an event is open, from any thread; wake the thread if it sleeps."""
        self._stirred = True
        if self._parked:
            self._ring()

    def batch_started(self) -> None:
        """Look every `INTERVAL_S` from now on: a batch appends to `outbox` without a word."""
        with self._lock:
            self._batches += 1
        if self._parked:
            self._ring()

    def batch_ended(self) -> None:
        """Undo one `batch_started`; the thread looks once more before it sleeps."""
        with self._lock:
            self._batches = max(0, self._batches - 1)  # a forked child may end what its parent started

    def ask(self) -> int:
        """Ask the thread to hand over everything appended before this call; `flush` waits for it."""
        with self._lock:
            self._asked += 1
            asked = self._asked
        self._wake.set()
        return asked

    def flush(self, timeout: float, asked: int) -> bool:
        """Wait for what was asked for; return False if `timeout` s did not do."""
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

    def close(self) -> None:
        """Stop the thread once it is through with what it has in hand; does not wait for it."""
        self._closed = True
        self._wake.set()

    def call_on_events(self, events: Sequence[Event]) -> None:
        """Call the hook and, if it is async, run it to its end on this thread's own loop."""
        result = self._on_events(events)
        if inspect.isawaitable(result):
            if self._runner is None:
                self._runner = asyncio.Runner(loop_factory=_DrainLoop)
            self._runner.run(_finish(result))

    def _ring(self) -> None:
        with self._lock:
            self._parked = False
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name=f"spanloom-{self._guard.name}", daemon=True)
                self._thread = thread  # before the start: a hook that flushes asks whose thread it is on
                try:
                    thread.start()
                except RuntimeError:
                    self._thread = None
                    return  # the interpreter is shutting down: flush() hands over in its caller's thread
        self._wake.set()

    def _run(self) -> None:
        if hasattr(time, "pthread_getcpuclockid"):
            self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        while not self._closed:
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
                self._parked = parked = not (handed or self._batches or is_open)
            waiting = len(self.outbox)
            if waiting >= BURST or (parked and (waiting or self._stirred)):
                continue  # too much to let it lie, or pushed before anyone could see that we park
            if not self._closed:
                # Some of what waits came when the look began.
                timeout = left_s(next_ns) if waiting >= CHUNK else INTERVAL_S
                self._wake.wait(None if parked else timeout)
        if self._runner is not None:
            self._runner.close()

    def _hand_over(self) -> int:
        """Hand over what is there now. What comes meanwhile is for the next time, or a flush would never end."""
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
                time.sleep(0)
                pause_at = monotonic_ns() + HOLD_NS
        return handed

    def _tick(self) -> bool:
        """Let a handler look that looks at open events; return True if there are any, and it has to look again."""
        if not self._guard.watches:
            return False
        try:
            return self._guard.tick()
        except HandlerError as error:
            self._failure = error
            return False

    def _take(self) -> list[Event | TraceStarted | TraceEnded]:
        outbox = self.outbox
        count = min(CHUNK, len(outbox))  # nobody else takes, so what len() counts is there
        self._taken_ns = monotonic_ns()
        self._in_hand = count  # before they leave, or `pending` would see them in neither place
        chunk = list(map(deque.popleft, repeat(outbox, count)))  # two thirds of what a loop takes
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
        """Deliver events around which traces begin and end: each mark in its place."""
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
            self._failure = error  # raise_handler_errors: flush() raises it, a thread has no caller
            return False


async def _finish(awaitable: Awaitable[object]) -> None:
    await awaitable


class _DrainLoop(asyncio.SelectorEventLoop):
    """The loop of an async batch hook, which a forked child drops without closing it.

    Parent and child share one epoll instance: closing the loop in the child would take the parent's
    wake-up pipe off the list, and the parent's loop would never hear of its threads again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._pid:
            super().__del__()
