"""The example under ``spanloom run``, killed half-way: for the tests of the whole story, here and in tests/browser."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.environments import without_ours

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fetch_and_count.py"
DOCUMENTS = 400
TIMEOUT_S = 120


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "spanloom", *arguments]


def environment() -> dict[str, str]:
    return without_ours() | {"PYTHONIOENCODING": "utf-8"}


def spanloom(folder: Path, *arguments: str) -> str:
    """Run a command in `folder`, and return what it prints."""
    done = subprocess.run(
        command(folder, *arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_example(folder: Path) -> list[str]:
    return command(
        folder,
        "run",
        str(EXAMPLE),
        "--documents",
        str(DOCUMENTS),
        "--workers",
        "20",
        "--checkpoint",
        "done.db",
    )


def batch_of(folder: Path) -> dict[str, Any]:
    """Return what `top` says of the batch that fetches; empty before it has begun."""
    found = json.loads(spanloom(folder, "top", "last", "--json"))["batches"]
    return next((batch for batch in found if batch["name"] == "fetch"), {})


def kill_half_way(folder: Path) -> None:
    """Run the example in `folder` and, when a third of the documents is there, kill it."""
    with subprocess.Popen(
        run_example(folder), cwd=folder, env=environment(), stdout=-3, stderr=-3
    ) as process:
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while not (folder / ".spanloom" / "runs.db").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            while batch_of(folder).get("ended", 0) < DOCUMENTS // 3:
                assert time.monotonic() < deadline
                assert process.poll() is None
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
