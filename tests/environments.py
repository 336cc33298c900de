"""Environments for programs of a test's own: with nothing in them that changes what spanloom does."""

from __future__ import annotations

import os
import subprocess
import sys

OURS = ("SPANLOOM_", "OTEL_")
"""How the variables begin that spanloom, and what it exports by, may read."""


def without_ours() -> dict[str, str]:
    """Return the variables of this process, without those that spanloom may read."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def run_program(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a Python of its own, warnings being errors; it has to succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=without_ours() | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_PROXY": "127.0.0.1"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
