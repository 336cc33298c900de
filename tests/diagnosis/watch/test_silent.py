"""The verdict on a process that does not answer, from what its stacks were in a few looks."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from spanloom.diagnosis.watch import silent
from spanloom.diagnosis.watch.folder import made_folder
from spanloom.diagnosis.watch.reading import Line, Stack, stacks_of
from spanloom.diagnosis.watch.stacks import Stacks, is_beating
from spanloom.diagnosis.watch.threads import see_threads

LOOP = Line("/usr/lib/python3/asyncio/base_events.py", 1936, "_run_once")
LOOKS_ON = Line("/lib/spanloom/diagnosis/watch/watcher.py", 171, "_run")
ANSWERS = Line("/lib/spanloom/diagnosis/watch/watcher.py", 249, "findings")


def _explained(
    monkeypatch: pytest.MonkeyPatch, *watching: tuple[Line, ...], silent_s: float = 3.0
) -> list[str]:
    """Return the codes on a process whose loop computes in one line, and whose watching thread is at `watching`."""
    work = Stack("0x1", (Line("/home/me/work.py", 7, "work"), LOOP))
    looks = itertools.cycle([(silent_s, [work, Stack("0x2", calls)]) for calls in watching])

    def stacks_of(_: int, after_s: float) -> tuple[float, list[Stack]] | None:
        return next(looks) if silent_s >= after_s else None

    monkeypatch.setattr(silent, "stacks_of", stacks_of)
    monkeypatch.setattr(silent, "BETWEEN_S", 0.0)
    return [finding.code for finding in silent.explain_silence(1)]


def test_all_threads_that_stand_still_are_the_work_of_who_holds_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of Python has run for seconds, not even the watching thread."""
    assert _explained(monkeypatch, (LOOKS_ON,)) == ["LOOP_BLOCKED"]


@pytest.mark.parametrize(
    "watching",
    [
        [(ANSWERS, LOOKS_ON)],
        [(LOOKS_ON,), (Line("census.py", 1, "step"), LOOKS_ON)],
    ],
    ids=["answers", "gets on"],
)
def test_a_watching_thread_that_gets_on_is_only_slow(
    monkeypatch: pytest.MonkeyPatch, watching: list[tuple[Line, ...]]
) -> None:
    """It is about to answer, or takes a step of its own: a program that computes leaves it little, and is healthy."""
    assert _explained(monkeypatch, *watching) == []


def test_a_process_that_ran_of_late_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop of its own that computes is at the same line in each look."""
    assert _explained(monkeypatch, (LOOKS_ON,), silent_s=0.4) == []


@pytest.fixture
def stacks() -> Iterator[Stacks]:
    made_folder()
    made = Stacks()
    try:
        yield made
    finally:
        made.close()


def test_a_process_that_runs_is_sent_no_signal(stacks: Stacks) -> None:
    """The handler reads the frames of threads that run meanwhile: one in some hundred signals ended the process."""
    stacks.beat()
    size = stacks.path.stat().st_size
    assert stacks_of(os.getpid(), 60.0) is None
    assert stacks.path.stat().st_size == size


def test_a_process_is_not_silent_while_an_answer_is_in_the_making(stacks: Stacks) -> None:
    """On a slow machine that takes seconds; who beats meanwhile is none of the program's threads."""
    known = set(see_threads(threading.get_ident()).threads)
    with stacks.beating():
        os.utime(stacks.path, (1.0, 1.0))
        while stacks.path.stat().st_atime == 1.0:
            time.sleep(0.001)
        beats = [ident for ident, frame in sys._current_frames().items() if is_beating(frame)]
        assert beats
        assert set(see_threads(threading.get_ident()).threads) <= known
    while any(map(is_beating, sys._current_frames().values())):
        time.sleep(0.001)
