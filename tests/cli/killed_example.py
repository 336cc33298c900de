"""The example under ``spanloom run``, killed half-way: for the tests of the whole story, here and in tests/browser."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.cli.commands import TIMEOUT_S, command, environment, spanloom

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fetch_and_count.py"
DOCUMENTS = 400


def run_example() -> list[str]:
    return command(
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
    with subprocess.Popen(run_example(), cwd=folder, env=environment(), stdout=-3, stderr=-3) as process:
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
