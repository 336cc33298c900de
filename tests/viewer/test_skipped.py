"""Jobs that a checkpoint had the results of: they are counted, and no time of theirs is taken for that of a job."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanloom import CallbackManager, Checkpoint, async_map, use_callback_manager
from spanloom.handlers.record import RecordHandler
from spanloom.store.model import Run
from spanloom.store.reader import StoreReader
from spanloom.viewer.analysis import Analysis, analyse
from spanloom.viewer.comparison import compare
from spanloom.viewer.plain import plain_analysis
from spanloom.viewer.show import show_lines
from spanloom.viewer.top import look, top_lines
from tests.viewer.runs import texts

TOOK_S = 0.02


async def fetch(number: int) -> int:
    await asyncio.sleep(TOOK_S)
    return number


def record(file: Path, checkpoint: Path, jobs: int) -> Run:
    """Record a run of so many jobs, of which those that are in the checkpoint are skipped."""

    async def work() -> None:
        await async_map(fetch, range(jobs), limit=4, checkpoint=Checkpoint(checkpoint), desc="load")

    with CallbackManager([RecordHandler(file)]) as manager, use_callback_manager(manager):
        asyncio.run(work())
    with StoreReader(file) as store:
        return store.find("last")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: 60 jobs; then 100, those 60 skipped; and then all of these skipped."""
    directory = tmp_path_factory.mktemp("runs")
    file, checkpoint = directory / "runs.db", directory / "done.db"
    for jobs in (60, 100, 100):
        record(file, checkpoint, jobs)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        # They slept all the same, but on a busy machine not all of them woke up after the same time.
        connection.execute(
            "UPDATE event SET end_ns = start_ns + ? + job_index % 5 * 10000 WHERE status = 'ok' "
            "AND label IN (SELECT id FROM label WHERE run = event.run AND type = 'job')",
            (int(TOOK_S * 1e9),),
        )
    return file


@pytest.fixture(scope="module")
def analyses(file: Path) -> list[Analysis]:
    """What is found in them, the first one first."""
    with StoreReader(file) as store:
        return [analyse(run, store.records(run)) for run in reversed(store.runs())]


def test_times_are_those_of_the_jobs_that_ran(analyses: list[Analysis]) -> None:
    """Durations, waits, attempts and the variance are of the 40 jobs; 60 are counted as skipped, in the tree too."""
    resumed = analyses[1]
    (stats,) = (stats for stats in resumed.names if stats.type == "job")
    assert (stats.count, stats.ran, stats.skipped, stats.ok) == (100, 40, 60, 40)
    assert stats.durations.count == 40
    assert stats.durations.minimum >= TOOK_S * 1e9 * 0.9
    (batch,) = resumed.tree
    (jobs,) = batch.below.values()
    assert (jobs.count, jobs.skipped) == (100, 60)
    assert jobs.durations.minimum >= TOOK_S * 1e9 * 0.9
    (named,) = (name for name in plain_analysis(resumed)["names"] if name["type"] == "job")
    assert (named["attempts"], named["skipped"]) == (40, 60)
    assert named["p50_ns"] >= TOOK_S * 1e9 * 0.9
    page = texts(show_lines(resumed))
    assert "jobs      100: 40 ok, 60 skipped" in page
    tree_head = next(line for line in page.splitlines() if line.startswith("tree "))
    assert tree_head.split()[-1] == "skipped"


def test_a_run_that_skipped_everything_has_no_times(analyses: list[Analysis]) -> None:
    """Nothing ran: no job is among the slowest, none was in flight, and the page is shown all the same."""
    nothing = analyses[2]
    assert nothing.slowest == []
    assert nothing.concurrency is None
    assert "jobs      100: 100 skipped" in texts(show_lines(nothing))


def test_a_job_is_not_faster_because_others_were_skipped(analyses: list[Analysis]) -> None:
    """There were fewer of them, that is what made the run shorter; in one that skipped all there was none."""
    first, resumed, nothing = analyses
    for other, count in ((resumed, 40), (nothing, 0)):
        comparison = compare(first, other)
        (change,) = (change for change in comparison.changes if change.type == "job")
        assert change.count == (60, count)
        assert change.speed in {"same", "unknown"}
        assert abs(change.slower_ns) < 0.1 * abs(change.more_ns)


def test_the_rate_is_that_of_the_jobs_that_ran(file: Path) -> None:
    """`top` would take what is left for a matter of no time: skipped jobs are done at once, the others are not."""
    with StoreReader(file) as store:
        run = store.runs()[1]
        batches = list(store.records(run, types=["batch"]))
        recent = store.jobs_ended_since(run, 0)
        now = look(run, run.seen_ns, store.summary(run), batches, [], recent)
    assert recent == {batches[0].event_id: 40}
    (batch,) = now.batches
    assert (batch.ended, batch.skipped) == (100, 60)
    assert batches[0].end_ns is not None
    lasted_s = (batches[0].end_ns - batches[0].start_ns) / 1e9
    assert batch.per_second == pytest.approx(40 / lasted_s)
    assert "skipped" in texts(top_lines(now))
