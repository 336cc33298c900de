"""What is heard of exceptions in the thread of a loop, and what is made of it when somebody asks."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history import Memory
from spanloom.diagnosis.history.listening import APART_S, Listening
from spanloom.diagnosis.history.probe import MAX_EVENTS, Failure, Window, open_window
from spanloom.diagnosis.history.rules.storms import _are_patient, _heard_often, is_storm, may_be_storm
from spanloom.diagnosis.history.sight import Pause

pytestmark = pytest.mark.skipif(
    sys.gettrace() is not None, reason="somebody else has the hook: nothing is heard"
)

PATIENCE_S = 30.0


class RefusedError(Exception):
    """What the server says."""


async def _refuse() -> None:
    await asyncio.sleep(0)
    raise RefusedError


async def _insist(pause_s: float, growth: float = 1.0) -> None:
    while True:
        try:
            await _refuse()
        except RefusedError:
            await asyncio.sleep(pause_s)
            pause_s *= growth


@contextmanager
def _memory() -> Iterator[Memory]:
    """Yield a memory that listens to nothing any more afterwards."""
    memory = Memory()
    try:
        yield memory
    finally:
        memory.stop()


@contextmanager
def _program(body: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[asyncio.AbstractEventLoop]:
    """Run a coroutine in the loop of a thread of its own, and cancel it in the end."""
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        tasks.append(asyncio.create_task(body()))
        started.set()
        await asyncio.wait(tasks)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield loops[0]
    finally:
        loops[0].call_soon_threadsafe(tasks[0].cancel)
        thread.join(PATIENCE_S)


async def _a_storm() -> None:
    await asyncio.gather(*(_insist(0.001) for _ in range(20)))


async def _all_at_once() -> None:
    await asyncio.gather(*(_insist(0.01, 2.0) for _ in range(30)))


def test_a_window_has_lasted_until_it_was_full() -> None:
    """However long it stays open after that: else a storm in a busy program would sound like a breeze."""
    with _program(_a_storm) as loop:
        thread = getattr(loop, "_thread_id")  # noqa: B009 -- of asyncio's own loops, and not in its stubs
        began = time.monotonic()
        finish = open_window(loop, thread)
        time.sleep(1.0)
        took_s = time.monotonic() - began
        window = finish()
    assert window is not None
    assert window.is_cut
    assert sum(window.returned.values()) <= MAX_EVENTS
    assert window.lasted_s < took_s - 0.3
    assert is_storm(window)


def test_who_asks_is_told_of_a_storm_that_has_begun_just_now() -> None:
    """The question listens for itself, twice, when nothing or too little was heard by then."""
    with _memory() as memory, _program(_a_storm):
        deadline = time.monotonic() + PATIENCE_S
        found: list[Finding] = []
        while not found and time.monotonic() < deadline:
            memory._next = 0.0
            memory._step(time.monotonic())  # from then on it is known whether a task moves
            time.sleep(0.05)
            found = memory.findings()
    assert [one.code for one in found] == ["RETRY_STORM"]
    assert "_refuse" in found[0].message
    first, last = memory.listening.last_two()[::-1]
    assert last.began - first.began >= APART_S


def test_first_tries_of_a_back_off_are_no_storm() -> None:
    """Thirty clients that all begin at once sound like one in the first window, and not half a second later."""
    deadline = time.monotonic() + PATIENCE_S
    heard: list[Window] = []
    while not any(map(is_storm, heard[:1])):  # on a busy machine the first tries may be over by then
        assert time.monotonic() < deadline
        with _memory() as memory, _program(_all_at_once):
            time.sleep(0.02)
            memory.step()
            time.sleep(0.02)
            assert memory.findings() == []
        heard = list(memory.listening.windows)
    assert len(heard) > 1


def test_a_quiet_program_is_not_listened_to_when_somebody_asks() -> None:
    """Where no task moves that tries again what has failed, a question opens no window."""

    async def rest() -> None:
        await asyncio.sleep(3600)

    with _memory() as memory, _program(rest):
        memory.step()
        time.sleep(0.05)
        assert memory.findings() == []
    assert not memory.listening.windows


def test_a_window_that_was_full_at_once_is_doubted() -> None:
    """Four failures that happen to come together in a busy program's few milliseconds are no rate."""
    code = _refuse.__code__
    failure = Failure("RefusedError", (code,), (1,), _insist.__code__, 2)

    def heard(failures: int, lasted_s: float, *, is_cut: bool) -> bool:
        window = Window(0.0, lasted_s=lasted_s, is_cut=is_cut)
        window.failures[failure] = failures
        return is_storm(window)

    assert heard(4, 0.12, is_cut=False)
    assert not heard(4, 0.02, is_cut=True)
    assert not heard(2, 0.02, is_cut=False)
    assert heard(30, 0.02, is_cut=True)


@pytest.mark.parametrize(
    ("failures", "apart_s", "is_one"),
    [
        ((2, 2, 3, 0, 2, 3), 0.6, True),
        ((2, 2, 3, 0, 2, 3), 0.1, False),
        ((0, 0, 4, 0, 0, 4), 0.6, False),
        ((1, 0, 1, 0, 1, 1), 0.6, False),
    ],
    ids=["in most windows", "in one moment", "in two of them", "hardly anything"],
)
def test_windows_that_were_full_too_early_are_heard_together(
    failures: tuple[int, ...], apart_s: float, is_one: bool
) -> None:
    """Where each try is a request, a window is full after two of them: many such windows tell of a storm."""
    code = _refuse.__code__
    failure = Failure("RefusedError", (code,), (1,), _insist.__code__, 2)
    windows = [
        Window(
            number * apart_s, lasted_s=0.015, is_cut=True, failures=Counter({failure: count} if count else {})
        )
        for number, count in enumerate(failures)
    ]
    assert not any(map(is_storm, windows))
    assert sum(map(may_be_storm, windows)) == sum(map(bool, failures))
    assert bool(_heard_often(windows)) is is_one


def test_a_storm_is_told_by_two_windows_that_are_some_time_apart() -> None:
    """Of three, the last two of which follow each other closely, the second is passed over."""
    listening = Listening()
    listening.windows += [Window(began, lasted_s=0.1) for began in (10.0, 10.5, 10.6)]
    assert [window.began for window in listening.last_two()] == [10.6, 10.0]
    listening.windows.pop()
    assert [window.began for window in listening.last_two()] == [10.5, 10.0]


@pytest.mark.parametrize(("age_s", "listened"), [(0.6, 1), (3.0, 2)])
def test_what_was_heard_long_before_is_heard_once_more(age_s: float, listened: int) -> None:
    """Polite clients fail together now and then: two such moments are no storm, however loud both were."""
    with _program(_a_storm) as loop:
        listening = Listening()
        listening.windows.append(Window(time.monotonic() - age_s))
        listening._listen(loop, time.monotonic())
        listening.hear_out(lambda _: True, lambda _: False)
        assert len(listening.windows) == 1 + listened


def test_tasks_that_pause_for_long_are_no_storm() -> None:
    """However many fail together: what was due while a busy machine did not run the process is done at once."""

    def pausing(delay_s: float) -> Any:
        return SimpleNamespace(pause=Pause(delay_s, delay_s / 2, before_try=True, reason=None))

    no_pause: Any = SimpleNamespace(pause=None)
    assert _are_patient([pausing(2.0), pausing(0.5), pausing(0.1)])
    assert not _are_patient([pausing(2.0), pausing(0.1), pausing(0.1)])
    assert not _are_patient([pausing(2.0), no_pause])
