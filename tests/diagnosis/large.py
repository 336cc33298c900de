"""Programs of hundreds of tasks, and what it costs to look at them; see `test_large`.

In a process of their own: in that of the tests something else may still be able to reach what the tasks wait for.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.inquiry import Inquiry
from spanloom.diagnosis.look import look
from spanloom.diagnosis.verdict import diagnose

__all__ = ["asked_about_who_moved", "asked_of_crowds", "work"]

SLEEP_S = 60.0
Program = Callable[[int], Coroutine[Any, Any, None]]


async def event(count: int) -> None:
    """Wait for an event that nobody sets."""
    event = asyncio.Event()
    await asyncio.gather(*(event.wait() for _ in range(count)))


async def empty_queue(count: int) -> None:
    """Wait at a queue into which nobody puts anything."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    await asyncio.gather(*(queue.get() for _ in range(count)))


async def fed_queue(count: int) -> None:
    """Wait at a queue into which one task will put something."""
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def feed() -> None:
        await asyncio.sleep(SLEEP_S)
        await queue.put(0)

    async def work() -> None:
        while True:
            await queue.get()

    await asyncio.gather(feed(), *(work() for _ in range(count)))


async def lock(count: int) -> None:
    """Wait for a lock whose holder waits for it, too."""
    lock = asyncio.Lock()

    async def twice() -> None:
        async with lock, lock:
            pass

    await asyncio.gather(*(twice() for _ in range(count)))


async def futures(count: int) -> None:
    """Wait for a future each, that nobody else knows."""

    async def ask() -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await answer

    await asyncio.gather(*(ask() for _ in range(count)))


async def events(count: int) -> None:
    """Wait for an event each, that nobody sets."""
    waiting: dict[int, asyncio.Event] = {}

    async def ask(number: int) -> None:
        ready = waiting[number] = asyncio.Event()
        await ready.wait()

    await asyncio.gather(*map(ask, range(count)))


async def held_in_c(count: int) -> None:
    """Wait for a future each, that only memory of C refers to, as a library in C keeps those of its requests."""

    async def ask() -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(answer))
        return await answer

    await asyncio.gather(*(ask() for _ in range(count)))


PROGRAMS: dict[str, Program] = {
    program.__name__: program for program in (event, events, empty_queue, fed_queue, futures, held_in_c, lock)
}


def _calls(function: Callable[[], list[Finding]]) -> tuple[int, list[Finding]]:
    """Return how often anything is called meanwhile in this thread, and what is returned."""
    count = 0

    def on_event(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(on_event)
    try:
        found = function()
    finally:
        sys.setprofile(None)
    return count, found


async def _verdict(program: Program, count: int) -> tuple[int, list[Finding]]:
    _program = asyncio.create_task(program(count))  # noqa: RUF006 -- this frame keeps it; nobody could cancel it
    for _ in range(5):
        await asyncio.sleep(0)
    snapshot = await asyncio.to_thread(look)
    calls, found = _calls(lambda: diagnose(snapshot))
    return calls, found


def work(name: str, count: int) -> tuple[int, list[str]]:
    """Return the calls of a verdict on a program of so many tasks, and the codes of its findings."""
    calls, found = asyncio.run(_verdict(PROGRAMS[name], count))
    return calls, [one.code for one in found]


def told(name: str, count: int) -> list[str]:
    """Return the sentences of a verdict on a program of so many tasks."""
    return [one.message for one in asyncio.run(_verdict(PROGRAMS[name], count))[1]]


def asked_of_crowds(name: str, count: int) -> tuple[list[int], list[str]]:
    """Return how many crowds were asked in a verdict, each time that any were, and the codes of its findings."""
    asked: list[int] = []
    rest = Inquiry.ask_rest

    def note(self: Inquiry, large: Any, *args: Any) -> None:
        asked.append(len(large))
        rest(self, large, *args)

    Inquiry.ask_rest = note  # type: ignore[method-assign] # this process has no other use for it
    return asked, work(name, count)[1]


def asked_about_who_moved() -> list[int]:
    """Return for how many tasks it was asked who could end their waits, in three looks at some that sleep."""
    asked: list[int] = []
    first = Inquiry.ask_first

    def note(self: Inquiry, wanted: Any, undetermined: Any) -> list[Any]:
        asked.append(len(undetermined))
        return first(self, wanted, undetermined)

    Inquiry.ask_first = note  # type: ignore[method-assign] # as above

    def looks() -> None:
        for _ in range(3):
            assert diagnose(look()) == []

    async def main() -> None:
        others = [asyncio.create_task(asyncio.sleep(SLEEP_S)) for _ in range(300)]
        thread = threading.Thread(target=looks)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        for other in others:
            other.cancel()

    asyncio.run(main())
    return asked
