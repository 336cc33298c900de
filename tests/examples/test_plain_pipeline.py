"""The plain pipeline: under ``spanloom run`` it prints what it prints, and its batches and jobs can be seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spanloom.store import StoreReader
from tests.environments import without_ours

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plain_pipeline.py"


def run(tmp_path: Path, *before: str) -> str:
    clean = without_ours()
    done = subprocess.run(
        [sys.executable, "-W", "error", *before, str(EXAMPLE)],
        env=clean | {"SPANLOOM_RECORD": str(tmp_path / "runs.db")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_it_does_the_same_and_shows_its_jobs(tmp_path: Path) -> None:
    """22 of 24 documents are digested, with and without spanloom; each is a job, and its digest lies under it."""
    expected = run(tmp_path)
    assert expected.startswith("22 digested, 2 failed\n")
    assert run(tmp_path, "-m", "spanloom", "run") == expected
    with StoreReader(tmp_path / "runs.db") as store:
        (recorded,) = store.runs()
        events = list(store.records(recorded))
    jobs = [event for event in events if event.type == "job" and event.name == "process"]
    digests = [event for event in events if event.type == "job" and event.name == "digest"]
    deadlines = [event for event in events if event.type == "deadline"]
    assert (len(jobs), len(digests), len(deadlines)) == (24, 22, 24)
    assert sorted(str(job.status) for job in jobs) == ["error"] * 2 + ["ok"] * 22
    by_id = {event.event_id: event for event in events}
    assert {by_id[event.parent_id].name for event in deadlines if event.parent_id} == {"process"}
    batches = [by_id[event.parent_id] for event in digests if event.parent_id]
    assert {by_id[batch.parent_id].name for batch in batches if batch.parent_id} == {"process"}
    queued = sorted(job.queue_ns or 0 for job in jobs)
    assert queued[3] < queued[-1]
