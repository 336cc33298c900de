"""The command line in a process of its own, as a user would have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.environments import without_ours

TIMEOUT_S = 120


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spanloom", *arguments]


def environment(**variables: str) -> dict[str, str]:
    """Return an environment in which nothing is said of how it is to look; `variables` come on top."""
    plain = {
        name: value
        for name, value in without_ours().items()
        if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    }
    return plain | {"PYTHONIOENCODING": "utf-8", "TERM": "xterm"} | variables


def done(folder: Path, typed: list[str]) -> str:
    """Run what is typed in `folder`; it has to succeed. Return what it prints."""
    process = subprocess.run(
        typed,
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def spanloom(folder: Path, *arguments: str) -> str:
    """Run a command of spanloom's in `folder`, and return what it prints."""
    return done(folder, command(*arguments))
