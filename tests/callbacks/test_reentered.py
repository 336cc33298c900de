"""Code that runs in the middle of ours, a signal's handler or a finalizer, may have events of its own: nobody hangs."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from spanloom import async_map, use_callback_manager
from spanloom.callbacks import CallbackManager, drain
from spanloom.events import Event, Handler
from tests.callbacks.recorders import Inline, Lists, adds_up, stats_of

IN_CALLBACKS = "/spanloom/callbacks/"


@contextmanager
def called_everywhere(function: Callable[[], None]) -> Iterator[None]:
    """Call `function` wherever this thread makes or ends a call in our code, as a signal that comes there would."""
    inside = False

    def profile(frame: FrameType, _kind: str, _argument: Any) -> None:
        nonlocal inside
        if not inside and IN_CALLBACKS in frame.f_code.co_filename:
            inside = True
            try:
                function()
            finally:
                inside = False

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def ends(function: Callable[[], object]) -> bool:
    """Tell whether `function` comes to its end."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(30)  # a busy machine takes seconds for what emits an event at each call
    return not thread.is_alive()


@pytest.mark.parametrize("kind", [Lists, Inline])
def test_a_signal_may_come_anywhere(kind: Callable[[], Handler]) -> None:
    """A handler of a signal that emits an event may interrupt whatever emits, counts or flushes events."""
    came = 0

    def program() -> None:
        def on_signal() -> None:
            nonlocal came
            came += 1
            manager.emit(type=f"of type {came % 7}", name="a signal came")

        async def job(_: int) -> None:
            with manager.event(name="step"):
                await asyncio.sleep(0)

        with use_callback_manager(manager), called_everywhere(on_signal):
            for _ in range(3):
                asyncio.run(async_map(job, range(5)))
                manager.stats()
                manager.flush(5)
            manager.add_handler(late)
            manager.remove_handler(late)

    manager, late = CallbackManager([handler := kind()]), kind()
    assert ends(program), "somebody waits for a lock that he holds"
    assert manager.flush(10)
    assert came > 100
    assert adds_up(stats_of(manager, handler))


def test_a_finalizer_may_wait_for_who_counts() -> None:
    """Events can be counted while the collector, in the thread that takes them, runs what waits for who counts."""
    counts, collects = threading.Event(), threading.Event()

    class Locks(Handler):
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def on_event_end(self, event: Event) -> None:
            with self.lock:
                if event.name == "counts":
                    counts.set()
                    assert collects.wait(5)
                    manager.stats()

        def on_events(self, events: Sequence[Event]) -> None:
            pass

    def left_behind() -> Iterator[None]:
        with manager.event(name="left behind"):
            yield

    def profile(frame: FrameType, kind: str, _argument: Any) -> None:
        if kind == "c_call" and frame.f_code is drain.Drain._take.__code__ and counts.is_set():
            sys.setprofile(None)
            collects.set()
            generator.close()

    threading.setprofile(profile)
    try:
        manager = CallbackManager([handler := Locks()])
        manager.emit(name="first")  # starts the thread
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]  # typeshed knows no None
    generator = left_behind()
    next(generator)

    def program() -> None:
        with manager.event(name="counts"):
            pass

    assert ends(program), "each of two waits for the other"
    assert collects.is_set()
    assert manager.flush(10)
    assert adds_up(stats_of(manager, handler))
