"""Nothing that is called dead moves again, and all that never moves again is called dead.

The random programs run in a process of their own: in this one, what the test runner holds could go on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = 60
LEAST_DEAD = 100


def test_what_is_dead_stays_dead_and_the_rest_moves() -> None:
    """In random programs, two looks in a row call dead only what never moves, and the last look all of that."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.diagnosis.fuzz", str(PROGRAMS)],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["moved"] == []
    assert found["missed"] == []
    assert found["dead"] >= LEAST_DEAD  # or it would mean nothing
