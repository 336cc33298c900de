"""``spanloom show`` and ``spanloom ls`` on the files of real runs, ended and killed."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.looking import as_json, clean, record, spanloom

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with two runs: one that ended, with failures, and one that was killed while it ran."""
    file = tmp_path_factory.mktemp("runs") / "runs.db"
    record(file, "--bad", "--jobs", "200")
    record(file, "--kill-at", "60", "--slow", "items:30", "--connections", "20", killed=True)
    return file


def test_a_run_that_ended_is_shown_with_what_it_did(file: Path) -> None:
    """Tree, names, errors and critical path of a real pipeline, with the numbers that it must have."""
    ended = as_json("ls", "--file", file)["runs"][1]["run_id"]
    found = as_json("show", ended[:10], "--file", file)
    names = {(each["type"], each["name"]): each for each in found["names"]}
    job = names["job", "fetch"]
    assert (job["count"], job["ok"], job["errors"]) == (200, 180, 20)
    assert job["attempts"] == 204
    assert names["attempt", "fetch"]["errors"] == 24
    assert names["backoff", "fetch"]["count"] == 4
    assert job["backoff_ns"] == names["backoff", "fetch"]["run_ns"]
    assert (
        sum(names["step", f"GET /{name}"]["count"] for name in ("users", "orders", "items", "search")) == 204
    )
    (trace,) = found["tree"]
    (batch,) = trace["below"]
    assert (trace["name"], batch["name"]) == ("load everything", "load")
    assert {(e["type"], e["shape"], e["count"], e["jobs"]) for e in found["errors"]} == {
        ("ValueError", "order <n> has no customer", 20, 20),
        ("ConnectionError", "lost connection <n> to <text>", 4, 0),
    }
    path = found["critical_path"]
    assert path["outside_ns"] + sum(each["ns"] for each in path["names"]) == found["duration_ns"]
    assert found["concurrency"]["peak"] == 16
    assert found["open"] == []
    text = spanloom("show", ended[:10], "--file", file)
    for part in (
        "ended",
        "200: 180 ok, 20 failed",
        "Jobs at once",
        "By name",
        "Critical path",
        "Slowest jobs",
    ):
        assert part in text
    assert "in attempt fetch; ended 20 jobs" in text
    assert "endpoints.py:" in text


def test_a_killed_run_names_its_open_jobs_and_for_how_long(file: Path) -> None:
    """After a SIGKILL, the jobs that were open are there by index, with their age and what they were at."""
    found = as_json("show", "last", "--file", file)
    assert found["run"]["state"] == "interrupted"
    jobs = next(group for group in found["open"] if group["type"] == "job")
    assert jobs["count"] == 16
    # One call in four hangs: when job 60 kills the process, the other 15 workers are at one.
    hanging = {event["job_index"] for event in jobs["oldest"]}
    assert {index % 4 for index in hanging if index != 60} == {2}
    for event in jobs["oldest"]:
        assert event["status"] == "interrupted"
        assert 0 < event["age_ns"] <= found["duration_ns"]
        if event["job_index"] != 60:
            assert [inner["name"] for inner in event["inside"]][-1] == "GET /items"
    text = spanloom("show", "--file", file)
    assert "INTERRUPTED: its process died" in text
    assert "Interrupted: what was open when the process died" in text
    assert re.search(r"\[\d+\]  [\d.]+ (ms|s)  in attempt fetch #1 .*, step GET /items", text)
    assert "16 interrupted" in text


def test_the_exit_code_tells_whether_all_went_well(file: Path, tmp_path: Path) -> None:
    """With --check, 1 after failures or a death, 0 where all went well; without, 0 always."""
    spanloom("show", "last", "--file", file, "--check", code=1)
    ended = as_json("ls", "--file", file)["runs"][1]["run_id"]
    spanloom("show", ended, "--file", file, "--check", code=1)
    record(tmp_path / "well.db", "--jobs", "20")
    spanloom("show", tmp_path / "well.db", "--check")


def test_runs_are_listed_the_newest_first(file: Path) -> None:
    """One line a run, with its counts; --limit takes the newest."""
    lines = spanloom("ls", "--file", file).splitlines()
    assert lines[0].split() == ["run", "name", "started", "took", "state", "jobs", "failed", "open", "lost"]
    assert len(lines) == 3
    assert "interrupted" in lines[1]
    assert lines[2].split()[-4:] == ["200", "20", "0", "0"]
    runs = as_json("ls", "--file", file)["runs"]
    assert [run["state"] for run in runs] == ["interrupted", "ended"]
    assert lines[1].split()[0] == runs[0]["run_id"][: len(lines[1].split()[0])]
    assert runs[0]["open"] > 16
    assert (runs[1]["jobs"], runs[1]["failed"], runs[1]["open"]) == (200, 20, 0)
    assert len(as_json("ls", "--file", file, "--limit", "1")["runs"]) == 1


def test_the_file_is_found_by_the_environment_and_in_the_folder(file: Path, tmp_path: Path) -> None:
    """SPANLOOM_RECORD, else .spanloom/runs.db where the command is run; and it says where it looked."""
    assert "interrupted" in spanloom("ls", cwd=tmp_path, SPANLOOM_RECORD=str(file))
    said = spanloom("ls", cwd=tmp_path, code=1)
    assert os.path.join(".spanloom", "runs.db") in said  # noqa: PTH118 -- as it is printed
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("command", ["ls", "show"])
def test_what_is_no_record_is_said_to_be_none(command: str, tmp_path: Path) -> None:
    """A file of something else, or of nothing, ends with exit code 1 and one line."""
    other = tmp_path / "notes.txt"
    other.write_text("not a database, by far" * 100)
    said = spanloom(command, "--file", other, code=1)
    assert "notes.txt" in said
    assert len(said.splitlines()) == 1


def test_an_unknown_run_is_said_with_those_that_there_are(file: Path) -> None:
    """A wrong prefix ends with exit code 1 and what could have been meant; a wrong option with 2."""
    said = spanloom("show", "ffffffff", "--file", file, code=1)
    assert "'ffffffff'" in said
    assert "endpoints.py" in said
    assert "--nonsense" in spanloom("show", "--nonsense", code=2)


def test_an_output_that_knows_ascii_only_gets_ascii(file: Path) -> None:
    """Bars and arrows have stand-ins; nothing fails to be written."""
    text = spanloom("show", "last", "--file", file, PYTHONIOENCODING="ascii")
    assert text.isascii()
    assert "Jobs at once" in text


def on_a_terminal(*args: str | Path, **env: str) -> str:
    """Run a command with its output on a terminal of 120 columns; return what it wrote."""
    leader, follower = pty.openpty()
    subprocess.run(["stty", "cols", "120", "rows", "40"], stdin=follower, check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "spanloom", *map(str, args)], env=clean(TERM="xterm", **env), stdout=follower
    )
    os.close(follower)
    written = b""
    while True:
        try:
            part = os.read(leader, 65_536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(leader)
    assert process.wait(60) == 0
    return written.decode()


def test_a_terminal_gets_colours_unless_it_says_no(file: Path) -> None:
    """Styles on a terminal, none with NO_COLOR, none in a pipe; the text is the same but for the width."""
    piped = spanloom("show", "last", "--file", file, "--width", "120")
    coloured = on_a_terminal("show", "last", "--file", file)
    assert "\x1b[31m" in coloured
    assert ESCAPES.sub("", coloured).replace("\r\n", "\n") == piped
    quiet = on_a_terminal("show", "last", "--file", file, NO_COLOR="1")
    assert "\x1b[31m" not in quiet
    assert "\x1b" not in piped
