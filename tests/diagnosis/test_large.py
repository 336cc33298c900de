"""Looks at programs of hundreds of tasks: what they cost grows with the tasks, and no faster."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.inquiry import Inquiry
from spanloom.diagnosis.look import look
from spanloom.diagnosis.verdict import diagnose

PATIENCE_S = 60.0
Program = Callable[[int], Coroutine[Any, Any, None]]


async def _event(count: int) -> None:
    event = asyncio.Event()
    await asyncio.gather(*(event.wait() for _ in range(count)))


async def _empty_queue(count: int) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    await asyncio.gather(*(queue.get() for _ in range(count)))


async def _lock(count: int) -> None:
    lock = asyncio.Lock()

    async def twice() -> None:
        async with lock, lock:
            pass

    await asyncio.gather(*(twice() for _ in range(count)))


def _calls(function: Callable[[], list[Finding]]) -> tuple[int, list[Finding]]:
    """Return how often anything is called meanwhile in this thread, and what is returned."""
    count = 0

    def on_event(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        found = function()
    finally:
        sys.setprofile(before)
    return count, found


async def _asked(program: Program, count: int) -> tuple[int, list[Finding]]:
    """Return the calls of a verdict on the program, and that. Nobody here could cancel it, or it would not be stuck."""
    _program = asyncio.create_task(program(count))  # noqa: RUF006 -- this frame keeps it
    for _ in range(5):
        await asyncio.sleep(0)
    snapshot = await asyncio.to_thread(look)
    return _calls(lambda: diagnose(snapshot))


@pytest.mark.slow
@pytest.mark.parametrize("program", [_event, _empty_queue, _lock])
def test_four_times_the_stuck_tasks_are_four_times_the_work(program: Program) -> None:
    """Ten thousand tasks that wait in one line are told within a second, and not after minutes."""
    few, found = asyncio.run(_asked(program, 100))
    many, found_in_many = asyncio.run(_asked(program, 400))
    assert found
    assert {one.code for one in found_in_many} == {one.code for one in found}
    assert many < few * 6


@pytest.mark.slow
def test_a_crowd_is_not_asked_where_the_others_know_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits at a queue that one living task fills goes on: what the hundreds know that wait is not needed."""
    asked: list[int] = []
    rest = Inquiry.ask_rest

    def note(self: Inquiry, large: Any, *args: Any) -> None:
        asked.append(len(large))
        rest(self, large, *args)

    monkeypatch.setattr(Inquiry, "ask_rest", note)

    async def program(count: int) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def feed() -> None:
            await asyncio.sleep(PATIENCE_S)
            await queue.put(0)

        async def work() -> None:
            while True:
                await queue.get()

        await asyncio.gather(feed(), *(work() for _ in range(count)))

    _, found = asyncio.run(_asked(program, 200))
    assert found == []
    assert asked == []
    _, found = asyncio.run(_asked(_empty_queue, 200))
    assert [one.code for one in found] == ["QUEUE_NO_PRODUCER"]
    assert asked == [1]


def test_who_has_moved_while_it_was_looked_at_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that sleeps again and again has another future by the time the timers are read: it is alive."""
    asked: list[int] = []
    first = Inquiry.ask_first

    def note(self: Inquiry, wanted: Any, undetermined: Any) -> list[Any]:
        asked.append(len(undetermined))
        return first(self, wanted, undetermined)

    monkeypatch.setattr(Inquiry, "ask_first", note)

    async def sleeps() -> None:
        await asyncio.sleep(PATIENCE_S)

    def looks() -> None:
        for _ in range(3):
            assert diagnose(look()) == []

    async def main() -> None:
        others = [asyncio.create_task(sleeps()) for _ in range(300)]
        thread = threading.Thread(target=looks)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        for other in others:
            other.cancel()

    asyncio.run(main())
    assert asked == []
