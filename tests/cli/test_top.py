"""``spanloom top``: of a run that goes on, in a real terminal and elsewhere, and of one that was killed."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spanloom import CallbackManager, async_map, use_callback_manager
from spanloom.handlers.record import RecordHandler
from spanloom.store import StoreReader
from spanloom.viewer.looking import look_at
from tests.cli.commands import command, environment, spanloom
from tests.terminal import Terminal

TIMEOUT_S = 60
STATES = ["running", "running", "waiting", "backing off"]
PROGRAM = """
    import asyncio, sys
    from spanloom import FixedLimiter, RetryPolicy, async_map

    slots = FixedLimiter(2, name="gpu")

    async def work(n):
        if n == 3:
            raise OSError("no")
        async with slots:
            await asyncio.sleep(60 if n < 4 else 0)

    async def main():
        quick = await async_map(asyncio.sleep, [0.05] * 20, limit=1)
        policy = RetryPolicy(attempts=2, base_delay=50, max_delay=50, jitter=0)
        await async_map(work, range(4), limit=4, retry=policy)

    async def end():
        task = asyncio.create_task(main())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        task.cancel()

    asyncio.run(end())
"""


def look(folder: Path, *arguments: str) -> str:
    return spanloom(folder, "top", *arguments)


def look_until_all_stand(folder: Path) -> dict[str, Any]:
    """Look until each of the four jobs is where it stays; they are all in flight a little earlier."""
    deadline = time.monotonic() + TIMEOUT_S
    seen: dict[str, Any] = {}
    while [job["state"] for job in seen.get("in_flight", ())] != STATES:
        assert time.monotonic() < deadline, seen
        if (folder / ".spanloom" / "runs.db").exists():
            seen = json.loads(look(folder, "last", "--json"))
    return seen


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has four jobs in flight in the end, and stops when it is given a line."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    with subprocess.Popen(
        command("run", "--instrument", "none", "program.py"),
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_states_of_a_running_run(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    """Two jobs run, one waits for a slot, one backs off; the batch before is done and not shown."""
    seen = look_until_all_stand(tmp_path)
    assert seen["run"]["state"] == "running"
    assert [(job["job_index"], job["state"], job["detail"]) for job in seen["in_flight"]] == [
        (0, "running", ""),
        (1, "running", ""),
        (2, "waiting", "gpu"),
        (3, "backing off", ""),
    ]
    assert 40e9 < seen["in_flight"][3]["left_ns"] <= 50e9
    assert seen["run"]["produced"] >= seen["summary"]["events"] - seen["summary"]["open"] > 20
    (batch,) = seen["batches"]
    assert (batch["name"], batch["total"], batch["ended"]) == ("work", 4, 0)
    assert batch["left_ns"] is None
    text = look(tmp_path, str(process.pid))
    assert text.startswith(f"Run {seen['run']['run_id'][:8]}  program.py  pid {process.pid}  running for ")
    assert "\x1b" not in text


def test_what_a_run_has_produced_is_as_new_as_what_is_counted(tmp_path: Path) -> None:
    """A run that is found when it has only begun is shown with what it has produced by the time that it is shown."""
    with CallbackManager([handler := RecordHandler(path := tmp_path / "runs.db")]) as manager:
        handler.begin()
        with StoreReader(path) as store:
            run = store.find("last")
            assert run.produced == 0
            for _ in range(3):
                manager.emit(name="tick")
            assert manager.flush()
            now = look_at(store, run)
            assert (now.run.produced, now.summary.events) == (3, 3)


def test_of_a_thousand_jobs_in_flight_those_are_listed_that_have_been_for_longest(tmp_path: Path) -> None:
    """And how many more there are, which `--json` has."""

    async def watched() -> str:
        gate = asyncio.Event()
        batch = asyncio.create_task(async_map(lambda _: gate.wait(), range(1_000), limit=1_000))
        text = ""
        deadline = time.monotonic() + TIMEOUT_S
        while "which are younger" not in text and time.monotonic() < deadline:
            text = await asyncio.to_thread(look, tmp_path, "--file", str(file))
        gate.set()
        await batch
        return text

    file = tmp_path / "runs.db"
    with CallbackManager([handler := RecordHandler(file)]) as manager, use_callback_manager(manager):
        handler.begin()  # else the file comes with the first event that has ended, or has been open for 0.1 s
        lines = asyncio.run(watched()).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("and "))
    assert at < 60
    assert lines[at - 1].startswith("<lambda>[")


def test_a_killed_run_is_shown_as_it_was(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    """By the id of the process that is gone, too."""
    before = look_until_all_stand(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait(TIMEOUT_S)
    seen = json.loads(look(tmp_path, str(process.pid), "--json"))
    assert seen["run"]["state"] == "interrupted"
    assert [job["state"] for job in seen["in_flight"]] == [job["state"] for job in before["in_flight"]]
    assert "INTERRUPTED after " in look(tmp_path)


class Screen:
    """A terminal that shows what a command draws: of the sequences, it knows those that rich moves the cursor with."""

    def __init__(self, command: list[str], cwd: Path, **variables: str) -> None:
        self._terminal = terminal = Terminal()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(**variables),
            stdin=terminal.theirs,
            stdout=terminal.theirs,
            stderr=terminal.theirs,
        )
        terminal.start()

    @property
    def text(self) -> str:
        """All that was written so far."""
        return self._terminal.text

    def lines(self) -> list[str]:
        """Return what is to be seen now."""
        lines, row = [""], 0
        for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r\n|\r|\n|[^\x1b\r\n]+", self.text):
            if part in {"\n", "\r\n"}:
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part == "\x1b[2K":
                lines[row] = ""
            elif part == "\x1b[1A":
                row -= 1
            elif part[0] not in "\x1b\r":
                lines[row] += part
        return lines

    def wait_for(self, text: str) -> None:
        """Wait until `text` is to be seen."""
        self._terminal.wait_until(lambda: text in "\n".join(self.lines()))
        assert text in "\n".join(self.lines())

    def close(self) -> int:
        """Wait for the end; return the exit code."""
        try:
            return self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()
            self._terminal.close()


needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@needs_terminal
def test_a_terminal_shows_it_live_until_the_run_ends(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    """What is drawn is drawn over; when the run has ended, its last state stays, and the command ends with it."""
    look_until_all_stand(tmp_path)
    screen = Screen(command("top", "--interval", "0.1"), tmp_path)
    screen.wait_for("work[2]")
    screen.wait_for("waiting for gpu")
    first = screen.lines()[0]
    screen.wait_for("running for ")
    deadline = time.monotonic() + TIMEOUT_S
    while screen.lines()[0] == first:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.close()
    assert process.wait(TIMEOUT_S) == 0
    screen.wait_for("ended after")
    assert screen.close() == 0
    shown = screen.lines()
    assert shown[0].endswith("with exit code 0")
    assert sum(line.startswith("Run ") for line in shown) == 1
    assert "\x1b[1m" in screen.text


@needs_terminal
def test_a_terminal_that_cannot_show_everything_gets_what_it_can(tmp_path: Path) -> None:
    """A name with an accent is escaped where the terminal's encoding has none."""
    (tmp_path / "wörk.py").write_text("pass")
    spanloom(tmp_path, "run", "wörk.py")
    screen = Screen(command("top"), tmp_path, PYTHONIOENCODING="ascii")
    screen.wait_for("w\\xf6rk.py")
    assert screen.close() == 0


@needs_terminal
def test_no_colour_where_none_is_wanted(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    """`NO_COLOR` leaves no colour, in a terminal as well."""
    look_until_all_stand(tmp_path)
    process.kill()
    process.wait(TIMEOUT_S)
    coloured, plain = (
        Screen(command("top", "last"), tmp_path, **variables) for variables in ({}, {"NO_COLOR": "1"})
    )
    assert (coloured.close(), plain.close()) == (0, 0)
    assert "\x1b[31m" in coloured.text
    assert "\x1b[31m" not in plain.text


@needs_terminal
def test_ctrl_c_ends_it_quietly(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    """With 130, no traceback, and the cursor where it should be; the run goes on."""
    look_until_all_stand(tmp_path)
    screen = Screen(command("top"), tmp_path)
    screen.wait_for("work[2]")
    screen.process.send_signal(signal.SIGINT)
    assert screen.close() == 130
    assert "Traceback" not in screen.text
    assert screen.text.rindex("\x1b[?25h") > screen.text.rindex("\x1b[?25l")
    assert process.poll() is None


def test_it_waits_for_a_run_that_starts_later(tmp_path: Path) -> None:
    """`--wait` passes over the runs that are there, and takes the next one."""
    (tmp_path / "program.py").write_text("import sys; sys.exit(3)")
    subprocess.run(
        command("run", "--instrument", "none", "program.py"),
        cwd=tmp_path,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    with subprocess.Popen(
        command("top", "--wait", "--json"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as waiting:
        (tmp_path / "second.py").write_text("import sys; sys.exit(4)")
        deadline = time.monotonic() + TIMEOUT_S
        while waiting.poll() is None:  # it may not have been there yet when the first one of these began
            assert time.monotonic() < deadline
            subprocess.run(
                command("run", "second.py"), cwd=tmp_path, env=environment(), timeout=TIMEOUT_S, check=False
            )
        out, _ = waiting.communicate(timeout=TIMEOUT_S)
    assert json.loads(out)["run"]["name"] == "second.py"


def test_there_is_nothing_to_watch(tmp_path: Path) -> None:
    """One line, and exit code 1."""
    done = subprocess.run(
        command("top"), cwd=tmp_path, env=environment(), capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
