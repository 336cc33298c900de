"""Which runs are kept: by number, age and size; and that the file shrinks."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from spanloom import CallbackManager, Checkpoint, async_map, use_callback_manager
from spanloom.handlers.record import RecordHandler
from spanloom.store import Retention, StoreReader, retention
from spanloom.store.connection import connect
from spanloom.store.process import machine, process_start
from spanloom.store.retention import sweep
from tests.store.files import make_runs, read, record

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
    """What was recorded a moment ago is there to be looked at, as far as it fits; the next run takes it away."""
    keep = Retention(max_bytes=100_000)
    names = [f"step {number % 7}" for number in range(5_000)]
    record(path := tmp_path / "runs.db", "small", keep=keep)
    first = record(path, *names, keep=keep)
    assert kept(path) == [first]
    run, records = read(path)
    assert len(records) < 5_000
    assert len(records) + run.thinned == run.produced == 5_000
    second = record(path, "small", *[f"long name {number}" * 40 for number in range(200)], keep=keep)
    assert kept(path) == [second]


@pytest.mark.slow
async def test_a_run_that_is_larger_than_the_file_may_be_keeps_what_failed_and_its_totals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What went well gives way while it runs, is counted, and that is said once; what failed is all there."""
    path, cap, count = tmp_path / "runs.db", 1_000_000, 80_000
    largest = 0

    async def work(number: int) -> None:
        nonlocal largest
        if not number % 100:
            largest = max(largest, path.stat().st_size if path.exists() else 0)
            await asyncio.sleep(0.002)  # the thread that writes has its turn
            raise ValueError(f"number {number}")
        await asyncio.sleep(0)

    manager = CallbackManager([RecordHandler(path, keep=Retention(max_bytes=cap))])
    with use_callback_manager(manager):
        await async_map(work, range(count), limit=16, on_error="skip", desc="large")
    await manager.aclose(60)
    with StoreReader(path) as store:
        run = store.find("last")
        summary = store.summary(run)
        records = list(store.records(run))
    assert (summary.events, summary.jobs, summary.failed, summary.open) == (count + 1, count, count // 100, 0)
    assert (run.produced, run.dropped) == (count + 1, 0)
    assert run.thinned > count // 2
    assert len(records) + run.thinned == count + 1
    assert {found.job_index for found in records if found.status == "error"} == set(range(0, count, 100))
    (batch,) = [found for found in records if found.type == "batch"]
    assert batch.counts is not None
    assert (batch.counts.started, batch.counts.failed) == (count, count // 100)
    with closing(sqlite3.connect(path)) as connection:
        (totals,) = connection.execute(
            "SELECT label.type, label.name, thinned.status, thinned.events, thinned.batch_id, "
            "thinned.duration_ns >= thinned.longest_ns AND thinned.longest_ns > 0 AND thinned.last_ns > 0 "
            "FROM thinned JOIN label ON label.run = thinned.run AND label.id = thinned.label"
        ).fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert totals[:4] == ("job", "work", "ok", run.thinned)
    assert totals[4] % (1 << 64) == batch.event_id
    assert totals[5] == 1
    assert (
        largest < 4 * cap
    )  # it takes a few rounds of lists until it is noticed; all of it would take 5.6 MB
    assert path.stat().st_size < 1.5 * cap
    assert [entry.getMessage().count("leaves it") for entry in caplog.records] == [1]


def test_what_cannot_give_way_stays_however_large(tmp_path: Path) -> None:
    """Of a run in which everything fails nothing is removed; looking for what could be does not go on and on."""
    path = tmp_path / "runs.db"
    manager = CallbackManager([handler := RecordHandler(path, keep=Retention(max_bytes=50_000))])
    for number in range(3_000):
        with suppress(ValueError), manager.event(name=f"step {number % 7}"):
            raise ValueError
    assert manager.flush()
    deadline = time.monotonic() + 60
    while handler._writer.untidy:
        assert time.monotonic() < deadline
        handler.on_tick()
    manager.close()
    run, records = read(path)
    assert (len(records), run.thinned) == (3_000, 0)
    assert path.stat().st_size > 50_000


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
    with pytest.raises(ValueError, match=rf"{bound} must be at least 1, or None for no bound \(got nan\)"):
        Retention(**{bound: math.nan})
    for wrong in ("200", True):
        with pytest.raises(TypeError, match=f"{bound} must be a number \\(got {wrong!r}"):
            Retention(**{bound: wrong})  # type: ignore[arg-type]  # that is what is tested
    assert getattr(Retention(**{bound: None}), bound) is None
