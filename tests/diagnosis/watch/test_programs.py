"""Sick and healthy programs, each in a process of its own, asked from outside while they hang."""

from __future__ import annotations

import re
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from spanloom.diagnosis.watch.client import watched_pid
from tests.diagnosis.watch.running import PROGRAMS, Program, findings_of, program, run

AT_ONCE = 8
HEALTHY_S = 3.0
"""So long a healthy program runs before it is asked."""

pytestmark = [
    # Forty processes, some at a time: a verdict on a process takes a process, and time to be stuck.
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="who is blocked at a pipe is read off Linux's /proc"),
]

ALL = [program(path) for path in sorted(PROGRAMS.glob("*.py"))]
SICK = [one for one in ALL if one.code != "OK"]
HEALTHY = [one for one in ALL if one.code == "OK"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[list[dict[str, Any]]]]:
    """What all of the programs have answered, or why one has not, by the name of the program."""
    folder = tmp_path_factory.mktemp("programs")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {one.path.stem: pool.submit(answer, one, folder) for one in ALL}


def answer(one: Program, folder: Path) -> list[dict[str, Any]]:
    """Run a program, and return what it answers: a sick one until there is something, a healthy one after a while."""
    is_sick = one.code != "OK"
    with run(one.path, folder) as process:
        watched_pid(process.pid, wait_s=20.0)
        time.sleep(0.5 if is_sick else HEALTHY_S)
        found = findings_of(process.pid, within_s=20.0 if is_sick else 0.0)
        assert is_sick or process.poll() is None, "a healthy program has to be asked while it runs"
    return found


@pytest.mark.parametrize("one", SICK, ids=lambda one: one.path.stem)
def test_the_first_finding_on_a_sick_program_is_its_sickness(one: Any, answers: dict[str, Any]) -> None:
    """The code, the names of who is concerned, and the line are those of the cause."""
    found = answers[one.path.stem].result()
    assert [finding["code"] for finding in found][:1] == [one.code]
    message = found[0]["message"]
    for names in one.names:
        assert any(
            re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message, re.IGNORECASE) for name in names.split("|")
        )
    file, _, line = found[0]["location"].rpartition(":")
    assert Path(file) == one.path
    assert min(abs(int(line) - expected) for expected in one.lines) <= 2


@pytest.mark.parametrize("one", HEALTHY, ids=lambda one: one.path.stem)
def test_there_is_no_finding_on_a_healthy_program(one: Any, answers: dict[str, Any]) -> None:
    """What looks suspicious, and goes on or ends by itself, is not reported."""
    assert answers[one.path.stem].result() == []
