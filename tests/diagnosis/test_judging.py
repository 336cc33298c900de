"""The examiner of the diagnosis reads headers, hides them, and judges answers as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.diagnosis.judging import Program, Verdict, blanked, clean_environment, read, read_all, says, table

PROGRAMS = Path(__file__).parent / "judged"
SOURCE = """\
# expect: LOCK_CYCLE|AWAIT_CYCLE
# names: ada|bob, ring
# line: 8|10
# when: hang
# They wait for each other,
# in a ring.
import asyncio  # the library
asyncio
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    file = tmp_path / "ring.py"
    file.write_text(SOURCE)
    return read(file)


def verdict(program: Program, *findings: dict[str, Any], alive: bool = True, trouble: str = "") -> Verdict:
    return Verdict(program, list(findings), alive, 0.1, trouble)


def test_a_header_is_read(program: Program) -> None:
    """Alternatives, several names, lines and a sentence over two lines."""
    assert program.codes == ("LOCK_CYCLE", "AWAIT_CYCLE")
    assert program.names == (("ada", "bob"), ("ring",))
    assert program.lines == (8, 10)
    assert (program.when, program.sentence) == ("hang", "They wait for each other, in a ring.")
    assert not program.healthy


def test_the_copy_that_runs_has_no_header_and_the_same_lines(program: Program) -> None:
    """Nothing of the header is left to read, and the code is where it was."""
    assert blanked(program.path).splitlines() == [""] * 6 + SOURCE.splitlines()[6:]


@pytest.mark.parametrize(
    ("message", "word", "there"),
    [
        ("task Ada waits", "ada", True),
        ("Cache._lock is held", "_lock", True),
        ("Cache._lock is held", "lock", False),
        ("write-rows waits", "write", True),
        ("write_rows waits", "write", False),
        ("fetch-37", "fetch-3", False),
    ],
)
def test_a_name_is_a_whole_word(message: str, word: str, there: bool) -> None:
    """A name within a longer one does not count, and case does not matter."""
    assert says(message, word) is there


def test_a_right_answer_is_right(program: Program) -> None:
    """One of the codes, one of each group of names, and a line that is two off at most."""
    finding = {"code": "AWAIT_CYCLE", "message": "Bob waits in a RING", "location": "ring.py:12"}
    found = verdict(program, finding, {"code": "LOOP_BLOCKED"})
    assert (found.right, found.line_right, found.explain()) == (True, True, "")


def test_a_wrong_answer_is_wrong(program: Program) -> None:
    """A code that comes second, a name that is missing, a line that is three off, and no answer at all."""
    right = {"code": "LOCK_CYCLE", "message": "ada, ring", "location": "ring.py:9"}
    assert not verdict(program, {"code": "LOOP_BLOCKED"}, right).code_right
    assert verdict(program, right | {"message": "ada"}).missing == ("ring",)
    assert not verdict(program, right | {"message": "ada"}).right
    assert verdict(program, right | {"location": "ring.py:13"}).line_right is False
    assert verdict(program, right | {"location": None}).line_right is False
    assert not verdict(program, right, trouble="no answer").right
    assert not verdict(program).right


def test_a_healthy_program_has_no_finding_and_still_runs(tmp_path: Path) -> None:
    """An empty list is right only as long as there is something to look at."""
    file = tmp_path / "fine.py"
    file.write_text("# expect: OK\n# names: -\n# line: -\n# when: end\n# Fine.\npass\n")
    program = read(file)
    assert verdict(program).right
    assert not verdict(program, {"code": "LOCK_CYCLE"}).right
    assert not verdict(program, alive=False).right
    assert "healthy: 1 of 2 without a finding" in table([verdict(program), verdict(program, {"code": "X"})])


def test_what_runs_sees_nothing_of_the_examiner(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable that changes what is recorded or how asyncio behaves reaches a program."""
    monkeypatch.setenv("SPANLOOM_RECORD", "elsewhere.db")
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    assert not {"SPANLOOM_RECORD", "PYTHONASYNCIODEBUG"} & set(clean_environment())


def test_the_programs_cover_every_kind_of_sickness_twice() -> None:
    """There are healthy ones in plenty, and no code is judged by one shape alone."""
    programs = read_all([PROGRAMS])
    sick = [program for program in programs if not program.healthy]
    assert len(programs) - len(sick) >= 24
    codes = [code for program in sick for code in program.codes]
    assert len(set(codes)) == 27
    assert min(map(codes.count, codes)) == 2


@pytest.mark.parametrize("program", read_all([PROGRAMS]), ids=lambda program: program.path.stem)
def test_a_header_points_at_code(program: Program) -> None:
    """The lines are lines of code below the header, and only the healthy have none."""
    code = program.path.read_text(encoding="utf-8").splitlines()
    for line in program.lines:
        assert code[line - 1].strip(" )]}")
        assert not code[line - 1].startswith("#")
    assert program.when in {"hang", "slow", "end"}
    assert program.sentence.endswith(".")
    assert program.healthy == (not program.lines)
