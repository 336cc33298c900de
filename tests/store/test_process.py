"""Whether the process that recorded something is still there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spanloom.store import StoreReader
from spanloom.store.process import is_alive, machine, process_start

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what else there is to go by differs by system"
)


def test_a_process_is_known_by_its_id_its_start_and_its_boot() -> None:
    """This very process is alive; one with its id that started at another time is not."""
    pid = os.getpid()
    assert is_alive(pid, machine(), process_start(pid)) is True
    assert is_alive(pid, machine(), "1") is False


def test_what_another_machine_says_cannot_be_told_from_here() -> None:
    """A process id means nothing after a restart, in another container, or on another machine."""
    pid = os.getpid()
    assert is_alive(pid, "elsewhere", process_start(pid)) is None
    assert is_alive(0, machine(), process_start(pid)) is None


def test_a_process_that_was_killed_is_not_alive_even_before_its_parent_has_asked() -> None:
    """A zombie has an id and a start time, and yet it is dead."""
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()  # what `exec` does to its stack is over only then
    start = process_start(process.pid)
    assert is_alive(process.pid, machine(), start) is True
    process.kill()
    deadline = time.monotonic() + 60
    while is_alive(process.pid, machine(), start):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert process.returncode is None  # nobody has waited for it
    process.communicate()
    assert is_alive(process.pid, machine(), start) is False


def test_without_a_start_time_the_id_has_to_do() -> None:
    """On systems that do not tell when a process started, one with that id is taken for it."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert is_alive(os.getpid(), machine(), "") is True
    assert is_alive(process.pid, machine(), "") is False


EXECUTED = """
import os, sys
from spanloom import CallbackManager
from spanloom.handlers.record import RecordHandler
manager = CallbackManager([RecordHandler(sys.argv[1])])
manager.emit(name="a")
manager.flush()
os.execv(sys.executable, [sys.executable, "-c", "print(flush=True); input()"])
"""


def test_a_program_that_gave_way_to_another_is_over(tmp_path: Path) -> None:
    """After ``exec`` the process has the same id and start, but the run that it had recorded goes on no more."""
    path = tmp_path / "runs.db"
    with subprocess.Popen(
        [sys.executable, "-c", EXECUTED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with StoreReader(path) as store:
            (run,) = store.runs()
        assert (run.pid, run.state) == (process.pid, "interrupted")
        process.communicate(b"\n")


def test_where_the_place_of_the_stack_is_not_known_the_start_has_to_do() -> None:
    """A run of an older version, or of another user's process, is known by its start time."""
    pid = os.getpid()
    start = process_start(pid).partition(":")[0]
    assert is_alive(pid, machine(), start) is True
    assert is_alive(pid, machine(), "1") is False
    assert is_alive(pid, machine(), f"1{process_start(pid)}") is False
