"""The example under ``spanloom run``, killed half-way: for the tests of the whole story, here and in tests/browser."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from spanloom.events.types import EventType
from spanloom.exceptions import StoreError
from spanloom.store.reader import StoreReader
from tests.cli.commands import TIMEOUT_S, command, environment

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


def fetched(folder: Path) -> int:
    """Return how many documents the record has, which is asked by no process of its own: that takes too long."""
    try:
        with StoreReader(folder / ".spanloom" / "runs.db") as store:
            jobs = store.records(store.find("last"), types=[EventType.JOB], is_open=False)
            return sum(job.name == "fetch" for job in jobs)
    except StoreError:  # it has not begun
        return 0


def kill_half_way(folder: Path) -> None:
    """Run the example in `folder` and, when a third of the documents is there, kill it."""
    with subprocess.Popen(run_example(), cwd=folder, env=environment(), stdout=-3, stderr=-3) as process:
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while fetched(folder) < DOCUMENTS // 3:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
