"""Which runs are kept: by number, age and size; and that the file shrinks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanloom import Checkpoint, async_map
from spanloom.store import Retention, StoreReader, retention
from spanloom.store.process import machine, process_start
from spanloom.store.retention import sweep
from spanloom.store.writer import connect
from tests.store.files import make_runs, record

HOUR = 3_600.0
NONE = {"max_runs": None, "max_age_s": None, "max_bytes": None}


def sweep_all(path: Path, keep: Retention) -> int:
    steps = 0
    with closing(connect(path, 5.0)) as connection:
        while sweep(connection, keep):
            steps += 1
    return steps


def kept(path: Path) -> list[str]:
    with StoreReader(path) as store:
        return [run.run_id for run in reversed(store.runs())]


def test_the_oldest_runs_go_when_there_are_too_many(tmp_path: Path) -> None:
    """`max_runs` keeps that many, the newest ones."""
    ids = make_runs(path := tmp_path / "runs.db", [5 * HOUR, 4 * HOUR, 3 * HOUR, 2 * HOUR])
    sweep_all(path, Retention(max_runs=2))
    assert kept(path) == ids[2:]


def test_runs_go_when_they_are_too_old(tmp_path: Path) -> None:
    """`max_age_s` counts from when a run was last heard of."""
    ids = make_runs(path := tmp_path / "runs.db", [5 * HOUR, 4 * HOUR, 3 * HOUR, 2 * HOUR])
    sweep_all(path, Retention(max_age_s=3.5 * HOUR))
    assert kept(path) == ids[2:]


def test_the_oldest_runs_go_until_the_file_is_small_enough_and_it_shrinks(tmp_path: Path) -> None:
    """`max_bytes` is the size of the file itself: what a run leaves behind is given back."""
    ids = make_runs(path := tmp_path / "runs.db", [5 * HOUR, 4 * HOUR, 3 * HOUR], jobs=12_000)
    before = path.stat().st_size
    bound = before * 2 // 3 + 100_000
    steps = sweep_all(path, Retention(max_bytes=bound))
    assert kept(path) == ids[1:]
    assert path.stat().st_size <= bound < before
    assert steps > 12_000 / retention.SLICE  # piece by piece, and others may write in between
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*), min(run) FROM event").fetchone() == (24_000, 2)
        for table in ("label", "trace"):
            assert connection.execute(f"SELECT count(DISTINCT run) FROM {table}").fetchone() == (2,)


def test_a_run_that_is_running_never_goes(tmp_path: Path) -> None:
    """Neither number nor age nor size removes a run whose process is there, or was heard of elsewhere of late."""
    pid = os.getpid()
    mine = {"pid": pid, "machine": machine(), "process": process_start(pid), "ended_wall_ns": None}
    make_runs(path := tmp_path / "here.db", [5 * HOUR, 4 * HOUR], **mine)
    sweep_all(path, Retention(max_runs=1, max_age_s=1, max_bytes=1))
    assert len(kept(path)) == 2
    ids = make_runs(path := tmp_path / "elsewhere.db", [48 * HOUR, 5 * HOUR], ended_wall_ns=None)
    sweep_all(path, Retention(max_runs=1, max_age_s=1, max_bytes=1))
    assert kept(path) == ids[1:]


def test_a_run_whose_process_is_gone_goes_as_an_ended_one(tmp_path: Path) -> None:
    """A run that was killed has no end in the file, and is not kept for that."""
    dead = {"pid": os.getpid(), "machine": machine(), "process": "1", "ended_wall_ns": None}
    ids = make_runs(path := tmp_path / "runs.db", [5 * HOUR, 4 * HOUR], **dead)
    sweep_all(path, Retention(max_runs=1))
    assert kept(path) == ids[1:]


def test_a_run_that_is_on_its_way_out_is_seen_by_nobody(tmp_path: Path) -> None:
    """From the first step on a reader does not list it; whoever comes next goes on where the last one stopped."""
    ids = make_runs(path := tmp_path / "runs.db", [5 * HOUR, 4 * HOUR], jobs=retention.SLICE + 10)
    keep = Retention(**NONE | {"max_runs": 1})
    with closing(connect(path, 5.0)) as connection:
        assert sweep(connection, keep)
        assert kept(path) == ids[1:]
        assert sweep(connection, keep)
        left = connection.execute("SELECT count(*) FROM event WHERE run = 1").fetchone()[0]
        assert 0 < left < retention.SLICE
    sweep_all(path, Retention(**NONE))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM event WHERE run = 1").fetchone() == (0,)


def test_the_handler_keeps_to_it(tmp_path: Path) -> None:
    """A run of which nothing is open removes the surplus at its end at the latest."""
    make_runs(path := tmp_path / "runs.db", [5 * HOUR, 4 * HOUR, 3 * HOUR])
    mine = record(path, "a", keep=Retention(max_runs=2))
    assert kept(path)[-1] == mine
    assert len(kept(path)) == 2
    record(path, "a", keep=None)
    assert len(kept(path)) == 3


def test_the_run_that_has_just_ended_stays_however_large(tmp_path: Path) -> None:
    """What was recorded a moment ago is there to be looked at; the next run takes it away."""
    keep = Retention(max_bytes=100_000)
    names = [f"step {number % 7}" for number in range(5_000)]
    record(path := tmp_path / "runs.db", "small", keep=keep)
    first = record(path, *names, keep=keep)
    assert kept(path) == [first]
    assert path.stat().st_size > 100_000
    second = record(path, "small", keep=keep)
    assert kept(path) == [second]


def test_no_run_goes_because_of_what_a_checkpoint_keeps(tmp_path: Path) -> None:
    """Results in the same file are not counted: removing runs would not make them fewer."""

    async def work(item: int) -> str:
        return "x" * 20_000

    path = tmp_path / "runs.db"
    asyncio.run(async_map(work, range(50), checkpoint=Checkpoint(path)))
    assert path.stat().st_size > 1_000_000
    ids = [record(path, "a", keep=Retention(max_bytes=500_000)) for _ in range(3)]
    assert kept(path) == ids
    ids = make_runs(path, [5 * HOUR], jobs=12_000)
    sweep_all(path, Retention(max_bytes=500_000))
    assert ids[0] not in kept(path)


@pytest.mark.parametrize("bound", ["max_runs", "max_age_s", "max_bytes"])
def test_bounds_below_one_are_refused(bound: str) -> None:
    """A record that keeps nothing is not one; ``None`` is no bound."""
    with pytest.raises(ValueError, match=f"{bound} must be at least 1"):
        Retention(**{bound: 0})
    assert getattr(Retention(**{bound: None}), bound) is None
