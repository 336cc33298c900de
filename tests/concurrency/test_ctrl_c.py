"""Ctrl-C in real programs: the first lets the running jobs of a batch with a checkpoint end, the second does not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from spanloom import partial_outcomes

PROGRAMS = Path(__file__).with_name("interrupted.py")
DEADLINE_S = 60.0


class Program:
    """A program that runs, and what it has said."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", str(PROGRAMS), name, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, *lines: str) -> None:
        """Wait until it has said all of these."""
        missing = set(lines) - set(self.said)
        while missing:
            try:
                line = self._lines.get(timeout=DEADLINE_S)
            except Empty:
                self._process.kill()
                raise
            assert line is not None, (missing, self.said)
            self.said.append(line)
            missing.discard(line)

    def press_ctrl_c(self) -> None:
        """Press it once; before a program has taken notice, pressing it again would be the same as once."""
        self._process.send_signal(signal.SIGINT)
        while self._is_pending(signal.SIGINT):
            time.sleep(0.001)

    def _is_pending(self, number: signal.Signals) -> bool:
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return False  # it has ended, or this system does not tell
        masks = (line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:")))
        return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)

    def go(self) -> None:
        """Let its jobs end."""
        (self.folder / "go").touch()

    def end(self) -> tuple[int, str]:
        """Return its exit code and the last line of its traceback."""
        assert self._process.stderr is not None
        errors = self._process.stderr.read()
        code = self._process.wait(DEADLINE_S)
        self._reader.join()
        while (line := self._lines.get()) is not None:
            self.said.append(line)
        assert "never" not in errors, errors  # neither awaited nor retrieved
        assert "pending" not in errors, errors
        return code, errors.strip().rpartition("\n")[2]

    def close(self) -> None:
        """Leave nothing of it behind, whatever the test has come to."""
        with self._process:
            self._process.kill()
            self._reader.join()

    def is_running_after(self, seconds: float) -> bool:
        """Tell whether it is still there, that much later."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False


Start = Callable[[str], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def begin(name: str) -> Program:
        programs.append(Program(name, tmp_path))
        return programs[-1]

    yield begin
    for program in programs:
        program.close()


def stored(folder: Path, name: str = "results.db") -> list[int]:
    connection = sqlite3.connect(folder / name)
    try:
        return sorted(int(value) for (value,) in connection.execute("SELECT value FROM results"))
    finally:
        connection.close()


def starts(program: Program) -> list[int]:
    return [int(line.split()[1]) for line in program.said if line.startswith("start ")]


INTERRUPTED = -signal.SIGINT
"""The exit code as the parent sees it, of a program that SIGINT has ended; a shell calls that 130."""


@pytest.mark.parametrize("name", ["plain", "by_uvloop", "by_run_sync", "without_a_runner"])
def test_the_first_ctrl_c_lets_running_jobs_end(start: Start, tmp_path: Path, name: str) -> None:
    """No job starts any more, those that run end, and KeyboardInterrupt carries the outcomes."""
    program = start(name)
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    program.go()
    code, last = program.end()
    assert starts(program) == [0, 1] or starts(program) == [0, 1, 2, 3]  # if "go" was seen first
    ended = sorted(starts(program))
    assert f"outcomes {[(number, number, 'ok') for number in ended]!r}".replace(
        "'ok'", "<EventStatus.OK: 'ok'>"
    ) in (program.said)
    assert "inside " + ("default" if name == "without_a_runner" else "Runner") in program.said
    assert program.said[-1] == "after default"
    assert (code, last) == (
        INTERRUPTED,
        f"KeyboardInterrupt: {len(ended)} of 10 jobs have ended; what they returned is stored",
    )
    assert stored(tmp_path) == ended


def test_a_shell_sees_130(tmp_path: Path) -> None:
    """A program that does not catch it ends by SIGINT itself, which a shell reports as 130."""
    script = f'"{sys.executable}" "{PROGRAMS}" plain "{tmp_path}" 2>/dev/null; echo "code $?"'
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, encoding="utf-8") as shell:
        assert shell.stdout is not None
        lines = [shell.stdout.readline(), shell.stdout.readline()]
        assert lines == ["start 0\n", "start 1\n"]
        (child,) = _children_of(shell.pid)
        os.kill(child, signal.SIGINT)
        (tmp_path / "go").touch()
        out, _ = shell.communicate(timeout=DEADLINE_S)
    assert out.splitlines()[-1] == "code 130"


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_second_ctrl_c_cancels_them(start: Start, tmp_path: Path) -> None:
    """Pressed again, the running jobs are cancelled, at once."""
    program = start("plain")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    assert program.is_running_after(0.3)
    program.press_ctrl_c()
    code, last = program.end()
    assert {"cancelled 0", "cancelled 1", "outcomes []"} <= set(program.said)
    assert (code, last) == (
        INTERRUPTED,
        "KeyboardInterrupt: 0 of 10 jobs have ended; what they returned is stored",
    )
    assert starts(program) == [0, 1]
    assert stored(tmp_path) == []


def test_the_second_ctrl_c_does_not_wait_for_another_process(start: Start, tmp_path: Path) -> None:
    """Results that cannot be stored because somebody else holds the file are given up soon, and counted."""
    program = start("plain")
    program.wait_for("start 0", "start 1")
    other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    program.go()
    program.wait_for("end 0", "end 1")
    program.press_ctrl_c()
    assert program.is_running_after(0.3)
    program.press_ctrl_c()
    assert not program.is_running_after(15)  # 2 s, and 30 as long as the batch goes on
    other.close()
    code, last = program.end()
    assert (code, last) == (
        INTERRUPTED,
        "KeyboardInterrupt: 0 of 10 jobs have ended; what they returned is stored",
    )
    assert stored(tmp_path) == []


def test_the_grace_period_ends(start: Start) -> None:
    """Jobs that run on for longer than grace_s are cancelled."""
    program = start("no_grace")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    code, _ = program.end()
    assert {"cancelled 0", "cancelled 1"} <= set(program.said)
    assert code == INTERRUPTED


def test_without_a_grace_period_ctrl_c_is_left_alone(start: Start) -> None:
    """With grace_s=None nothing is taken over: the main task is cancelled, and so are the jobs."""
    program = start("left_alone")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    code, last = program.end()
    assert {"cancelled 0", "cancelled 1", "after default"} <= set(program.said)
    assert (code, last) == (INTERRUPTED, "KeyboardInterrupt")


def test_a_program_may_go_on_after_it(start: Start, tmp_path: Path) -> None:
    """Who catches KeyboardInterrupt may start another batch, which does the rest; Ctrl-C is in place for it."""
    program = start("caught")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    program.go()
    code, _ = program.end()
    assert code == 0
    assert "returned 10" in program.said
    assert sorted(starts(program)) == list(range(10))
    assert stored(tmp_path) == list(range(10))


@pytest.mark.parametrize("name", ["gathered", "grouped"])
def test_batches_at_once_all_come_to_their_end(start: Start, tmp_path: Path, name: str) -> None:
    """Each of several batches lets its jobs end, then the main task is cancelled as by asyncio itself."""
    program = start(name)
    program.wait_for("start 0", "start 1", "start 100", "start 101")
    program.press_ctrl_c()
    program.go()
    code, last = program.end()
    assert (code, last) == (INTERRUPTED, "KeyboardInterrupt")
    assert program.said[-1] == "after default"
    assert not [line for line in program.said if line.startswith("cancelled")]
    assert stored(tmp_path) + stored(tmp_path, "others.db") == sorted(starts(program))


def test_the_second_ctrl_c_cancels_all_batches(start: Start) -> None:
    """Pressed again, the jobs of every batch are cancelled."""
    program = start("gathered")
    program.wait_for("start 0", "start 1", "start 100", "start 101")
    program.press_ctrl_c()
    assert program.is_running_after(0.3)
    program.press_ctrl_c()
    code, last = program.end()
    assert (code, last) == (INTERRUPTED, "KeyboardInterrupt")
    assert sorted(line for line in program.said if line.startswith("cancelled")) == [
        f"cancelled {number}" for number in (0, 1, 100, 101)
    ]


def test_a_batch_in_a_job_of_another_stops_with_it(start: Start, tmp_path: Path) -> None:
    """The inner batches let their jobs end and raise inside their jobs, the outer one waits for all of them."""
    program = start("nested")
    program.wait_for("start 100", "start 101", "start 200", "start 201")
    program.press_ctrl_c()
    program.go()
    code, last = program.end()
    assert (code, last) == (
        INTERRUPTED,
        "KeyboardInterrupt: 0 of 4 jobs have ended; what they returned is stored",
    )
    assert not [line for line in program.said if line.startswith("cancelled")]
    inner = [line.split() for line in program.said if line.startswith("inner")]
    assert sum(int(count) for _, _, count in inner) == len(starts(program))
    assert stored(tmp_path) == sorted(starts(program))


def test_a_job_may_end_a_batch_of_its_own(start: Start) -> None:
    """A batch without a checkpoint is part of the job that it runs in, and comes to its end with that."""
    program = start("without_a_checkpoint_inside")
    program.wait_for("start 100")
    program.press_ctrl_c()
    program.go()
    code, last = program.end()
    assert "end 101" in program.said
    assert "start 300" not in program.said
    assert code == INTERRUPTED
    assert "of 4 jobs have ended" in last


def test_a_failure_after_ctrl_c_cancels_nobody(start: Start) -> None:
    """A job that fails in the grace period is an outcome with its error; the others still come to their end."""
    program = start("failing")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    assert program.is_running_after(0.3)
    program.go()
    code, _ = program.end()
    assert code == INTERRUPTED
    status = "<EventStatus.ERROR: 'error'>"
    assert f"outcomes [(0, 'ValueError(0)', {status}), (1, 'ValueError(1)', {status})]" in program.said


def test_a_loop_that_is_blocked_is_broken_off_by_the_second(start: Start) -> None:
    """Where a job does not let the loop turn, the second Ctrl-C interrupts what runs, as in any program."""
    program = start("blocking")
    program.wait_for("start 0")
    program.press_ctrl_c()
    assert program.is_running_after(0.5)
    program.press_ctrl_c()
    code, last = program.end()
    assert (code, last) == (INTERRUPTED, "KeyboardInterrupt")
    assert program.said == ["start 0", "after default"]


def test_a_loop_that_is_blocked_is_broken_off_when_the_grace_period_ends(start: Start) -> None:
    """It cannot see that itself: jobs that hold it up have their time as all others, and no more."""
    program = start("blocking_for_too_long")
    program.wait_for("start 0")
    program.press_ctrl_c()
    assert program.end() == (INTERRUPTED, "KeyboardInterrupt")
    assert program.said == ["start 0", "after default"]


def test_a_job_that_ignores_its_cancel_is_waited_for(start: Start, tmp_path: Path) -> None:
    """No task outlives the batch, so a job that goes on after the second Ctrl-C is waited for, and stored."""
    program = start("stubborn")
    program.wait_for("start 0", "start 1")
    for _ in range(2):
        program.press_ctrl_c()
        assert program.is_running_after(0.3)
    program.wait_for("ignored 0", "ignored 1")
    program.go()
    code, last = program.end()
    assert (code, last) == (
        INTERRUPTED,
        "KeyboardInterrupt: 2 of 4 jobs have ended; what they returned is stored",
    )
    assert stored(tmp_path) == [0, 1]


def test_the_third_ctrl_c_breaks_the_loop_off(start: Start, tmp_path: Path) -> None:
    """Who does not want to wait for such a job presses once more, and asyncio cancels everything again."""
    program = start("stubborn")
    program.wait_for("start 0", "start 1")
    for _ in range(2):
        program.press_ctrl_c()
        assert program.is_running_after(0.3)
    program.wait_for("ignored 0", "ignored 1")
    program.press_ctrl_c()
    code, last = program.end()
    assert (code, last) == (INTERRUPTED, "KeyboardInterrupt")
    assert program.said[-1] == "after default"
    assert not (tmp_path / "go").exists()


def test_a_handler_of_the_program_is_left_in_place(start: Start) -> None:
    """Where the program handles SIGINT itself, nothing is taken over."""
    program = start("own_handler")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    program.wait_for("own handler")
    program.go()
    assert program.end() == (0, "")
    assert "returned 10" in program.said


def test_a_wait_for_the_input_ends(start: Start) -> None:
    """An async input that is waited for is not waited for any longer."""
    program = start("waiting_for_input")
    program.wait_for("start 0", "waiting")
    program.press_ctrl_c()
    program.go()
    code, last = program.end()
    assert "outcomes 1" in program.said
    assert (code, last) == (INTERRUPTED, "KeyboardInterrupt: 1 jobs have ended; what they returned is stored")


def test_a_batch_in_another_thread_is_not_concerned(start: Start) -> None:
    """SIGINT belongs to the main thread: a loop in another one runs on."""
    program = start("in_a_thread")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    program.wait_for("main interrupted")
    program.go()
    assert program.end() == (0, "")
    assert "returned 10" in program.said


def test_between_batches_ctrl_c_is_pythons_own(start: Start) -> None:
    """When no batch runs, asyncio's handler is in place, and cancels the main task."""
    program = start("between")
    program.wait_for("start of the pause")
    assert "between Runner" in program.said
    program.press_ctrl_c()
    code, last = program.end()
    assert "main cancelled" in program.said
    assert (code, last) == (INTERRUPTED, "KeyboardInterrupt")


def test_a_loop_that_something_else_breaks_off_leaves_pythons_handler(start: Start) -> None:
    """After SystemExit in another task, SIGINT is Python's own again, and the next loop has it as ever."""
    program = start("broken_off")
    program.wait_for("start 0", "start 1", "after default")
    said = len(program.said)
    while "start 1" not in program.said[said:]:
        line = program._lines.get(timeout=DEADLINE_S)
        assert line is not None
        program.said.append(line)
    program.press_ctrl_c()
    program.go()
    code, last = program.end()
    assert "inside Runner" in program.said
    assert code == INTERRUPTED
    assert "of 10 jobs have ended" in last


def test_only_a_batchs_own_interrupt_has_outcomes() -> None:
    """Any other KeyboardInterrupt has none."""
    assert partial_outcomes(KeyboardInterrupt()) == []


def test_run_sync_in_a_loop_ends_what_it_runs(start: Start) -> None:
    """The loop that it holds up cannot do what Ctrl-C asks for, so it looks for that itself."""
    program = start("in_a_loop")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    program.wait_for("cancelled 0", "cancelled 1", "alive")
    assert program.end() == (INTERRUPTED, "KeyboardInterrupt")
    assert sorted(starts(program)) == [0, 1]


def test_run_sync_leaves_nothing_behind_when_it_is_broken_off(start: Start) -> None:
    """In a callback the first Ctrl-C is for the task that comes next; the second is raised, once all has ended."""
    program = start("in_a_callback")
    program.wait_for("start 0", "start 1")
    program.press_ctrl_c()
    program.wait_for(
        "heard"
    )  # a second one in the middle of asyncio's handler would break that off, and its cancel
    program.press_ctrl_c()
    program.wait_for("cancelled 0", "cancelled 1", "alive")
    assert program.end() == (INTERRUPTED, "KeyboardInterrupt")


def test_a_plain_function_of_an_evaluation_is_interrupted(start: Start) -> None:
    """It knows of no loop, and of no task that could be cancelled instead; all events have their ends."""
    program = start("rows")
    program.wait_for("start 1")
    program.press_ctrl_c()
    program.wait_for("interrupted 1", "open 0", "after default")
    assert program.end() == (INTERRUPTED, "KeyboardInterrupt")
    assert starts(program) == [0, 1]
