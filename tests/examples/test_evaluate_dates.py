"""The example of an evaluation: the same as a script and as tests, and resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "evaluate_dates.py"


def run(folder: Path, *arguments: str) -> str:
    """Run Python in `folder` with nothing in the environment that changes what it does; return what it prints."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("SPANLOOM_", "PYTEST_"))
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=clean | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_second_run_of_the_script_asks_nothing(tmp_path: Path) -> None:
    """The results are the same, and come from the storage."""
    first, second = run(tmp_path, str(EXAMPLE)), run(tmp_path, str(EXAMPLE))
    assert first.splitlines() == [
        "exact: 7 rows, 0 failed, mean 0.8571",
        "  wrong: 2024/2/29",
        "asked: 7",
        "abstains: 7 rows, 0 failed, mean abstained 0.4286, mean wrongly 0.1429",
    ]
    assert second == first.replace("asked: 7", "asked: 0")


@pytest.mark.parametrize("arguments", [[], ["--concurrent"]])
def test_its_evaluations_are_tests(tmp_path: Path, arguments: list[str]) -> None:
    """The plugin collects what is called ``eval...``, and it runs with the same outcome."""
    plugins = ["-p", "pytest_spanloom.plugin", "-p", "no:cacheprovider"]
    (tmp_path / "pytest.ini").touch()
    output = run(tmp_path, "-m", "pytest", "-q", "-c", "pytest.ini", *plugins, *arguments, str(EXAMPLE))
    assert "eval_exact - 7 rows, 0 failed, mean 0.8571" in output
    assert "2 passed" in output
