"""The example of a batch that hangs, run as its first lines say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "stuck_orders.py"
SPANLOOM = [sys.executable, "-m", "spanloom"]
SAID = ("LOCK_CYCLE", "fulfil[0]", "fulfil[3]", "Article.lock", "Take the locks in the same order")
TIMEOUT_S = 60


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=TIMEOUT_S, check=False)
    return done.stdout + done.stderr


def test_it_is_told_why_it_hangs() -> None:
    """It asks from inside, is told the two orders and the lock, and gives up."""
    text = said(sys.executable, str(EXAMPLE), "--ask")
    assert all(word in text for word in SAID), text


@pytest.mark.slow
def test_the_reason_is_said_and_recorded(tmp_path: Path) -> None:
    """It is logged while the batch hangs, and `spanloom why last` has it after Ctrl-C."""
    record = ["--file", str(tmp_path / "runs.db")]
    process = subprocess.Popen(
        [*SPANLOOM, "run", *record, "--stall-after", "1", str(EXAMPLE)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("SPANLOOM_")},
    )
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    assert all(word in line for word in ("batch orders has stood still", *SAID[1:])), line
    time.sleep(1)  # the record is written ten times a second
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -signal.SIGINT  # which a shell calls 130
    text = said(*SPANLOOM, "why", "last", *record)
    assert all(word in text for word in SAID), text
