"""Handlers of the process: what sees every manager, and is seen by none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from spanloom import CallbackManager, async_map, use_callback_manager
from spanloom.callbacks.everywhere import EVERYWHERE
from tests.callbacks.recorders import Inline, Lists

TIMEOUT_S = 10


@pytest.fixture
def lists() -> Iterator[Lists]:
    """A handler of the process, which is gone after the test."""
    handler = Lists()
    guard = EVERYWHERE.add(handler)
    yield handler
    EVERYWHERE.remove(guard)
    guard.close(TIMEOUT_S)


def names(handler: Lists) -> list[str]:
    (guard,) = (guard for guard in EVERYWHERE.guards if guard.handler is handler)
    assert guard.flush(TIMEOUT_S)
    return [event.name for event in handler.events]


def test_every_manager_has_them(lists: Lists) -> None:
    """Managers made before and after, with handlers and without, with the flight recorder and without."""
    for manager in (CallbackManager(), CallbackManager([Inline()]), CallbackManager(recorder=0)):
        with use_callback_manager(manager):
            asyncio.run(async_map(asyncio.sleep, [0, 0]))
    assert names(lists) == ["sleep"] * 9  # two jobs and the batch, three times
    assert len(lists.threads) == 1


def test_a_manager_that_is_there_already_gets_them() -> None:
    """What starts after `add` is seen, what starts after `remove` is not."""
    manager, handler = CallbackManager(), Inline()
    manager.emit(name="before")
    guard = EVERYWHERE.add(handler)
    manager.emit(name="meanwhile")
    EVERYWHERE.remove(guard)
    manager.emit(name="after")
    assert handler.calls == ["trace meanwhile", "point meanwhile", "trace of 0 children ended"]


def test_a_program_does_not_see_them(lists: Lists) -> None:
    """`handlers` and `stats` of a manager are those of its own."""
    own = Inline()
    manager = CallbackManager([own])
    manager.emit(name="a")
    assert manager.handlers == [own]
    assert [stats.handler for stats in manager.stats().handlers] == ["Inline"]
    assert manager.stats().delivered == 1
    with pytest.raises(ValueError, match=r"Lists is not a handler of this manager; it has \['Inline'\]"):
        manager.remove_handler(lists)


def test_what_a_program_does_to_its_handlers_does_not_reach_them(lists: Lists) -> None:
    """`set_handlers`, `add_handler`, `remove_handler` and `close` leave them in."""
    manager = CallbackManager([Inline()])
    manager.set_handlers([second := Inline()])
    manager.emit(name="set")
    manager.add_handler(third := Inline())
    manager.remove_handler(second)
    manager.emit(name="added")
    manager.close()
    manager.emit(name="closed")
    assert names(lists) == ["set", "added", "closed"]
    assert third.calls == ["trace added", "point added", "trace of 0 children ended", "close"]
    assert lists.closed == 0


def test_flush_of_a_manager_is_a_flush_of_them(lists: Lists) -> None:
    """What a program wants to have safe is safe with them, too."""
    manager = CallbackManager()
    manager.emit(name="a")
    assert manager.flush(TIMEOUT_S)
    assert [event.name for event in lists.events] == ["a"]


def test_one_that_fails_does_no_harm() -> None:
    """It is quarantined, also in a manager that lets the errors of its own handlers out."""

    class Fails:
        def on_event_start(self, event: object) -> None:
            raise OSError("disk full")

    guard = EVERYWHERE.add(Fails())
    try:
        manager = CallbackManager(raise_handler_errors=True)
        for _ in range(2):
            with manager.event():
                pass
    finally:
        EVERYWHERE.remove(guard)
    assert guard.quarantined
    assert guard.errors == 1


def test_many_threads_make_managers_while_one_comes_and_goes() -> None:
    """No manager is left with one that is gone, and none without one that is there."""
    managers: list[CallbackManager] = []
    stop = threading.Event()

    def make() -> None:
        while not stop.is_set():
            managers.append(CallbackManager(recorder=0))
            del managers[:-20]

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            EVERYWHERE.remove(EVERYWHERE.add(Inline()))
        guard = EVERYWHERE.add(handler := Inline())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for manager in managers:
        manager.emit(name="a")
    EVERYWHERE.remove(guard)
    assert handler.calls.count("point a") == len(managers) > 0


def test_deep_timing_is_for_every_manager() -> None:
    """With `deep` set, a manager that does not ask for busy times measures them, too."""
    EVERYWHERE.deep = True
    try:
        manager = CallbackManager()
    finally:
        EVERYWHERE.deep = False
    guard = EVERYWHERE.add(handler := Lists())
    try:
        with use_callback_manager(manager):
            asyncio.run(async_map(asyncio.sleep, [0]))
        assert guard.flush(TIMEOUT_S)
    finally:
        EVERYWHERE.remove(guard)
        guard.close(TIMEOUT_S)
    (job,) = (event for event in handler.events if event.type == "job")
    assert job.busy_ns is not None


def test_the_end_of_the_process_closes_them(run_python: Callable[[str], str]) -> None:
    """They get what ended last, then their `close`, after the handlers of all managers have been given theirs."""
    out = run_python(
        """
from spanloom import CallbackManager
from spanloom.callbacks.everywhere import EVERYWHERE
class Says:
    def on_events(self, events): print(*[event.name for event in events])
    def close(self): print("close")
EVERYWHERE.add(Says())
CallbackManager().emit(name="last")
"""
    )
    assert out.split() == ["last", "close"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_begins_anew(run_python: Callable[[str], str]) -> None:
    """What its parent has not delivered yet is its parent's; what happens in the child is delivered there."""
    out = run_python(
        """
import os
from spanloom import CallbackManager
from spanloom.callbacks.everywhere import EVERYWHERE
class Says:
    def on_events(self, events):
        os.write(1, f"{os.getpid() == parent} {' '.join(event.name for event in events)}\\n".encode())
parent = os.getpid()
guard = EVERYWHERE.add(Says())
with guard.drain._delivery:  # its thread waits
    CallbackManager().emit(name="before")
    child = os.fork()
    if not child:
        CallbackManager().emit(name="in-the-child")
        raise SystemExit
os.waitpid(child, 0)
"""
    )
    assert sorted(out.splitlines()) == ["False in-the-child", "True before"]
