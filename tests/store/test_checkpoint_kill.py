"""Batches with a checkpoint are killed at random instants, and go on where they were."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("killed_batch.py")
JOBS, LIMIT = 1000, 16
KILLS = 100
AT_ONCE = 4


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill_and_does_not_run_again(tmp_path: Path) -> None:
    """After SIGKILL at any instant, a second run does the rest: nothing acknowledged is lost, or run twice."""
    seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(1 << 31))
    sys.stdout.write(f"seed {seed}; KILL_SEED={seed} kills at the same instants\n")  # shown if it fails
    programs = []
    for part in range(AT_ONCE):
        (tmp_path / f"{part}").mkdir()
        programs.append(
            subprocess.Popen(
                [
                    sys.executable,
                    str(PROGRAM),
                    f"{seed + part}",
                    f"{KILLS // AT_ONCE}",
                    str(tmp_path / f"{part}"),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
        )
    found = []
    for program in programs:
        out, err = program.communicate()
        assert (program.returncode, err) == (0, "")
        found += [json.loads(line) for line in out.splitlines()]
    assert len(found) == KILLS
    expected = [{"number": number, "square": number * number} for number in range(JOBS)]
    for kill in found:
        acknowledged, first, second = set(kill["acknowledged"]), kill["first"], kill["second"]
        assert kill["code"] == 0
        assert kill["results"] == expected
        assert len(set(first)) == len(first)  # none ran twice in one run
        assert len(set(second)) == len(second)
        assert acknowledged <= set(first)
        assert not acknowledged & set(second)
        in_flight = len(first) - len(acknowledged)
        assert in_flight <= LIMIT
        assert len(first) + len(second) <= JOBS + in_flight
        assert set(first) | set(second) == set(range(JOBS))
        assert sorted(kill["ended"]) == sorted(second)
    # The instants were spread over the run, and some of them did interrupt jobs.
    assert sum(0 < len(kill["acknowledged"]) < JOBS for kill in found) > KILLS / 2
    assert any(len(kill["first"]) + len(kill["second"]) > JOBS for kill in found)
