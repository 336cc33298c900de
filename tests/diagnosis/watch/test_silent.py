"""The verdict on a process that does not answer, from what its stacks were in a few looks."""

from __future__ import annotations

import itertools

import pytest

from spanloom.diagnosis.watch import silent
from spanloom.diagnosis.watch.stacks import Line, Stack

LOOP = Line("/usr/lib/python3/asyncio/base_events.py", 1936, "_run_once")
LOOKS_ON = Line("/lib/spanloom/diagnosis/watch/watcher.py", 171, "_run")
ANSWERS = Line("/lib/spanloom/diagnosis/watch/watcher.py", 249, "findings")


def _explained(
    monkeypatch: pytest.MonkeyPatch, *watching: tuple[Line, ...], silent_s: float = 3.0
) -> list[str]:
    """Return the codes on a process whose loop computes in one line, and whose watching thread is at `watching`."""
    work = Stack("0x1", (Line("/home/me/work.py", 7, "work"), LOOP))
    looks = itertools.cycle([(silent_s, [work, Stack("0x2", calls)]) for calls in watching])
    monkeypatch.setattr(silent, "stacks_of", lambda _: next(looks))
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
