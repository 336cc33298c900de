"""`run_sync`: a coroutine's result in code that cannot await."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from spanloom import NestedLoopError, get_callback_manager, run_jobs, run_sync
from spanloom.testing import capture_events

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def value(number: int) -> int:
    await asyncio.sleep(0)
    return number


def test_it_runs_a_coroutine_without_a_loop() -> None:
    """In plain sync code a new loop runs it in this thread, and is gone afterwards."""

    async def main() -> tuple[list[int], threading.Thread]:
        return await run_jobs([value(1), value(2)]), threading.current_thread()

    assert run_sync(main()) == ([1, 2], threading.current_thread())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


async def test_it_runs_a_coroutine_below_a_running_loop() -> None:
    """On a running loop another thread runs it, and the outer loop goes on afterwards."""
    outer = threading.current_thread()

    async def main() -> tuple[int, bool]:
        return await value(3), threading.current_thread() is outer

    assert run_sync(main()) == (3, False)
    assert await value(4) == 4


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_the_coroutines_own_exception_comes_out(kind: type[BaseException]) -> None:
    """From the other thread, too, and it is the very object."""
    mine = kind("mine")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise mine

    with pytest.raises(kind) as caught:
        run_sync(fail())
    if kind is not asyncio.CancelledError:  # asyncio makes a new one at the border of each task
        assert caught.value is mine


async def test_the_context_goes_in_and_does_not_come_out() -> None:
    """The coroutine sees the caller's context and trace; what it sets stays inside."""
    variable.set("caller")

    async def main() -> str:
        seen = variable.get()
        variable.set("inside")
        with get_callback_manager().event(name="inside"):
            return seen

    with capture_events() as captured, get_callback_manager().as_trace("caller"):
        assert run_sync(main()) == "caller"
    assert variable.get() == "caller"
    assert captured.tree() == "trace caller ok\n  step inside ok"


def test_the_context_goes_in_without_a_loop_too() -> None:
    """What is set in the coroutine does not come out."""

    async def main() -> str:
        seen = variable.get()
        variable.set("inside")
        return seen

    token = variable.set("caller")
    try:
        assert run_sync(main()) == "caller"
        assert variable.get() == "caller"
    finally:
        variable.reset(token)


async def test_waiting_for_the_blocked_loop_is_explained() -> None:
    """A coroutine that waits for the outer loop cannot end: the error says so instead of asyncio's riddle."""
    future = asyncio.get_running_loop().create_future()

    async def wait() -> Any:
        return await future

    with pytest.raises(NestedLoopError, match="Await the coroutine instead of calling run_sync"):
        run_sync(wait())


@pytest.mark.parametrize("running", [False, True])
def test_a_coroutine_that_cannot_be_started_is_closed(running: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without file descriptors for a loop, or without a thread, what is raised is that, and no warning follows."""
    coroutine = value(1)

    async def main() -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        run_sync(coroutine)

    def refuse(*args: object) -> None:
        raise OSError("too many open files")

    if not running:
        monkeypatch.setattr(asyncio.events, "new_event_loop", refuse)
    with pytest.raises(OSError, match="too many open files"):
        asyncio.run(main()) if running else run_sync(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_it_needs_a_coroutine() -> None:
    """The message says what was given, and reminds of the call."""
    with pytest.raises(TypeError, match="run_sync needs a coroutine, not int"):
        run_sync(3)
    with pytest.raises(TypeError, match=r"not function; call the function: run_sync\(main\(\)\)"):
        run_sync(value)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_ctrl_c_while_the_thread_starts_leaves_nothing_behind(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start waits until the thread runs: Ctrl-C comes before it does, or as the coroutine is running already."""
    said: list[str] = []
    begun = threading.Event()
    start = threading.Thread.start

    async def main() -> None:
        begun.set()
        said.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            said.append("ended")

    def interrupted(thread: threading.Thread) -> None:
        if when == "after":
            start(thread)
            begun.wait()
        raise KeyboardInterrupt("mine")

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    coro = main()
    with pytest.raises(KeyboardInterrupt, match="mine"):
        run_sync(coro)
    assert said == (["begun", "ended"] if when == "after" else [])
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


async def test_a_thread_that_comes_too_late_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C has taken the coroutine away from it."""
    threads: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        threads.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        coro = value(1)
        with pytest.raises(KeyboardInterrupt):
            run_sync(coro)
    (thread,) = threads
    thread.start()
    await asyncio.to_thread(thread.join)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
