"""Looks at programs of hundreds of tasks: what they cost grows with the tasks, and no faster."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.environments import run_program


def of_its_own(call: str) -> Any:
    """Return what a function of `large` does in a process of its own."""
    done = run_program(f"import json; from tests.diagnosis import large; print(json.dumps(large.{call}))")
    return json.loads(done.stdout)


@pytest.mark.parametrize("program", ["event", "events", "empty_queue", "futures", "lock"])
def test_four_times_the_stuck_tasks_are_four_times_the_work(program: str) -> None:
    """Ten thousand tasks that wait in one line are told within a second, and not after minutes."""
    few, found = of_its_own(f"work({program!r}, 100)")
    many, found_in_many = of_its_own(f"work({program!r}, 400)")
    assert found
    assert found_in_many == found
    assert many < few * 6


@pytest.mark.parametrize("program", ["events", "futures"])
def test_what_is_the_same_of_many_is_told_once(program: str) -> None:
    """A hundred requests, each of which waits for an answer of its own, are one finding; five are five."""
    (sentence,) = of_its_own(f"told({program!r}, 100)")
    assert sentence.startswith("100 tasks `")
    assert "Each waits for one of its own." in sentence
    assert len(of_its_own(f"told({program!r}, 5)")) == 5


def test_what_a_library_in_c_keeps_is_no_orphan() -> None:
    """However many they are: each may yet be resolved. Those of which nothing can be found out are not accused, too."""
    assert of_its_own("told('held_in_c', 2500)") == []


def test_a_crowd_is_not_asked_where_the_others_know_the_answer() -> None:
    """Whoever waits at a queue that one living task fills goes on: what the hundreds know that wait is not needed."""
    assert of_its_own("asked_of_crowds('fed_queue', 200)") == [[], []]
    assert of_its_own("asked_of_crowds('empty_queue', 200)") == [[1], ["QUEUE_NO_PRODUCER"]]


def test_who_has_moved_while_it_was_looked_at_is_not_asked_about() -> None:
    """A task that sleeps again and again has another future by the time the timers are read: it is alive."""
    assert of_its_own("asked_about_who_moved()") == []
