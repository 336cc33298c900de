"""The note that a process leaves of its record, for whoever asks by its number after it has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanloom.diagnosis.watch.folder import LOOKED_THROUGH_S, folder, made_folder
from spanloom.diagnosis.watch.notes import KEPT_S, Note, leave_note, note_of

SPANLOOM = [sys.executable, "-m", "spanloom"]
GONE = 2**22 + 1
"""More than the number of any process may be."""
NESTED = """
import asyncio
from spanloom import FixedLimiter, async_map

limiter = FixedLimiter(2)

async def line(n):
    return n

async def letter(n):
    return await async_map(line, range(2), limit=limiter)

asyncio.run(async_map(letter, range(4), limit=limiter))
"""


@pytest.fixture
def own() -> Iterator[Path]:
    """The place of this process's own note, which there is none of before and after."""
    place = made_folder() / f"{os.getpid()}.record"
    place.unlink(missing_ok=True)
    yield place
    place.unlink(missing_ok=True)


def said(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [*SPANLOOM, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_a_process_that_has_ended_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its record says is told by its number, also where no record is."""
    monkeypatch.delenv("SPANLOOM_RECORD", raising=False)
    at, elsewhere = tmp_path / "at", tmp_path / "elsewhere"
    for made in (at, elsewhere):
        made.mkdir()
    (at / "program.py").write_text(NESTED, encoding="utf-8")
    process = subprocess.Popen([*SPANLOOM, "run", "program.py"], cwd=at, stderr=subprocess.DEVNULL)
    assert process.wait(60) == 1
    [finding, *_] = json.loads(said("why", str(process.pid), "--json", cwd=elsewhere))
    assert finding["code"] == "NESTED_LIMITER"
    now = json.loads(said("top", str(process.pid), "--json", cwd=elsewhere))
    assert now["run"]["pid"] == process.pid
    assert not list(elsewhere.iterdir())


def test_the_path_in_a_note_is_absolute(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads it is in another folder; nobody else can read it."""
    monkeypatch.chdir(tmp_path)
    leave_note("runs.db", "abc")
    assert note_of(os.getpid()) == Note(tmp_path / "runs.db", "abc")
    assert own.stat().st_mode & 0o777 == 0o600
    leave_note("other.db", "def")
    assert note_of(os.getpid()) == Note(tmp_path / "other.db", "def")


def test_a_note_says_nothing_of_another_process_with_the_same_number(own: Path) -> None:
    """Numbers are used again."""
    leave_note("runs.db", "abc")
    told = json.loads(own.read_text(encoding="utf-8"))
    own.write_text(json.dumps(told | {"started": told["started"] - 1}), encoding="utf-8")
    assert note_of(os.getpid()) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 1, "run": "abc", "started": 0}'])
def test_what_is_no_note_says_nothing(own: Path, text: str) -> None:
    """Whatever stands in the file, the answer is that there is none."""
    own.write_text(text, encoding="utf-8")
    own.chmod(0o600)
    assert note_of(os.getpid()) is None


def test_a_note_that_others_could_have_written_is_not_believed(own: Path, tmp_path: Path) -> None:
    """It has to be the user's own file, for the user alone, and no link."""
    leave_note("runs.db", "abc")
    own.chmod(0o620)
    assert note_of(os.getpid()) is None
    own.chmod(0o600)
    assert note_of(os.getpid()) is not None
    own.rename(tmp_path / "note")
    own.symlink_to(tmp_path / "note")
    assert note_of(os.getpid()) is None


def test_old_notes_of_ended_processes_are_taken_away(own: Path) -> None:
    """That of a process which still runs stays, however old; they are looked for once an hour."""
    gone = folder() / f"{GONE}.record"
    old_s = own.parent.stat().st_mtime - KEPT_S - 60
    leave_note("runs.db", "abc")
    gone.write_text(json.dumps({"path": "/runs.db", "run": "abc", "started": 1}), encoding="utf-8")
    gone.chmod(0o600)
    assert note_of(GONE) == Note(Path("/runs.db"), "abc")
    for place in (own, gone):
        os.utime(place, (old_s, old_s))
    assert note_of(GONE) is None
    assert note_of(os.getpid()) is not None
    (folder() / "pruned").touch()
    leave_note("runs.db", "abc")
    assert gone.exists()
    os.utime(folder() / "pruned", (time.time() - LOOKED_THROUGH_S - 1,) * 2)
    os.utime(own, (old_s, old_s))
    leave_note("runs.db", "abc")
    assert not gone.exists()
    assert note_of(os.getpid()) is not None


def test_a_path_that_is_no_utf_8_leaves_nothing(own: Path) -> None:
    """Neither a note that says something else, nor half of one."""
    with pytest.raises(UnicodeEncodeError):
        leave_note("/caf\udce9/runs.db", "abc")
    assert not list(folder().glob(f"{own.stem}.*"))  # other processes leave theirs meanwhile
