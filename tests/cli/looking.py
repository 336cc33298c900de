"""Real commands on real files: what tests of ``ls``, ``show`` and ``diff`` share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "endpoints.py"


def clean(**more: str) -> dict[str, str]:
    """Return the environment without what changes colours, widths or where the record is."""
    unwanted = ("SPANLOOM_", "OTEL_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONIOENCODING", "LC_", "LANG")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    return kept | {"PYTHONIOENCODING": "utf-8"} | more


def spanloom(*args: str | Path, code: int = 0, cwd: Path | None = None, **env: str) -> str:
    """Run ``python -m spanloom``; return what it printed. With `code` 1 or 2, what it said is wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "spanloom", *map(str, args)],
        cwd=cwd,
        env=clean(**env),
        capture_output=True,
        encoding=env.get("PYTHONIOENCODING", "utf-8"),
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if not code:
        assert done.stderr == ""
    return done.stdout or done.stderr


def as_json(*args: str | Path) -> Any:
    """Run a command with ``--json``; return what it printed."""
    return json.loads(spanloom(*args, "--json"))


def record(file: Path, *args: str, killed: bool = False) -> dict[str, float]:
    """Record a run of the pipeline; return the seconds that the calls of each endpoint took."""
    done = subprocess.run(
        [sys.executable, PROGRAM, file, *args],
        env=clean(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == (-9 if killed else 0), done.stderr
    return {} if killed else dict(json.loads(done.stdout))
