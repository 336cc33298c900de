"""Batch hooks: lists of ended events, on a thread of the handler's own, bounded, counted, and never in the way."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from spanloom import FixedLimiter, async_map, run_jobs, use_callback_manager
from spanloom.callbacks import CallbackManager, drain
from spanloom.events import Event, EventType, Handler
from spanloom.handlers.record import RecordHandler
from spanloom.testing import virtual_clock
from tests.callbacks.recorders import Ends, Gate, Inline, Lists, adds_up, recorded, stats_of
from tests.store.files import read

needs_thread_clock = pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="no clock of another thread's CPU time"
)


def emit(manager: CallbackManager, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        manager.emit(name=str(number))


def drain_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("spanloom-")]


def wait_until(condition, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


# delivery -------------------------------------------------------------------------------------------------


def test_events_come_in_lists_in_order() -> None:
    """Everything that ended arrives once, in order of its end, in lists of at most 512."""
    manager = CallbackManager([handler := Gate()])
    manager.emit(name="first")
    assert handler.entered.wait(10)
    emit(manager, 2_000)
    handler.opened.set()
    assert manager.flush(10)
    assert handler.names == ["first", *map(str, range(2_000))]
    assert max(len(events) for events in handler.lists) == drain.CHUNK == 512
    assert all(handler.lists)


def test_a_flush_is_not_needed() -> None:
    """What ended is handed over by itself, soon."""
    manager = CallbackManager([handler := Lists()])
    manager.emit(name="a")
    wait_until(lambda: handler.names == ["a"])
    manager.emit(name="b")
    wait_until(lambda: handler.names == ["a", "b"])


async def test_lists_are_never_handed_over_on_the_loops_thread() -> None:
    """The hook runs on a daemon thread of the handler's own, named after it."""
    manager = CallbackManager([one := Lists(), other := Lists()])

    async def job() -> None:
        await asyncio.sleep(0)

    with use_callback_manager(manager):
        await run_jobs([job() for _ in range(100)])
    assert await asyncio.to_thread(manager.flush)
    (first,), (second,) = one.threads, other.threads
    assert first is not second
    assert threading.current_thread() not in (first, second)
    assert first.daemon
    assert first.name == "spanloom-Lists"
    assert [event.type for event in one.events] == ["job"] * 100 + ["batch"]
    await manager.aclose()


def test_no_thread_before_the_first_event() -> None:
    """A handler that gets nothing costs no thread, not even when it is flushed and closed."""
    before = drain_threads()
    manager = CallbackManager([handler := Lists()])
    assert manager.flush()
    assert manager.close()
    assert drain_threads() == before
    assert handler.closed == 1


class AsyncLists(Lists):
    def __init__(self) -> None:
        super().__init__()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def on_events(self, events: Sequence[Event]) -> None:  # type: ignore[override]  # either is allowed
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        await asyncio.to_thread(Lists.on_events, self, events)


def test_an_async_hook_runs_on_a_loop_of_its_own() -> None:
    """`async def on_events` is awaited to its end, on one loop, which is closed with the handler."""
    manager = CallbackManager([handler := AsyncLists()])
    for number in range(3):
        manager.emit(name=str(number))
        assert manager.flush(10)
        assert handler.names[-1] == str(number)
    (loop,) = handler.loops
    assert manager.close(10)
    wait_until(loop.is_closed)
    assert handler.closed == 1


def test_a_hook_may_return_an_awaitable() -> None:
    """A plain function that returns a coroutine is as good as an async one."""
    done = []

    class Deferred:
        def on_events(self, events: Sequence[Event]):
            async def later() -> None:
                done.extend(event.name for event in events)

            return later()

    manager = CallbackManager([Deferred()])
    manager.emit(name="a")
    assert manager.flush()
    assert done == ["a"]


def test_an_async_hook_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """What it raises, even SystemExit, ends its deliveries, not its thread or anybody else."""

    class Bad:
        async def on_events(self, events: Sequence[Event]) -> None:
            raise SystemExit

    manager = CallbackManager([bad := Bad(), good := Lists()])
    manager.emit(name="a")
    assert manager.flush()
    manager.emit(name="b")
    assert manager.flush()
    assert good.names == ["a", "b"]
    stats = stats_of(manager, bad)
    assert (stats.produced, stats.dropped, stats.errors, stats.quarantined) == (2, 2, 1, True)
    assert len(caplog.records) == 1
    assert manager.close()


def test_traces_come_in_order_with_their_events() -> None:
    """Around a trace's events: its start before all of them, its end, with the map, after all of them."""
    calls: list[object] = []

    class Traces:
        def on_events(self, events: Sequence[Event]) -> None:
            calls.extend(event.name for event in events)

        def start_trace(self, trace_id: int, name: str) -> None:
            calls.append(f"start {name}")

        def end_trace(self, trace_id: int, trace_map: object) -> None:
            calls.append((trace_id, trace_map, threading.current_thread().name))

    manager = CallbackManager([Traces()])
    expected: list[object] = []
    for name in ("a", "b"):
        with manager.as_trace(name) as root:
            manager.emit(name=f"dot {name}")
        tree = manager.trace_map(root.trace_id)
        assert len(tree) == 1
        expected += [f"start {name}", f"dot {name}", name, (root.trace_id, tree, "spanloom-Traces")]
    assert manager.flush()
    order = {str(call): place for place, call in enumerate(calls)}
    assert sorted(map(str, calls)) == sorted(map(str, expected))
    for one in (expected[:4], expected[4:]):
        places = [order[str(call)] for call in one]
        assert places == sorted(places)


async def test_the_map_of_a_large_trace_is_not_made_on_the_loop() -> None:
    """The tree of a trace is put together where it is wanted, on the handler's thread."""
    threads = []

    class Traces:
        def on_events(self, events: Sequence[Event]) -> None: ...

        def end_trace(self, trace_id: int, trace_map: object) -> None: ...

    from spanloom.events.trace import Trace

    whole = Trace.tree

    def tree(self: Trace) -> dict[int, list[int]]:
        threads.append(threading.current_thread())
        return whole(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trace, "tree", tree)
        manager = CallbackManager([Traces()])
        with manager.as_trace("t"):
            manager.emit()
        await asyncio.to_thread(manager.flush)
    assert [thread.name for thread in threads] == ["spanloom-Traces"]


# flush ------------------------------------------------------------------------------------------------------


def test_a_flush_waits_for_what_ended_before_it() -> None:
    """When it returns True, everything from before has been handed over and the handler's own flush has been called."""
    calls: list[str] = []

    class Buffers(Lists):
        def flush(self, timeout: float) -> None:
            assert 0 < timeout <= 5
            calls.append(f"flush after {len(self.events)}")

    manager = CallbackManager([handler := Buffers()])
    for number in range(1, 50):
        manager.emit()
        assert manager.flush(5) is True
        assert len(handler.events) == number
    assert calls == [f"flush after {number}" for number in range(1, 50)]


@pytest.mark.parametrize("timeout", [math.inf, 1e12])
def test_a_flush_may_take_as_long_as_it_takes(timeout: float, tmp_path: Path) -> None:
    """No time is too long to wait; a close that is given one closes, and loses nothing."""
    manager = CallbackManager([handler := Lists(), RecordHandler(tmp_path / "runs.db")])
    emit(manager, 10)
    assert manager.flush(timeout)
    assert handler.names == [*map(str, range(10))]
    emit(manager, 20, 10)
    assert manager.close(timeout)
    assert handler.names == [*map(str, range(30))]
    assert read(tmp_path / "runs.db")[0].state == "ended"


def test_a_flush_ends_although_events_keep_coming() -> None:
    """What ends after the call is not waited for: a busy program can be flushed."""
    done = threading.Event()

    class Slow(Lists):
        def on_events(self, events: Sequence[Event]) -> None:
            super().on_events(events)
            time.sleep(0.002)

    manager = CallbackManager([handler := Slow()])

    def produce() -> None:
        while not done.is_set():
            manager.emit()
            time.sleep(0)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        time.sleep(0.02)
        manager.emit(name="before")
        assert manager.flush(10)
        assert "before" in handler.names
    finally:
        done.set()
        thread.join()
    manager.close()


def test_a_hanging_hook_costs_nobody_more_than_the_timeout() -> None:
    """While one handler hangs, others get their events; flush and close say that they were not done, in time."""
    manager = CallbackManager([hanging := Gate(), good := Lists()])
    manager.emit(name="a")
    assert hanging.entered.wait(10)
    started = time.monotonic()
    manager.emit(name="b")
    assert manager.flush(0.05) is False
    wait_until(lambda: good.names == ["a", "b"])
    stats = stats_of(manager, hanging)
    assert (stats.produced, stats.pending, stats.dropped) == (2, 2, 0)
    assert manager.close(0.05) is False
    assert time.monotonic() - started < 5
    assert hanging.closed == 0
    assert manager.handlers == []
    hanging.opened.set()


def test_flushes_from_many_threads_all_return() -> None:
    """Each of them waits for what it has to, and none misses its wake-up."""
    manager = CallbackManager([handler := Lists()])
    results = []

    def run(number: int) -> None:
        for _ in range(20):
            manager.emit(name=str(number))
            results.append(manager.flush(10))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 100
    assert len(handler.events) == 100


def test_a_hook_may_flush_its_own_manager() -> None:
    """A flush from inside the hook cannot wait for itself: it says so at once."""
    results = []
    manager = CallbackManager()

    class Eager(Lists):
        def on_events(self, events: Sequence[Event]) -> None:
            super().on_events(events)
            results.append(manager.flush(10))

    manager.add_handler(Eager())
    started = time.monotonic()
    manager.emit()
    assert manager.flush(10)
    assert results == [False]
    assert time.monotonic() - started < 5


async def test_aclose_does_not_hold_the_loop() -> None:
    """While it waits for a slow handler, the loop goes on, and a cancel does not undo it."""
    manager = CallbackManager([handler := Gate()])
    manager.emit(name="a")
    closing = asyncio.create_task(manager.aclose(10))
    while not handler.entered.is_set():
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    handler.opened.set()
    while not handler.closed:
        await asyncio.sleep(0.001)
    assert handler.names == ["a"]
    assert await manager.aclose() is True


def test_a_closed_handler_lets_its_thread_go() -> None:
    """No thread stays behind."""
    manager = CallbackManager([handler := Lists()])
    manager.emit()
    assert manager.close(10)
    (thread,) = handler.threads
    thread.join(10)
    assert not thread.is_alive()


def test_a_handler_that_cannot_flush_is_closed_all_the_same() -> None:
    """One that says it could not send everything in time is closed, so that it can let go of its files and threads."""

    class Unsent(Lists):
        def flush(self, timeout: float) -> bool:
            return False

    manager = CallbackManager([handler := Unsent()])
    manager.emit()
    assert not manager.close(10)
    assert handler.closed


def test_a_handler_whose_thread_is_stuck_is_not_closed_by_another() -> None:
    """While its list is in its hands, nobody else calls a hook of it."""
    manager = CallbackManager([handler := Gate()])
    manager.emit()
    assert handler.entered.wait(10)
    assert not manager.close(0.1)
    assert not handler.closed
    handler.opened.set()


def test_events_that_end_after_the_close_are_not_delivered() -> None:
    """A handler that was closed gets nothing, and nothing is kept for it."""
    manager = CallbackManager([handler := Lists()])
    with manager.event(name="open"):
        manager.close()
    manager.emit()
    assert handler.events == []
    assert [event.name for event in recorded(manager)] == ["open", "mark"]


# accounts ---------------------------------------------------------------------------------------------------


def test_a_full_buffer_gives_up_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that cannot keep up loses the oldest events, and they are counted, before, during and after."""
    monkeypatch.setattr(drain, "CAPACITY", 1_000)
    manager = CallbackManager([handler := Gate()])
    manager.emit(name="in hand")
    assert handler.entered.wait(10)
    for first in range(0, 3_000, 500):
        emit(manager, 500, first)
        assert adds_up(stats_of(manager, handler))
    stats = stats_of(manager, handler)
    assert (stats.produced, stats.delivered, stats.dropped, stats.pending) == (3_001, 0, 2_000, 1_001)
    handler.opened.set()
    assert manager.flush(10)
    assert handler.names == ["in hand", *map(str, range(2_000, 3_000))]
    stats = stats_of(manager, handler)
    assert (stats.produced, stats.delivered, stats.dropped, stats.pending) == (3_001, 1_001, 2_000, 0)
    assert manager.stats().dropped == 2_000


class Watch:
    """Looks at the accounts of two handlers from another thread, all the time, and keeps what is wrong."""

    def __init__(self, manager: CallbackManager, lists: object, inline: object, may_miss: int) -> None:
        self.manager, self.lists, self.inline, self.may_miss = manager, lists, inline, may_miss
        self.wrong: list[object] = []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.interval = sys.getswitchinterval()

    def run(self) -> None:
        last = 0
        while not self.done.is_set():
            stats = stats_of(self.manager, self.lists)
            if (
                not adds_up(stats)
                or stats.dropped > self.may_miss
                or stats.pending < 0
                or stats.delivered < last
            ):
                self.wrong.append(stats)
            last = stats.delivered
            if not adds_up(stats_of(self.manager, self.inline)):
                self.wrong.append(stats_of(self.manager, self.inline))

    def __enter__(self) -> Watch:
        sys.setswitchinterval(1e-5)
        self.thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.done.set()
        self.thread.join()
        sys.setswitchinterval(self.interval)


class Slow(Lists):
    def on_events(self, events: Sequence[Event]) -> None:
        super().on_events(events)
        time.sleep(0.0005)


def test_the_accounts_add_up_at_every_moment() -> None:
    """Produced is delivered and dropped and pending, and nothing counts as lost that is not, whenever one looks."""
    manager = CallbackManager([lists := Slow(), inline := Ends()])

    def work() -> None:
        for _ in range(300):
            with manager.event():
                manager.emit()

    with Watch(manager, lists, inline, may_miss=0) as watch:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert watch.wrong == []
    assert manager.flush(10)
    for handler in (lists, inline):
        stats = stats_of(manager, handler)
        assert (stats.delivered, stats.dropped, stats.pending) == (stats.produced, 0, 0)
    assert stats_of(manager, lists).produced == len(lists.events) == 1_800
    assert stats_of(manager, inline).produced == len(inline.seen) == 900


async def test_the_accounts_of_batches_add_up_at_every_moment() -> None:
    """So do those of jobs, which are counted by their batch; in the end, none is missing."""
    manager = CallbackManager([lists := Slow(), inline := Ends()])

    async def job() -> None:
        manager.emit()
        await asyncio.sleep(0)

    # One job per running batch may be on its way between "started" and "alive".
    with Watch(manager, lists, inline, may_miss=1) as watch, use_callback_manager(manager):
        for _ in range(20):
            await run_jobs([job() for _ in range(100)], workers=10)
    assert watch.wrong == []
    assert await asyncio.to_thread(manager.flush)
    for handler in (lists, inline):
        stats = stats_of(manager, handler)
        assert (stats.delivered, stats.dropped, stats.pending) == (stats.produced, 0, 0)
    assert stats_of(manager, lists).produced == len(lists.events) == 20 * (100 + 100 + 1)
    assert stats_of(manager, inline).produced == len(inline.seen) == 20 * (100 + 1)


async def test_the_jobs_of_a_running_batch_are_in_the_accounts() -> None:
    """Jobs are accounted for when they end, not when their batch does."""
    manager = CallbackManager([handler := Lists(), inline := Ends()])
    go_on = asyncio.Event()

    async def job(number: int) -> None:
        if number == 9:
            await go_on.wait()

    with use_callback_manager(manager):
        batch = asyncio.create_task(run_jobs([job(number) for number in range(10)], workers=3))
        while manager.stats().produced < 9:
            await asyncio.sleep(0)
        assert await asyncio.to_thread(manager.flush)
        for one in (handler, inline):
            stats = stats_of(manager, one)
            assert (stats.produced, stats.delivered, stats.dropped, stats.pending) == (9, 9, 0, 0)
        go_on.set()
        await batch
    assert await asyncio.to_thread(manager.flush)
    assert stats_of(manager, handler).delivered == 11


# the thread sleeps --------------------------------------------------------------------------------------------


@needs_thread_clock
def test_an_idle_thread_sleeps() -> None:
    """With nothing to hand over and no batch running, the thread does not even look."""
    manager = CallbackManager([handler := Lists()])
    manager.emit()
    assert manager.flush()
    guard = next(iter(manager._table))
    assert guard.drain is not None
    wait_until(lambda: guard.drain._parked)  # type: ignore[union-attr]  # it has one
    (thread,) = handler.threads
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)

    def sleeps(seconds: float) -> bool:
        before = time.clock_gettime_ns(clock)
        time.sleep(seconds)
        return time.clock_gettime_ns(clock) == before

    wait_until(lambda: sleeps(0.05))  # it may be on its way there
    assert sleeps(0.4)
    manager.emit(name="awake")
    wait_until(lambda: handler.names[-1:] == ["awake"])
    manager.close()


async def test_the_thread_looks_now_and_then_while_a_batch_runs() -> None:
    """The jobs of a running batch are handed over without a word from it, and once it has ended the thread sleeps."""
    manager = CallbackManager([handler := Lists()])
    go_on = asyncio.Event()

    async def job(number: int) -> None:
        if number:
            await go_on.wait()

    with use_callback_manager(manager):
        batch = asyncio.create_task(run_jobs([job(number) for number in range(2)]))
        while not handler.events:
            await asyncio.sleep(0.01)
        assert [event.type for event in handler.events] == ["job"]
        go_on.set()
        await batch
    guard = next(iter(manager._table))
    assert guard.drain is not None
    while not guard.drain._parked:
        await asyncio.sleep(0.01)
    assert [event.type for event in handler.events] == ["job", "job", "batch"]
    await manager.aclose()


class Fed(Lists):
    """Has more than a list of events come during each look."""

    def __init__(self) -> None:
        super().__init__()
        self.manager: CallbackManager | None = None
        self.looked: list[float] = []

    def on_tick(self) -> bool:
        self.looked.append(time.monotonic())
        feeder = threading.Thread(target=emit, args=(self.manager, drain.CHUNK + 88))
        feeder.start()
        feeder.join()
        return True


def test_the_thread_keeps_its_pace_while_lists_fill_up() -> None:
    """What comes during a look is handed over with the next, as one list: what a handler does once may be costly."""
    manager = CallbackManager([handler := Fed()])
    handler.manager = manager
    manager.emit(name="first")
    wait_until(lambda: len(handler.looked) > 10)
    manager.remove_handler(handler)
    assert handler.looked[10] - handler.looked[0] > 9 * drain.INTERVAL_S


def test_a_look_leaves_time_for_what_comes_of_it() -> None:
    """A record promises what has ended within 0.1 s: of that, a look and its transaction have a fifth."""
    assert drain.INTERVAL_S <= 0.08


def test_an_event_pushed_while_the_thread_falls_asleep_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the sleep there is a moment: an event of that moment does not wait for the next one."""
    manager = CallbackManager([handler := Lists()])
    (guard,) = manager._table
    box = guard.drain
    assert box is not None
    whole = box._hand_over
    late = iter(["late"])

    def hand_over(*args: object) -> int:
        handed = whole(*args)  # type: ignore[arg-type]  # as it was called
        if not handed:  # the thread is about to sleep
            box.outbox.extend(recorded(manager)[:1] if next(late, None) else [])
        return handed

    monkeypatch.setattr(box, "_hand_over", hand_over)
    manager.emit(name="first")
    wait_until(lambda: handler.names == ["first", "first"])
    manager.close()


def test_without_a_thread_a_flush_hands_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, as at the end of the interpreter, `flush` does its work."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    manager = CallbackManager([handler := Lists(), Inline()])
    monkeypatch.setattr(threading.Thread, "start", start)
    manager.emit(name="a")
    manager.emit(name="b")
    assert handler.events == []
    assert manager.flush()
    assert handler.names == ["a", "b"]
    assert handler.threads == {threading.current_thread()}
    manager.emit(name="c")
    assert manager.close()
    assert handler.names == ["a", "b", "c"]


def test_a_flush_in_the_callers_thread_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads never run one handler's batch hook at the same time; who waits too long is told."""
    manager = CallbackManager([handler := Gate()])
    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError))
    manager.emit(name="a")
    monkeypatch.setattr(threading.Thread, "start", real)
    results = []
    first = threading.Thread(target=lambda: results.append(manager.flush(10)))
    first.start()
    assert handler.entered.wait(10)
    assert manager.flush(0.01) is False
    handler.opened.set()
    first.join()
    assert results == [True]
    assert handler.names == ["a"]
    manager.close()


# a handler that cannot follow ---------------------------------------------------------------------------------

CAPACITY = 10_000
PATIENT_NS = 10_000_000_000
"""What a loaded machine makes of a list in hand is no hang."""


async def nothing(_: int) -> None:
    pass


async def one_by_one(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def limited(jobs: Callable[[int], Awaitable[None]], how: str) -> Awaitable[object]:
    """Run 25,000 jobs, `how`: both lanes, and what the window has to wait for."""
    count = 25_000
    if how == "async input":
        return async_map(jobs, one_by_one(count), limit=64)
    if how == "limiter":
        return async_map(jobs, range(count), limit=FixedLimiter(64))
    return async_map(jobs, range(count), limit=64, isolation=cast("Any", how))


hows = pytest.mark.parametrize("how", ["task", "context", "async input", "limiter"])


@hows
async def test_a_batch_gives_time_to_a_handler_that_falls_behind(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that end faster than a slow handler can take their events are started later, and no event is dropped."""
    monkeypatch.setattr(drain, "CAPACITY", CAPACITY)
    monkeypatch.setattr(drain, "MOVING_NS", PATIENT_NS)

    class Slow(Handler):
        def on_events(self, events: Sequence[Event]) -> None:
            time.sleep(0.04)

    manager = CallbackManager([handler := Slow()])
    with use_callback_manager(manager):
        await limited(nothing, how)
    assert await asyncio.to_thread(manager.flush, 60)
    stats = stats_of(manager, handler)
    assert stats.produced > 25_000
    assert stats.dropped == 0
    await manager.aclose()


@pytest.mark.parametrize("isolation", ["task", "context"])
async def test_events_inside_of_jobs_count_as_well(isolation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that wants no jobs, but what happens in them, is waited for all the same."""
    monkeypatch.setattr(
        drain, "CAPACITY", 2 * CAPACITY
    )  # 64 jobs at once make 320 events before they can be held up
    monkeypatch.setattr(drain, "MOVING_NS", PATIENT_NS)
    manager = CallbackManager()

    class Slow(Handler):
        wants = frozenset({EventType.STEP})

        def on_events(self, events: Sequence[Event]) -> None:
            time.sleep(0.04)

    async def job(_: int) -> None:
        for _ in range(5):
            with manager.event():
                pass

    manager.add_handler(handler := Slow())
    with use_callback_manager(manager):
        await async_map(job, range(5_000), limit=64, isolation=isolation)
    assert await asyncio.to_thread(manager.flush, 60)
    stats = stats_of(manager, handler)
    assert (stats.produced, stats.dropped) == (25_000, 0)
    await manager.aclose()


@hows
def test_a_batch_does_not_wait_for_a_handler_that_hangs(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a moment: it loses what there is no room for, and that is counted."""
    monkeypatch.setattr(drain, "CAPACITY", CAPACITY)
    monkeypatch.setattr(drain, "MOVING_NS", 200_000_000)
    manager = CallbackManager([handler := Gate()])
    manager.emit()
    assert handler.entered.wait(10)
    emit(manager, CAPACITY // 2 + 1)
    time.sleep(drain.MOVING_NS / 1e9)
    manager.relief_s()  # what its thread did on the way into the hook is seen here
    time.sleep(drain.MOVING_NS / 1e9)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        with use_callback_manager(manager):
            started = loop.time()
            await limited(nothing, how)
            return loop.time() - started

    with virtual_clock() as runner:
        assert runner.run(main()) == 0  # of a clock that only pauses move
    stats = stats_of(manager, handler)
    assert stats.produced > 25_000
    assert (stats.pending, stats.dropped) == (CAPACITY + 1, stats.produced - CAPACITY - 1)
    handler.opened.set()
    manager.close()


def test_a_pause_is_longer_the_less_room_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing at the half to 64 ms when all is full; nothing again when the list in hand is there too long."""
    monkeypatch.setattr(drain, "CAPACITY", 1_000)
    monkeypatch.setattr(drain, "MOVING_NS", 200_000_000)
    manager = CallbackManager([handler := Gate()])
    manager.emit()
    assert handler.entered.wait(10)
    (guard,) = manager._table
    box = guard.drain
    assert box is not None
    box._taken_ns = 1 << 62  # as if it had just been taken, for as long as this test takes
    found = []
    for _ in range(11):
        found.append(box.relief_s())
        emit(manager, 100)
    assert found == [0.0] * 6 + [0.004, 0.008, 0.016, 0.032, 0.064]
    box._taken_ns = time.perf_counter_ns() - drain.MOVING_NS
    assert box.relief_s() > 0  # its thread has done something since nobody looked
    for _ in range(2):  # and may have had a step to do yet before it waited in the hook
        time.sleep(drain.MOVING_NS / 1e9)
        relief_s = box.relief_s()
    assert relief_s == 0
    handler.opened.set()
    manager.close()
    assert box.relief_s() == 0


def has_worked(box: drain.Drain | None) -> bool:
    """Tell whether the thread of `box` has used CPU time since somebody looked."""
    assert box is not None
    return box._turn.cpu_clock is not None and time.clock_gettime_ns(box._turn.cpu_clock) > box._looked[1]


@needs_thread_clock
def test_a_handler_that_works_on_one_list_for_long_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for as long as its thread uses CPU time, up to a limit: it may only lack the GIL."""
    monkeypatch.setattr(drain, "CAPACITY", 1_000)
    monkeypatch.setattr(drain, "MOVING_NS", 20_000_000)
    entered, stop = threading.Event(), threading.Event()

    class Busy(Handler):
        def on_events(self, events: Sequence[Event]) -> None:
            entered.set()
            while not stop.is_set():
                pass

    manager = CallbackManager([Busy()])
    manager.emit()
    assert entered.wait(10)
    emit(manager, 1_000)
    (guard,) = manager._table
    found = []
    for _ in range(5):
        time.sleep(0.03)
        wait_until(lambda: has_worked(guard.drain))  # a machine that stands still gives it no time either
        found.append(manager.relief_s())
    assert min(found) > 0
    monkeypatch.setattr(drain, "PATIENCE_NS", 1)
    assert manager.relief_s() == 0
    stop.set()
    assert manager.flush()
    manager.close()


async def test_a_hook_does_not_wait_for_its_own_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch inside of a batch hook runs at full speed, however much is waiting for that hook."""
    monkeypatch.setattr(drain, "CAPACITY", 1_000)
    found: list[float] = []
    manager = CallbackManager()

    class Busy(Lists):
        def on_events(self, events: Sequence[Event]) -> None:
            emit_from.wait(10)
            found.append(manager.relief_s())

    emit_from = threading.Event()
    manager.add_handler(Busy())
    manager.emit()
    (guard,) = manager._table
    assert guard.drain is not None
    wait_until(lambda: guard.drain._in_hand)  # type: ignore[union-attr]  # it has one
    emit(manager, 1_000)
    guard.drain._taken_ns = 1 << 62  # as if it had just been taken, for as long as this test takes
    assert manager.relief_s() > 0
    emit_from.set()
    assert await asyncio.to_thread(manager.flush)
    assert set(found) == {0.0}
    await manager.aclose()


def test_what_goes_to_the_handler_is_seen_all_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that has left the buffer, and is not yet in the handler's list, is pending as well: it is never lost."""
    manager = CallbackManager([handler := Gate()])
    manager.emit(name="first")
    assert handler.entered.wait(10)
    emit(manager, 100)
    seen: list[tuple[int, int]] = []

    def looking(outbox: object, count: int) -> Iterator[object]:
        for _ in range(count):
            stats = stats_of(manager, handler)
            seen.append((stats.pending, stats.dropped))
            yield outbox

    monkeypatch.setattr(drain, "repeat", looking)
    handler.opened.set()
    assert manager.flush(10)
    assert seen == [(100, 0)] * 100


async def test_a_quiet_batch_is_looked_at_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs end without a word to the thread, which must not go to sleep because none has for a while."""
    monkeypatch.setattr(drain, "INTERVAL_S", 0.001)
    looks = 0
    hand_over = drain.Drain._hand_over

    def counted(self: drain.Drain) -> int:
        nonlocal looks
        looks += 1
        return hand_over(self)

    monkeypatch.setattr(drain.Drain, "_hand_over", counted)
    manager = CallbackManager([handler := Lists()])
    gates = [asyncio.Event(), asyncio.Event()]

    async def seen(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)

    with use_callback_manager(manager):
        batch = asyncio.create_task(run_jobs([gate.wait for gate in gates]))
        for number, gate in enumerate(gates, start=1):
            before = looks
            await seen(lambda: looks > before + 3)  # noqa: B023 -- called at once
            gate.set()
            await seen(lambda: len(handler.events) >= number)  # noqa: B023 -- the same
        await batch
    manager.close()
