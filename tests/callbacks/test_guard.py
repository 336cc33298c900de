"""Handlers are harmless: whatever a hook does, the work goes on as if the handler were not there."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from spanloom import run_jobs, use_callback_manager
from spanloom.callbacks import CallbackManager, guard
from spanloom.events import Event
from spanloom.exceptions import HandlerError
from tests.callbacks.recorders import Ends, Inline, Lists, adds_up, recorded, stats_of

HOOKS = (
    "on_event_start",
    "on_event_end",
    "on_event",
    "start_trace",
    "end_trace",
    "on_events",
    "flush",
    "close",
)
ERRORS = (
    ValueError,
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    StopIteration,
    TimeoutError,
)


def handler_with(hook: str, act: Callable[..., object]) -> object:
    return type("Bad", (), {hook: lambda self, *args: act(*args)})()


def raising(error: type[BaseException]) -> Callable[..., object]:
    def act(*args: object) -> object:
        raise error("the handler's")

    return act


async def work(manager: CallbackManager) -> list[int]:
    """Do something with every kind of event in it."""

    async def job(number: int) -> int:
        with manager.event(name="inside"):
            await asyncio.sleep(0)
        manager.emit()
        return number

    with use_callback_manager(manager), manager.as_trace("t"):
        return await run_jobs([job(number) for number in range(5)], workers=2)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("hook", HOOKS)
async def test_a_hook_may_raise_anything(
    hook: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The work's result is the same; the failure is logged once with its traceback, counted, and not repeated."""
    bad = handler_with(hook, raising(error))
    before, after = Inline(), Inline()
    manager = CallbackManager([before, bad, after])
    with caplog.at_level(logging.WARNING):
        assert await work(manager) == [0, 1, 2, 3, 4]
        assert await work(manager) == [0, 1, 2, 3, 4]
        await asyncio.to_thread(manager.flush)
        (stats,) = [stats for stats in manager.stats().handlers if stats.handler == "Bad"]
        assert manager.close()
    assert before.calls == after.calls
    assert len(before.calls) > 40
    (record,) = caplog.records
    assert record.name == "spanloom.callbacks"
    assert record.levelno == logging.ERROR
    assert (
        record.getMessage()
        == f"handler Bad failed in {hook} and gets no more events; add it again to try anew"
    )
    assert record.exc_info is not None
    assert record.exc_info[0] is error
    assert record.exc_info[2] is not None
    if hook == "close":
        return
    assert (stats.errors, stats.quarantined, stats.delivered) == (1, True, 0)
    assert adds_up(stats)
    assert stats.dropped == stats.produced
    expected = {"on_event_end": 24, "on_event": 10, "on_events": 34}
    assert stats.produced == expected.get(hook, 0)


class UnreadableError(Exception):
    """Raises whenever it is asked for what it has not: so it does when its traceback is written."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


@pytest.mark.parametrize("error", [ValueError, UnreadableError])
@pytest.mark.parametrize("log_fails", [True, False])
async def test_a_failure_that_cannot_be_logged_is_not_felt_either(
    log_fails: bool, error: type[Exception]
) -> None:
    """A filter of the program's log that raises, and an exception that cannot be shown, change nothing of the work."""
    said: list[str] = []

    class Said(logging.StreamHandler[io.StringIO]):
        def emit(self, record: logging.LogRecord) -> None:
            if log_fails:
                raise KeyError("a filter, a formatter, a service that is not there")
            said.append(self.format(record))

    log, handler = logging.getLogger("spanloom.callbacks"), Said(io.StringIO())
    log.addHandler(handler)
    results: object = None
    try:
        manager = CallbackManager([handler_with("on_event_end", raising(error))])
        with suppress(KeyError, RuntimeError):  # pytest could not show it either
            results = await work(manager)
    finally:
        log.removeHandler(handler)
    assert results == [0, 1, 2, 3, 4]
    (stats,) = manager.stats().handlers
    assert stats.quarantined
    assert adds_up(stats)
    assert [line.split("\n")[0] for line in said] == [
        "handler Bad failed in on_event_end and gets no more events; add it again to try anew"
    ] * (not log_fails)


async def test_the_users_exception_is_not_replaced() -> None:
    """A handler that fails while the work fails too changes neither the exception nor its context."""
    manager = CallbackManager([handler_with("on_event_end", raising(KeyError))])
    error = ValueError("the user's")
    with pytest.raises(ValueError) as caught, manager.event():
        raise error
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


def test_a_quarantined_handler_can_be_added_again(caplog: pytest.LogCaptureFixture) -> None:
    """Adding it anew gives it another chance, in its place, and the next failure is logged again."""
    failing = True

    def act(event: Event) -> None:
        if failing:
            raise ValueError

    manager = CallbackManager([bad := Ends(act), good := Ends()])
    for name in ("a", "b"):
        with manager.event(name=name):
            pass
    assert bad.seen == ["a"]
    manager.add_handler(bad)
    failing = False
    with manager.event(name="c"):
        pass
    assert bad.seen == ["a", "c"]
    assert good.seen == ["a", "b", "c"]
    assert manager.handlers == [bad, good]
    stats = stats_of(manager, bad)
    assert (stats.produced, stats.delivered, stats.dropped, stats.errors, stats.quarantined) == (
        3,
        1,
        2,
        1,
        False,
    )
    failing = True
    with manager.event(name="d"):
        pass
    assert len(caplog.records) == 2
    assert stats_of(manager, bad).errors == 2


def test_failures_at_the_same_time_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Threads that run into the same failure all count it, and one logs it."""
    barrier = threading.Barrier(4)

    def act(event: Event) -> None:
        barrier.wait(10)
        raise ValueError

    manager = CallbackManager([bad := Ends(act)])

    def run() -> None:
        with manager.event():
            pass

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.records) == 1
    assert stats_of(manager, bad).errors == 4


@pytest.mark.parametrize("hook", ["on_event_start", "on_event_end", "on_event", "start_trace", "end_trace"])
def test_a_slow_inline_hook_is_quarantined(
    hook: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that holds its caller for too long is not called a second time, and the log says how long it took."""
    monkeypatch.setattr(guard, "SLOW_S", 0.01)
    took_s = []

    def act(*args: object) -> None:
        began = time.perf_counter()
        time.sleep(0.02)
        took_s.append(time.perf_counter() - began)

    bad = handler_with(hook, act)
    manager = CallbackManager([bad])
    for _ in range(3):
        with manager.as_trace("t"):
            manager.emit()
    assert len(took_s) == 1
    assert stats_of(manager, bad).quarantined
    assert adds_up(stats_of(manager, bad))
    (record,) = caplog.records
    assert record.exc_info is not None
    said = re.fullmatch(
        rf"{hook} held its caller for (\d+\.\d) s \(allowed: 0\.01 s\)", str(record.exc_info[1])
    )
    assert said is not None
    assert float(said[1]) >= round(took_s[0], 1)


def test_hooks_on_the_handlers_own_thread_may_be_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever takes lists gets traces on its own thread, too: being slow there holds nobody."""
    monkeypatch.setattr(guard, "SLOW_S", 0.01)
    done = []

    class Slow:
        def on_events(self, events: Sequence[Event]) -> None:
            time.sleep(0.02)
            done.append("events")

        def start_trace(self, trace_id: int, name: str) -> None:
            time.sleep(0.02)
            done.append("start")

        def end_trace(self, trace_id: int, trace_map: object) -> None:
            time.sleep(0.02)
            done.append("end")

    manager = CallbackManager([slow := Slow()])
    with manager.as_trace("t"):
        pass
    assert manager.flush()
    assert done == ["start", "events", "end"]
    assert not stats_of(manager, slow).quarantined
    assert caplog.records == []


# re-entry -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hook", ["on_event_start", "on_event_end", "on_event", "start_trace", "end_trace", "on_events"]
)
async def test_what_a_hook_emits_is_not_fed_to_itself(hook: str) -> None:
    """A hook that makes events, points and traces does not recurse; other handlers see what it makes."""
    calls = []
    manager = CallbackManager()

    def act(*args: object) -> None:
        calls.append(args)
        manager.emit(name="from a hook")
        with manager.as_trace("from a hook"), manager.event(name="from a hook"):
            pass

    bad = handler_with(hook, act)
    other = Inline()
    manager.add_handler(bad)
    manager.add_handler(other)
    with manager.as_trace("t"):
        manager.emit(name="dot")
    await asyncio.to_thread(manager.flush)
    assert 1 <= len(calls) <= 2
    assert other.calls.count("point from a hook") == len(calls)
    assert not stats_of(manager, bad).quarantined
    assert adds_up(stats_of(manager, bad))
    produced = manager.stats().produced
    await asyncio.to_thread(manager.flush)
    await asyncio.sleep(0.25)  # two looks of a drain: a loop through the buffer would show
    assert manager.stats().produced == produced


def test_two_handlers_that_emit_do_not_feed_each_other_for_ever() -> None:
    """Each sees what the other makes, once: nothing made inside a hook comes back to it."""
    manager = CallbackManager()
    one, other = Ends(lambda event: touch("one")), Ends(lambda event: touch("other"))

    def touch(name: str) -> None:
        with manager.event(name=name):
            pass

    manager.set_handlers([one, other])
    touch("start")
    assert one.seen == ["start", "other"]
    assert sorted(other.seen) == ["one", "start"]


def test_a_trace_handler_that_takes_lists_is_not_fed_its_own_traces() -> None:
    """Traces that a batch handler's hooks make do not come back to it through its buffer."""
    started = []
    manager = CallbackManager()

    class Nosy:
        def on_events(self, events: Sequence[Event]) -> None: ...

        def start_trace(self, trace_id: int, name: str) -> None:
            started.append(name)
            manager.emit(name=f"seen {name}"[:100])

        def end_trace(self, trace_id: int, trace_map: object) -> None: ...

    manager.add_handler(Nosy())
    manager.emit(name="dot")
    for _ in range(5):
        assert manager.flush()
    assert started == ["dot"]


async def test_a_hook_may_run_a_batch() -> None:
    """A batch hook that runs jobs of its own, on its own thread, gets none of their events."""
    manager = CallbackManager()

    async def job() -> int:
        return 1

    class Runs(Lists):
        results: list[list[int]] = []  # noqa: RUF012 -- for one instance

        async def on_events(self, events: Sequence[Event]) -> None:  # type: ignore[override]  # either is allowed
            Lists.on_events(self, events)
            with use_callback_manager(manager):
                self.results.append(await run_jobs([job(), job()]))

    manager.add_handler(handler := Runs())
    manager.emit(name="dot")
    await asyncio.to_thread(manager.flush)
    await asyncio.to_thread(manager.flush)
    assert handler.results == [[1, 1]]
    assert handler.names == ["dot"]
    assert [event.type for event in recorded(manager)] == ["mark", "job", "job", "batch"]
    assert adds_up(stats_of(manager, handler))


async def test_a_hook_may_run_a_batch_of_the_handlers_own_manager() -> None:
    """A manager of its own is the way for a handler to see what it does itself."""
    mine = CallbackManager([own := Ends()])

    def act(event: Event) -> None:
        with mine.event(name=f"handled {event.name}"):
            pass

    manager = CallbackManager([Ends(act)])
    with manager.event(name="a"):
        pass
    assert own.seen == ["handled a"]


def test_a_hook_may_remove_its_own_handler() -> None:
    """A handler that has had enough can take itself out."""
    manager = CallbackManager()
    once = Ends(lambda event: manager.remove_handler(once))
    manager.add_handler(once)
    for name in ("a", "b"):
        with manager.event(name=name):
            pass
    assert once.seen == ["a"]
    assert manager.handlers == []


def test_a_hook_does_not_call_its_own_handler_again() -> None:
    """A hook that flushes and removes its own handler does not come into that handler's other hooks."""
    calls = []
    manager = CallbackManager()

    class Busy:
        def on_event_end(self, event: Event) -> None:
            calls.append("end")
            manager.flush()

        def flush(self, timeout: float) -> None:
            calls.append("flush")

    manager.add_handler(Busy())
    with manager.event():
        pass
    assert calls == ["end"]
    assert manager.flush()
    assert calls == ["end", "flush"]


def test_a_handlers_own_flush_may_say_that_it_was_not_done() -> None:
    """`flush` returns False if a handler's flush returns False; whatever else it returns is no complaint."""
    answers: list[object] = [None, True, 0, False]

    class Buffers:
        def flush(self, timeout: float) -> object:
            return answers.pop(0) if answers else None

    manager = CallbackManager([Buffers()])
    assert [manager.flush() for _ in range(4)] == [True, True, True, False]


# raise_handler_errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_event_start", "on_event_end", "on_event", "start_trace", "end_trace"])
def test_in_tests_a_failing_hook_can_be_made_to_raise(hook: str) -> None:
    """`raise_handler_errors=True` raises from the hook's exception, and still leaves no event or trace open."""
    error = KeyError("the handler's")

    def act(*args: object) -> None:
        raise error

    manager = CallbackManager([handler_with(hook, act)], raise_handler_errors=True)
    with pytest.raises(HandlerError, match=f"Bad.{hook} raised KeyError") as caught, manager.as_trace("t"):
        manager.emit()
    assert caught.value.__cause__ is error
    assert manager.in_flight() == []
    assert manager.current.get() is None
    assert manager._traces.open == {}
    with manager.as_trace("t"):
        pass


def test_in_tests_a_failing_batch_hook_raises_from_flush() -> None:
    """A thread has no caller: what fails there is raised by the next `flush`, once."""
    manager = CallbackManager(
        [handler_with("on_events", raising(KeyError)), good := Lists()], raise_handler_errors=True
    )
    with manager.event(name="a"):
        pass
    with pytest.raises(HandlerError, match=r"Bad\.on_events raised KeyError"):
        manager.flush()
    assert manager.flush()
    assert good.names == ["a"]
    manager.close()


def test_in_tests_a_failing_handler_does_not_keep_others_from_closing() -> None:
    """`close` raises what failed, after every handler has been closed."""
    manager = CallbackManager(
        [handler_with("on_events", raising(KeyError)), good := Lists()], raise_handler_errors=True
    )
    with manager.event(name="a"):
        pass
    with pytest.raises(HandlerError):
        manager.close()
    assert good.closed == 1
    assert good.names == ["a"]
    assert manager.handlers == []


@pytest.mark.parametrize("hook", ["on_events", "flush"])
def test_in_tests_a_failing_handler_is_closed_itself(hook: str) -> None:
    """It has files and a terminal to let go of, whatever it has raised before that."""
    bad: Any = handler_with(hook, raising(KeyError))
    closed: list[bool] = []
    bad.close = lambda: closed.append(True)
    manager = CallbackManager([bad], raise_handler_errors=True)
    manager.emit()
    with pytest.raises(HandlerError, match=f"Bad.{hook} raised KeyError"):
        manager.close()
    assert closed == [True]


def test_a_hook_without_its_class_can_be_any_callable() -> None:
    """Hooks are looked up on the object: an instance's own attribute, or a built-in method."""

    class Bag:
        def __init__(self) -> None:
            self.kept: list[Any] = []
            self.on_event_end = self.kept.append

    manager = CallbackManager([bag := Bag()])
    with manager.event(name="a"):
        pass
    assert [event.name for event in bag.kept] == ["a"]


def test_the_recursion_limit_is_not_a_handlers_problem() -> None:
    """A hook that fails because the stack is full fails alone."""
    manager = CallbackManager([bad := Ends(lambda event: sink(0))])

    def sink(depth: int) -> int:
        return sink(depth + 1)

    with manager.event():
        pass
    assert stats_of(manager, bad).quarantined
    assert sys.getrecursionlimit() > 0
