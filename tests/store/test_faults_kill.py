"""SIGKILL at any instant: what had ended is in the file, what was open is shown as interrupted, the file opens."""

from __future__ import annotations

import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from spanloom.exceptions import StoreNotFoundError
from spanloom.store import Record, Run, StoreReader
from tests.store.children import Killed, record_until_killed

KILLS = 100
"""Of each durability."""
AT_ONCE = 6
LONGEST_S = 1.0
FLUSH_NS = 100_000_000
MARGIN_NS = 400_000_000
"""What a drain thread may be late on a machine with more to do than two cores: and the making of the file."""
BEAT_NS = 500_000_000


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("durability", ["flush", "event"])
def test_a_kill_at_a_random_instant_loses_nothing_that_was_flushed(durability: str, tmp_path: Path) -> None:
    """Of 100 processes killed at random, all that was due is recorded, and what was open is interrupted."""
    seed = random.SystemRandom().randrange(1 << 32)
    rng = random.Random(seed)
    instants = [rng.uniform(0, LONGEST_S) for _ in range(KILLS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = list(
            pool.map(
                lambda number: record_until_killed(
                    tmp_path / f"{number}.db", durability, seed + number, instants[number]
                ),
                range(KILLS),
            )
        )
    due = open_now = 0
    for number, child in enumerate(killed):
        path = tmp_path / f"{number}.db"
        what = f"seed {seed}, kill {number} after {instants[number]:.3f} s"
        ended, interrupted = _check(path, child, durability, what)
        due += ended
        open_now += interrupted
    # Else nothing was tested.
    assert due > 20 * KILLS, due
    assert open_now > KILLS, open_now


def _check(path: Path, child: Killed, durability: str, what: str) -> tuple[int, int]:
    wait_ns = 0 if durability == "event" else FLUSH_NS + _margin_ns(child)
    due = {
        report.index: report.failed
        for report in child.reports
        if durability == "event" or report.monotonic_ns <= child.killed_ns - wait_ns
    }
    try:
        store = StoreReader(path)
    except StoreNotFoundError:
        assert not due, what
        return 0, 0
    with store:
        runs = store.runs()
        if not runs:
            assert not due, what
            return 0, 0
        (run,) = runs
        records = list(store.records(run))
        summary = store.summary(run)
    assert run.state == "interrupted", what
    assert run.dropped == 0, what
    ended = {
        record.job_index: record.status == "error"
        for record in records
        if record.type == "job" and record.end_ns is not None and record.name != "long"
    }
    assert {index: ended.get(index) for index in due} == due, what
    open_now = [record for record in records if record.end_ns is None]
    assert {record.status for record in open_now} <= {"interrupted"}, what
    assert summary.open == len(open_now), what
    _check_ages(run, open_now, child, what)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], what
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == [], what
    return len(due), len(open_now)


def _check_ages(run: Run, open_now: list[Record], child: Killed, what: str) -> None:
    """The job that never ends is there once it was old enough, with the age that it had, but for the last beat."""
    for record in open_now:
        assert 0 <= run.seen_ns - record.start_ns < 10e9, what
    if child.long_since_ns is None:
        return
    true_ns = child.killed_ns - child.long_since_ns
    margin_ns = _margin_ns(child)
    if true_ns < 2 * FLUSH_NS + margin_ns:
        return
    (long,) = [record for record in open_now if record.type == "job" and record.name == "long"]
    told_ns = run.seen_ns - long.start_ns
    assert true_ns - BEAT_NS - FLUSH_NS - margin_ns < told_ns < true_ns + margin_ns, (what, told_ns, true_ns)


def _margin_ns(child: Killed) -> int:
    """Return how late the drain may be: its thread sleeps, is woken and waits for the GIL several times in a round."""
    return MARGIN_NS + 4 * child.late_ns
