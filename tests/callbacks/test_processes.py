"""Forked children and the end of the interpreter."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable

import pytest

from spanloom.callbacks import CallbackManager, drain, manager, table
from spanloom.exceptions import HandlerError
from tests.callbacks.recorders import Ends, Inline, Lists, recorded

PRELUDE = """
import asyncio, os, sys, threading, time, traceback
from spanloom import CallbackManager, run_jobs, use_callback_manager

class Writes:
    # Says what it gets, in one write each, with the process that it is in.
    def __init__(self, name="lists"):
        self.name = name
        self.pid = os.getpid()
    def say(self, text):
        who = "parent" if os.getpid() == self.pid else "child"
        os.write(1, f"{who} {self.name}: {text}\\n".encode())
    def on_events(self, events):
        self.say(" ".join(event.name for event in events))
    def close(self):
        self.say("close")

"""
fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def lines(text: str) -> list[str]:
    return sorted(text.splitlines())


# exit ---------------------------------------------------------------------------------------------------------


def test_the_end_of_the_process_delivers_everything(run_python: Callable[[str], str]) -> None:
    """A program need not flush: what has ended is delivered, and handlers are closed, when it exits."""
    out = run_python(
        PRELUDE
        + """
manager = CallbackManager([Writes()])
for name in "abc":
    manager.emit(name=name)
"""
    )
    words = out.replace("parent lists: ", "").split()
    assert words == ["a", "b", "c", "close"]


def test_a_manager_that_nobody_holds_any_more_delivers_everything(run_python: Callable[[str], str]) -> None:
    """Its events are not lost with the manager: a function may make one, use it, and return."""
    out = run_python(
        PRELUDE
        + """
import gc
def work():
    manager = CallbackManager([Writes()])
    with manager.event(name="a"):
        pass
work()
gc.collect()
"""
    )
    assert out == "parent lists: a\nparent lists: close\n"


def test_an_unhandled_error_delivers_everything(run_python: Callable[[str], str]) -> None:
    """So does an exit by SystemExit from inside an open event, which is ended."""
    out = run_python(
        PRELUDE
        + """
manager = CallbackManager([Writes()])
with manager.event(name="a"):
    sys.exit(0)
"""
    )
    assert out == "parent lists: a\nparent lists: close\n"


def test_async_handlers_deliver_everything_at_exit(run_python: Callable[[str], str]) -> None:
    """The loop of an async batch hook still runs when the interpreter ends."""
    out = run_python(
        PRELUDE
        + """
class Async(Writes):
    async def on_events(self, events):
        await asyncio.sleep(0.01)
        Writes.on_events(self, events)

manager = CallbackManager([Async()])
async def job(): pass
async def main():
    with use_callback_manager(manager):
        await run_jobs([job(), job()], desc="batch")
asyncio.run(main())
"""
    )
    assert out.replace("parent lists: ", "").split()[-2:] == ["batch", "close"]


def test_a_handler_that_hangs_does_not_keep_the_process(run_python: Callable[[str], str]) -> None:
    """The end waits for handlers for a bounded time, all together; the others are served, and what is lost is said."""
    out = run_python(
        PRELUDE
        + """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from spanloom.callbacks import table as module
assert module.EXIT_TIMEOUT_S == 2.0
module.EXIT_TIMEOUT_S = 0.3

class Hangs:
    def on_events(self, events):
        threading.Event().wait()

good = CallbackManager([Hangs(), Writes()])
good.emit(name="a")
bad = CallbackManager([Hangs()])
bad.emit(name="b")
bad.emit(name="c")
import atexit
atexit.register(lambda started=time.monotonic(): print(flush=True))
"""
    )
    assert "parent lists: a" in out
    assert "parent lists: close" in out
    assert re.findall(r"handler Hangs was closed after .* s, with (.*) that it had not taken", out) == [
        "1 event",
        "2 events",
    ]


# fork -----------------------------------------------------------------------------------------------------------


@fork
def test_a_forked_child_delivers_its_own_events_only(run_python: Callable[[str], str]) -> None:
    """What the parent had pending stays the parent's; the child starts with empty accounts and a thread of its own."""
    out = run_python(
        PRELUDE
        + """
entered, go_on = threading.Event(), threading.Event()
class Gate(Writes):
    def on_events(self, events):
        if os.getpid() == self.pid:
            entered.set()
            go_on.wait(30)
        Writes.on_events(self, events)

manager = CallbackManager([Gate()])
manager.emit(name="first")
entered.wait(30)
manager.emit(name="pending")
held = manager.on_event_start("llm", name="held")
pid = os.fork()
if pid == 0:
    try:
        stats = manager.stats()
        assert (stats.produced, stats.open, stats.pending, stats.dropped) == (0, 0, 0, 0), stats
        assert manager.in_flight() == []
        assert manager.current.get() is None
        manager.emit(name="own")
        assert manager.flush(10)
        stats = manager.stats()
        assert (stats.produced, stats.delivered, stats.dropped) == (1, 1, 0), stats
        manager.close(10)
    except BaseException:
        os.write(1, traceback.format_exc().encode())
    os._exit(0)
os.waitpid(pid, 0)
manager.on_event_end(held)
go_on.set()
"""
    )
    assert lines(out) == [
        "child lists: close",
        "child lists: own",
        "parent lists: close",
        "parent lists: first",
        "parent lists: pending held",
    ]


@fork
def test_the_jobs_of_a_forked_child_come_to_it_where_the_parent_has_run_a_batch(
    run_python: Callable[[str], str],
) -> None:
    """What the parent's batches had worked out leads to the parent's buffers, and is worked out anew in the child."""
    out = run_python(
        PRELUDE
        + """
manager = CallbackManager([Writes()])
async def job(): pass
async def main(name):
    with use_callback_manager(manager):
        await run_jobs([job() for _ in range(3)], desc=name)

asyncio.run(main("before"))
manager.flush(10)
pid = os.fork()
if pid == 0:
    try:
        asyncio.run(main("after"))
        manager.flush(10)
        stats = manager.stats()
        assert (stats.produced, stats.delivered, stats.dropped) == (4, 4, 0), stats
        manager.close(10)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
os.waitpid(pid, 0)
"""
    )
    children = " ".join(line for line in lines(out) if line.startswith("child"))
    assert children.split().count("job") == 3
    assert "after" in children


@fork
def test_a_fork_while_another_thread_makes_the_default_manager_leaves_a_working_child(
    run_python: Callable[[str], str],
) -> None:
    """That may take as long as the imports of its handlers; the child makes one of its own."""
    out = run_python(
        PRELUDE
        + """
from spanloom.callbacks import ambient
making, go_on = threading.Event(), threading.Event()
def slow():
    making.set()
    go_on.wait(30)
    return CallbackManager()
ambient.set_default_factory(slow)
thread = threading.Thread(target=ambient.get_callback_manager)
thread.start()
making.wait(30)
pid = os.fork()
if pid == 0:
    guard = threading.Timer(20, os._exit, [3])  # of a child that would wait for ever
    guard.start()
    ambient.set_default_factory(CallbackManager)
    ambient.get_callback_manager().emit(name="own")
    os._exit(0)
go_on.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert out == "0\n"


@fork
def test_an_event_that_was_open_at_the_fork_ends_in_the_parent_only(run_python: Callable[[str], str]) -> None:
    """A child that leaves its parent's block, or loses its parent's trace, ends nothing of the parent's."""
    out = run_python(
        PRELUDE
        + """
class Inline(Writes):
    on_events = None
    def on_event_end(self, event):
        self.say(f"end {event.name}")
    def end_trace(self, trace_id, trace_map):
        self.say("end of trace")

manager = CallbackManager([Inline("inline"), Writes()])
with manager.event(name="outer"):
    pid = os.fork()
    if pid == 0:
        with manager.event(name="own"):
            pass
if pid == 0:
    assert manager.stats().produced == 1, manager.stats()
    manager.close(10)
    os._exit(0)
os.waitpid(pid, 0)
"""
    )
    assert lines(out) == [
        "child inline: close",
        "child inline: end of trace",
        "child inline: end own",
        "child lists: close",
        "child lists: own",
        "parent inline: close",
        "parent inline: end of trace",
        "parent inline: end outer",
        "parent lists: close",
        "parent lists: outer",
    ]


@fork
def test_a_fork_while_other_threads_make_events_leaves_a_working_child(
    run_python: Callable[[str], str],
) -> None:
    """Whatever locks other threads held at the fork, the child can make, flush and count events."""
    out = run_python(
        PRELUDE
        + """
class Quiet:
    def on_events(self, events): pass

manager = CallbackManager([Quiet(), Quiet()])
done = threading.Event()
def churn():
    while not done.is_set():
        with manager.event():
            manager.stats()
threads = [threading.Thread(target=churn) for _ in range(3)]
sys.setswitchinterval(1e-5)
for thread in threads:
    thread.start()
failed = 0
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        import faulthandler
        faulthandler.dump_traceback_later(20, exit=True)
        with manager.event():
            pass
        os._exit(0 if manager.flush(10) and manager.stats().delivered == 2 else 1)
    failed += os.waitpid(pid, 0)[1] != 0
done.set()
for thread in threads:
    thread.join()
print(failed)
"""
    )
    assert out == "0\n"


@fork
def test_a_fork_leaves_the_loop_of_an_async_handler_alone(run_python: Callable[[str], str]) -> None:
    """The child shares the parent's selector: dropping the parent's loop there must not take its wake-ups away here."""
    out = run_python(
        PRELUDE
        + """
import gc
class Async(Writes):
    async def on_events(self, events):
        await asyncio.to_thread(Writes.on_events, self, events)  # comes back through the loop's self-pipe

manager = CallbackManager([Async()])
manager.emit(name="before")
assert manager.flush(10)
pid = os.fork()
if pid == 0:
    gc.collect()
    manager.emit(name="own")
    assert manager.flush(10)
    sys.exit(0)
os.waitpid(pid, 0)
manager.emit(name="after")
print(manager.flush(5), flush=True)
"""
    )
    assert lines(out) == [
        "True",
        "child lists: close",
        "child lists: own",
        "parent lists: after",
        "parent lists: before",
        "parent lists: close",
    ]


# the same, seen from inside -------------------------------------------------------------------------------------


def test_after_a_fork_everything_open_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was open is neither in flight, nor current, nor ended, nor counted in the child; its trace is unknown."""
    monkeypatch.setattr(table, "_unclosed", {})
    monkeypatch.setattr(manager, "_managers", weakref.WeakSet())
    one = CallbackManager([inline := Inline(), lists := Lists()])
    held = one.on_event_start("llm")
    with one.as_trace("open") as root:
        manager._after_fork()
        assert one.in_flight() == []
        assert one.current.get() is None
        with pytest.raises(KeyError):
            one.trace_map(root.trace_id)
        one.emit(name="own")
    with pytest.raises(ValueError, match="is still open"):
        one.on_event_end(held)
    assert [event.name for event in recorded(one)] == ["own"]
    assert inline.calls[-3:] == ["trace own", "point own", "trace of 0 children ended"]
    assert one.flush(10)
    assert lists.names == ["own"]
    assert [stats.produced for stats in one.stats().handlers] == [1, 1]
    assert one.close(10)


def test_a_forked_child_does_not_close_its_parents_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is dropped in another process than it was made in is let go of, and closed by its owner."""
    loop = drain._DrainLoop()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    loop.__del__()
    assert not loop.is_closed()
    monkeypatch.undo()
    loop.close()
    loop.__del__()
    assert loop.is_closed()


def test_handlers_are_served_before_what_they_hand_events_to(run_python: Callable[[str], str]) -> None:
    """What was registered with atexit before the first event still works when the last events come to it."""
    out = run_python(
        PRELUDE
        + """
import atexit

class Passes:
    is_open = True
    def on_events(self, events):
        print(Passes.is_open, [event.name for event in events], flush=True)

def shut():
    Passes.is_open = False
    manager.emit(name="late")

manager = CallbackManager([Passes()])
atexit.register(shut)
manager.emit(name="a")
"""
    )
    assert out == "True ['a']\nFalse ['late']\n"


def test_being_served_first_takes_no_memory_for_each_manager(run_python: Callable[[str], str]) -> None:
    """The place at the front is taken when somebody else has come since, not for every manager that has an event."""
    out = run_python(
        PRELUDE
        + """
import atexit
def grown(count=1000):
    before = atexit._ncallbacks()
    for _ in range(count):
        CallbackManager([Quiet()]).emit(name="a")
    return atexit._ncallbacks() - before
class Quiet:
    def on_event(self, event):
        pass
first, later = grown(), grown()
class Late:
    def __init__(self):
        atexit.register(self.shut)
        self.is_open = True
    def shut(self):
        self.is_open = False
class Through:
    def on_events(self, events):
        os.write(1, b"open " if late.is_open else b"too late ")
late = Late()
manager = CallbackManager([Through()])
manager.emit(name="b")
os.write(1, f"{first <= 1} {later} ".encode())
"""
    )
    assert sorted(out.split()) == ["0", "True", "open"]


def test_the_end_of_the_process_has_one_deadline(run_python: Callable[[str], str]) -> None:
    """A handler that hangs is waited for once, not once for the flush and once for the close."""
    out = run_python(
        PRELUDE
        + """
import logging
from spanloom.callbacks import table

logging.disable()  # what is lost
table.EXIT_TIMEOUT_S = 0.5

class Hangs:
    def on_events(self, events):
        threading.Event().wait()

import atexit
atexit.unregister(table._close_at_exit)  # to look at the clock after it
atexit.register(lambda: print(0.4 < time.monotonic() - started < 0.9, flush=True))
atexit.register(table._close_at_exit)
manager = CallbackManager([Hangs()])
manager.emit(name="a")
started = time.monotonic()
"""
    )
    assert out == "True\n"


def test_at_exit_all_handlers_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of all managers are served, those of forgotten ones too; one that fails keeps nobody from it."""
    monkeypatch.setattr(table, "_unclosed", {})
    monkeypatch.setattr(table, "_exit_deadline_ns", None)

    class Fails:
        def flush(self, timeout: float) -> None:
            raise ValueError

        def close(self) -> None:
            raise ValueError

    handlers = [Lists(), Inline(), Lists()]
    for handler in handlers:
        CallbackManager([Fails(), handler], raise_handler_errors=True).emit(name="a")
    table._flush_at_exit()
    assert handlers[0].names == handlers[2].names == ["a"]  # type: ignore[attr-defined]  # they have them
    table._close_at_exit()
    assert [getattr(handler, "closed", None) or handler.calls.count("close") for handler in handlers] == [
        1,
        1,
        1,
    ]  # type: ignore[attr-defined]  # one of the two
    assert handlers[0].names == handlers[2].names == ["a"]  # type: ignore[attr-defined]  # they have them
    assert table.unclosed_tables() == []
    table._close_at_exit()


def test_only_what_holds_something_is_kept_until_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager whose handlers have nothing to flush or close, or that was closed, leaves nothing behind."""
    monkeypatch.setattr(table, "_unclosed", {})
    CallbackManager([Ends()])
    assert table.unclosed_tables() == []
    one = CallbackManager([Lists()])
    other = CallbackManager([handler := Inline()])
    assert len(table.unclosed_tables()) == 2
    one.close()
    other.remove_handler(handler)
    assert table.unclosed_tables() == []


def test_a_failure_while_closing_is_raised_after_all_are_closed() -> None:
    """With `raise_handler_errors`, the first failure is raised when every handler has had its turn."""

    class Fails:
        def close(self) -> None:
            raise ValueError

    one = CallbackManager([Fails(), lists := Lists(), Fails()], raise_handler_errors=True)
    with pytest.raises(HandlerError, match=r"Fails\.close raised ValueError"):
        one.close()
    assert lists.closed == 1
