"""The pages of the findings: the program that shows a sickness has it, and its cure ends well."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.diagnosis.pages import TOLD_AT_ONCE, blocks, run_cure
from tests.diagnosis.watch.running import findings_of, run

AT_ONCE = 4
OPTIONS = {"UNKNOWN": ("--stall-after", "4")}
"""What `spanloom run` is given on the page."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[list[dict[str, Any]]]]:
    """What the program of each page answers, run as its reader would run it, and asked from outside."""
    folder = tmp_path_factory.mktemp("pages")

    def answer(code: str) -> list[dict[str, Any]]:
        path = folder / f"{code}.py"
        path.write_text(blocks(code)[0], encoding="utf-8")
        with run(path, folder, *OPTIONS.get(code, ())) as process:
            return findings_of(process.pid)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {code: pool.submit(answer, code) for code in TOLD_AT_ONCE}


@pytest.mark.slow
@pytest.mark.parametrize("code", TOLD_AT_ONCE)
def test_the_program_of_a_page_has_its_sickness(
    code: str, answers: dict[str, Future[list[dict[str, Any]]]]
) -> None:
    """The first thing that is said of it is the code of the page."""
    assert [found["code"] for found in answers[code].result()][:1] == [code]


@pytest.mark.parametrize("code", TOLD_AT_ONCE)
def test_the_cure_of_a_page_ends_well(code: str, tmp_path: Path) -> None:
    """With the change that the page shows, the program comes to its end, and nothing is found in it before."""
    assert run_cure(code, tmp_path) == (0, "")
