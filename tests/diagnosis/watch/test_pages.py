"""The pages of the findings: the program that shows a sickness has it, and its cure ends well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.diagnosis.pages import blocks
from tests.diagnosis.watch.running import findings_of, run

OWN = (
    "BUSY_SPIN",
    "LOOP_BLOCKED",
    "PIPE_DEADLOCK",
    "SYNC_WAIT_ON_OWN_LOOP",
    "THREAD_LOCK_ACROSS_AWAIT",
    "THREAD_POOL_EXHAUSTED",
)


@pytest.mark.slow
@pytest.mark.parametrize("code", OWN)
def test_the_program_of_a_page_has_its_sickness(code: str, tmp_path: Path) -> None:
    """Run as its reader would run it, and asked from outside, it has the code of the page."""
    path = tmp_path / "shown.py"
    path.write_text(blocks(code)[0], encoding="utf-8")
    with run(path, tmp_path) as process:
        assert [found["code"] for found in findings_of(process.pid)][:1] == [code]


@pytest.mark.parametrize("code", OWN)
def test_the_cure_of_a_page_ends_well(code: str, tmp_path: Path) -> None:
    """With the change that the page shows, the program comes to its end."""
    done = subprocess.run(
        [sys.executable, "-c", blocks(code)[1]], timeout=60, check=False, capture_output=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
