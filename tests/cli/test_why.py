"""What ``spanloom why`` says of runs in which nothing was found, and how ``show`` leads to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spanloom.cli.why import CAME_THROUGH, DIED, GIVEN_UP, NOTHING, _nothing
from spanloom.viewer.show import show_lines
from tests.cli.looking import record, spanloom
from tests.viewer.runs import Made, dead, run, texts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, CAME_THROUGH),
        ({"exit_code": 1}, CAME_THROUGH),
        ({"exit_code": 130}, GIVEN_UP),
        ({"exit_code": -15}, GIVEN_UP),
        ({"state": "running", "ended_wall_ns": None, "exit_code": None}, NOTHING),
    ],
)
def test_that_nothing_was_found_means_what_the_end_of_the_run_makes_of_it(
    changes: dict[str, Any], said: str
) -> None:
    """Who presses Ctrl-C after three seconds is not told that nothing was wrong."""
    assert _nothing(run(**changes)) == said
    assert _nothing(dead()) == DIED


def test_show_says_what_a_run_was_stuck_at() -> None:
    """At the top, in as many lines as it takes: it is what the page is opened for."""
    made = Made()
    made.event("batch", "orders", 0, None)
    page = texts(show_lines(made.analyse(dead()), width=64, stuck=["LOCK_CYCLE: " + "two tasks wait. " * 6]))
    at = page.index("  stuck     LOCK_CYCLE: two tasks wait.")
    assert at < page.index("Interrupted:")
    assert all(len(line) <= 64 for line in page.splitlines())
    assert page.split().count("tasks") == 6


def test_show_ends_with_what_to_ask_next(tmp_path: Path) -> None:
    """With the run and the file that it was asked for."""
    file = tmp_path / "my runs.db"
    record(file, "--jobs", "3")
    assert spanloom("show", "last", "--file", file).endswith(
        f"\nWhy it was slow or stuck: spanloom why last --file '{file}'\n"
    )
