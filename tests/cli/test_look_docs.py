"""What the how-to guides on looking at runs type into a terminal does what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.looking import as_json, clean, spanloom

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(r"^\$ spanloom (?P<command>.*)\n(?P<output>(?:.*\n)*?)^```$", re.MULTILINE)
TITLES = (
    "Run ",
    "Jobs at once",
    "tree ",
    "By name",
    "Errors",
    "Slowest jobs",
    "Critical path",
    "What ",
    "A ",
    "B ",
)
"""How the lines begin that are there whatever the numbers are."""


@pytest.mark.parametrize(("page", "commands"), [("look-at-a-run", 3), ("compare-two-runs", 2)])
def test_the_commands_of_a_page_work_on_the_runs_that_it_records(
    page: str, commands: int, tmp_path: Path
) -> None:
    """Each command is run where the page's program was; the sections that the page shows are in what it prints."""
    path = ROOT / "docs" / "how-to" / f"{page}.md"
    runner = [sys.executable, str(ROOT / "tests" / "docs_page.py"), str(path)]
    subprocess.run(runner, cwd=tmp_path, env=clean(), check=True, capture_output=True, timeout=60)
    file = tmp_path / ".spanloom" / "runs.db"
    for name in ("before.db", "after.db"):
        (tmp_path / name).write_bytes(file.read_bytes())
    first = as_json("ls", "--file", file)["runs"][-1]["run_id"]
    found = list(SHOWN.finditer(path.read_text(encoding="utf-8")))
    assert len(found) == commands
    for match in found:
        args = [first if arg == "8501" else arg for arg in match["command"].split()]
        printed = spanloom(*args, cwd=tmp_path).splitlines()
        for line in match["output"].splitlines():
            title = next((title for title in TITLES if line.startswith(title)), None)
            if title is not None:
                assert any(other.startswith(title) for other in printed), line
