"""The pages of the findings that time tells: the program that shows a sickness has it, and its cure ends well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.diagnosis.history.judge import judge
from tests.diagnosis.pages import TOLD_BY_TIME, blocks, run_cure


@pytest.mark.slow
def test_the_program_of_each_page_has_its_sickness(tmp_path: Path) -> None:
    """Run as its reader would run it, it has the code of the page, first and alone."""
    expected = {tmp_path / f"{code}.py": code for code in TOLD_BY_TIME}
    for path, code in expected.items():
        path.write_text(blocks(code)[0], encoding="utf-8")
    judged = {path.stem: found for path, found in judge(expected).items()}
    assert {code: [one["code"] for one in found] for code, found in judged.items()} == {
        code: [code] for code in TOLD_BY_TIME
    }
    assert judged["SLOT_HOG"][0]["message"].startswith("The only slot of `slots` is held by jobs of `job` ")


@pytest.mark.parametrize("code", TOLD_BY_TIME)
def test_the_cure_of_a_page_ends_well(code: str, tmp_path: Path) -> None:
    """With the change that the page shows, the program comes to its end, and nothing is found in it before."""
    assert run_cure(code, tmp_path) == (0, "")
