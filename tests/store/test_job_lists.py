"""Jobs that went well: in lists in the file, each of them there once, in its place, with what is its own."""

from __future__ import annotations

import random
import sqlite3
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from spanloom.events.counts import BatchCounts
from spanloom.events.event import Event, JobDetail, JobEvent, JobFamily, ScopeEvent
from spanloom.events.ids import base_of, new_event_id
from spanloom.events.trace import Trace
from spanloom.exceptions import StoreCorruptError
from spanloom.store import Record, Retention, StoreReader, job_lists, reader, schema
from spanloom.store.connection import connect
from spanloom.store.job_lists import MAX_LISTED, MIN_LISTED, SPAN_NS
from spanloom.store.job_schema import MAX_INDEX
from spanloom.store.origin import Origin
from spanloom.store.retention import sweep
from spanloom.store.thinning import Thinning
from spanloom.store.writer import RunWriter
from tests.store.files import change, make_runs, read

SECOND = 1_000_000_000


class Run:
    """A run whose times are made up: all count from its start.

    Args:
        path: The file.
        keep: As of a `RunWriter`.
    """

    def __init__(self, path: Path, keep: Retention | None = None) -> None:
        self.path = path
        self.origin = Origin("made")
        self.writer = RunWriter(
            path, self.origin, payloads=False, deep=lambda: False, account=lambda: (0, 0), keep=keep
        )

    def batch(self, *, base_id: int | None = None, ready_ns: int | None = 0) -> JobFamily:
        trace = Trace("batch", batch_id := new_event_id())
        ready_ns = None if ready_ns is None else self.origin.began_ns + ready_ns
        return JobFamily(batch_id, trace, "work", base_id or new_event_id(), ready_ns, BatchCounts(None))

    def job(
        self, batch: JobFamily, index: int, start_ns: int, end_ns: int, detail: JobDetail | None = None
    ) -> JobEvent:
        began = self.origin.began_ns
        return JobEvent(batch, index, began + start_ns, began + end_ns, detail)

    def step(self, at_ns: int) -> ScopeEvent:
        start_ns = self.origin.began_ns + at_ns
        return ScopeEvent("step", "s", new_event_id(), None, Trace("s", 5), start_ns, end_ns=start_ns + 1)

    def write(self, *parts: Sequence[Event], ended: bool = True) -> None:
        """Write each part in a transaction of its own."""
        for at, part in enumerate(parts, 1):
            self.writer.rows.take(part)
            assert self.writer.write(1.0, ended=ended and at == len(parts))

    def write_open(self, jobs: Sequence[Event]) -> None:
        self.writer.rows.take_open(jobs)
        assert self.writer.write(1.0)

    def close(self) -> None:
        self.writer.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path / "runs.db")
    yield made
    made.close()


def expected(run: Run, events: Sequence[Event]) -> list[tuple[object, ...]]:
    found = [
        (
            event.start_ns - run.origin.began_ns,
            event.event_id,
            event.parent_id,
            event.batch_id,
            event.job_index,
            (event.end_ns or 0) - run.origin.began_ns,
            event.status,
            event.queue_ns,
            event.name,
            event.trace_id,
        )
        for event in events
    ]
    return sorted(found, key=_place)


def _place(row: tuple[object, ...]) -> tuple[object, int]:
    start_ns, event_id = row[:2]
    assert isinstance(event_id, int)
    return start_ns, event_id - (1 << 64 if event_id >= 1 << 63 else 0)


def as_expected(records: Sequence[Record]) -> list[tuple[object, ...]]:
    return [
        (
            found.start_ns,
            found.event_id,
            found.parent_id,
            found.batch_id,
            found.job_index,
            found.end_ns,
            found.status,
            found.queue_ns,
            found.name,
            found.trace_id,
        )
        for found in records
    ]


def numbers(path: Path, statement: str) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(statement)]


@pytest.mark.parametrize("count", [1, MIN_LISTED - 1, MIN_LISTED, MAX_LISTED, MAX_LISTED + 1, 10_000])
@pytest.mark.parametrize("ready_ns", [0, -7])
def test_each_job_is_there_once_as_it_was(run: Run, count: int, ready_ns: int) -> None:
    """Few and many, of all ages and in the order of their ends: readers find each with what is its own, by start."""
    chance = random.Random(count)
    batch = run.batch(ready_ns=ready_ns)
    jobs = [
        run.job(batch, index, start := 50_000 * index, start + int(chance.expovariate(3) * SECOND))
        for index in range(count)
    ]
    jobs.sort(key=lambda job: job.end_ns or 0)
    run.write(jobs[: count // 3], jobs[count // 3 :])
    assert as_expected(read(run.path)[1]) == expected(run, jobs)
    assert as_expected(read(run.path, types=["job"], is_open=False)[1]) == expected(run, jobs)
    assert read(run.path, types=["batch"])[1] == read(run.path, is_open=True)[1] == []
    sizes = numbers(run.path, "SELECT count FROM job_list")
    assert all(MIN_LISTED <= size <= MAX_LISTED for size in sizes)
    if count >= 3 * MIN_LISTED:
        assert sum(sizes) > 0.9 * count


@pytest.mark.parametrize("base_id", [1, (1 << 64) - 1, 1 << 63, (1 << 63) - 1, base_of(0, 300), 77])
@pytest.mark.parametrize("first", [0, 10**6, MAX_INDEX - 299, MAX_INDEX - 298])
def test_the_views_know_the_ids_of_jobs_in_lists(run: Run, base_id: int, first: int) -> None:
    """Wherever the ids of a batch begin, a database that knows 64 bits only finds those that the events had."""
    batch = run.batch(base_id=base_id, ready_ns=10)
    jobs = [run.job(batch, first + at, 1_000 * at, 1_000 * at + 500) for at in range(300)]
    run.write(jobs)
    with closing(sqlite3.connect(run.path)) as connection:
        found = connection.execute(
            "SELECT CAST(start_ms * 1e6 + 0.5 AS INTEGER), event_id, parent_id, trace_id, name, type, status, batch, "
            "job_index, duration_ms, queue_ms, busy_ms, attempt, is_point, error_type, payload FROM jobs ORDER BY 9"
        ).fetchall()
    common = f"{batch.batch_id:016x}", f"{batch.trace.trace_id:032x}", "work", "job", "ok", None
    nothing = None, None, 0, None, None
    assert found == [
        (1_000 * at, f"{job.event_id:016x}", *common, job.index, 0.0005, (1_000 * at - 10) / 1e6, *nothing)
        for at, job in enumerate(jobs)
    ]
    assert as_expected(read(run.path)[1]) == expected(run, jobs)


def test_jobs_of_many_batches_lie_among_other_events(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few are read at once: lists of some batches, failures and steps come in the order of their start."""
    chance = random.Random(3)
    batches = [run.batch(), run.batch(ready_ns=None), run.batch()]
    events: list[Event] = []
    for index in range(6_000):
        start = 1_000 * (index // 2)
        end = start + chance.choice([500, 90_000, 2_000_000])
        detail = JobDetail("error") if chance.random() < 0.01 else None
        events.append(
            run.job(chance.choice(batches[:2] if index < 3_000 else batches), index, start, end, detail)
        )
    events += (run.step(chance.randrange(3_000_000)) for _ in range(50))
    events += (run.step(10_000_000 + at) for at in range(5))
    chance.shuffle(events)
    run.write(events[:2_000], events[2_000:4_000], events[4_000:])
    assert len(numbers(run.path, "SELECT id FROM job_list")) >= 7
    for chunk in (7, 500, 100_000):
        monkeypatch.setattr(reader, "CHUNK", chunk)
        assert as_expected(read(run.path)[1]) == expected(run, events)
        (_, jobs), (_, steps) = read(run.path, types=["job"]), read(run.path, types=["step"])
        assert (len(jobs), len(steps)) == (6_000, 55)


def test_what_is_written_meanwhile_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads a run that goes on has what is there when its turn comes, and nothing twice."""
    monkeypatch.setattr(reader, "CHUNK", 100)
    batch = run.batch()
    jobs = [run.job(batch, index, 1_000 * index, 1_000 * index + 10) for index in range(2_000)]
    run.write(jobs[0::2], ended=False)
    with StoreReader(run.path) as store:
        reading = store.records(store.find("last"))
        taken = [next(reading).job_index for _ in range(100)]
        run.write(jobs[1::2])
        taken += [found.job_index for found in reading]
    assert taken == [*range(0, 200, 2), *range(199, 2_000)]


def test_what_was_open_has_ended_in_its_list(run: Run) -> None:
    """A list of what is open may still have jobs that are in lists by now: those have ended, for whoever reads."""
    batch, other = run.batch(), run.batch()
    open_jobs = [JobEvent(batch, index, run.origin.began_ns + 1_000 * index) for index in range(1_000)]
    others = [run.job(other, index, 1_000 * index, 1_000 * index + 10) for index in range(1_000)]
    step = ScopeEvent(
        "step", "left", new_event_id(), 1, batch.trace, run.origin.began_ns + 5, job=open_jobs[0]
    )
    run.write_open([*open_jobs, step])
    ended = [run.job(batch, index, 1_000 * index, SECOND) for index in range(300)]
    run.write(others, ended, ended=False)
    assert sum(numbers(run.path, "SELECT json_array_length(events) FROM open_list")) == 1_001
    assert sum(numbers(run.path, "SELECT count FROM job_list WHERE was_open")) == 300
    still = list(range(300, 1_000))
    jobs = {"types": ["job"]}
    assert [found.job_index for found in read(run.path, is_open=True, **jobs)[1]] == still
    assert [found.name for found in read(run.path, is_open=True)[1]] == ["left", *["work"] * 700]
    everything = read(run.path, **jobs)[1]
    assert len(everything) == 2_000
    assert [found.job_index for found in everything if found.end_ns is None] == still
    in_view = numbers(run.path, "SELECT job_index FROM jobs WHERE status IS NULL ORDER BY 1")
    assert in_view == still
    assert numbers(run.path, "SELECT count(*) FROM jobs") == [2_000]
    # What is open within a job that has ended is open still.
    assert numbers(run.path, "SELECT job_index FROM events WHERE type = 'step' AND status IS NULL") == [0]


def test_jobs_that_took_long_do_not_make_lists_wide(run: Run) -> None:
    """Some that took an hour, with each list: their starts lie in lists of their own, or have rows of their own."""
    chance = random.Random(5)
    batch, parts, index = run.batch(), [], 0
    for at in range(20):
        part = []
        now = 4_000 * SECOND + at * SECOND // 10
        for kind in range(2_000):
            took = chance.randrange(SECOND // 2) if kind % 5 else chance.choice([2, 60, 3_600]) * SECOND
            part.append(run.job(batch, index := index + 1, now - took, now))
        parts.append(part)
    run.write(*parts)
    with closing(sqlite3.connect(run.path)) as connection:
        spans = connection.execute(
            "SELECT last_ns - first_ns, last_end_ns - last_ns FROM job_list"
        ).fetchall()
    assert all(span <= max(SPAN_NS, job_lists.WIDER * age) for span, age in spans)
    assert sum(span <= SPAN_NS for span, _ in spans) >= 20
    assert as_expected(read(run.path)[1]) == expected(run, [job for part in parts for job in part])


def test_reading_lists_takes_no_memory_to_speak_of(tmp_path: Path) -> None:
    """Reading takes no more memory for ten times as many jobs."""
    peaks = []
    for count in (10_000, 100_000):
        run = Run(tmp_path / f"{count}.db")
        batch = run.batch()
        for first in range(0, count, 5_000):
            run.write([run.job(batch, at, 1_000 * at, 1_000 * at + 9) for at in range(first, first + 5_000)])
        run.close()
        with StoreReader(run.path) as store:
            found = store.find("last")
            tracemalloc.start()
            assert sum(1 for _ in store.records(found)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 5_000_000


def test_the_rate_counts_jobs_in_lists(run: Run) -> None:
    """Lists of which all, some or none ended since then, beside jobs in rows of their own."""
    batch, other = run.batch(), run.batch()
    parts = [
        [run.job(own, 1_000 * at + place, 0, 1_000 * at + place) for place in range(size)]
        for at, (own, size) in enumerate([(batch, 500), (batch, 500), (other, 600), (other, 10)])
    ]
    run.write(*parts)
    with StoreReader(run.path) as store:
        found = store.find("last")
        assert store.jobs_ended_since(found, 0) == {batch.batch_id: 1_000, other.batch_id: 610}
        assert store.jobs_ended_since(found, 1_300) == {batch.batch_id: 200, other.batch_id: 610}
        assert store.jobs_ended_since(found, 3_004) == {other.batch_id: 6}
        assert store.jobs_ended_since(found, 4_000) == {}


def test_lists_go_with_their_run_a_few_at_a_time(tmp_path: Path) -> None:
    """A run that is to go has all of its lists removed, and no step takes many."""
    for _ in range(2):
        run = Run(tmp_path / "runs.db")
        batch = run.batch()
        parts = [[run.job(batch, 300 * at + own, at, at + 1) for own in range(300)] for at in range(120)]
        run.write(*parts)
        run.close()
    counts = []
    with closing(connect(run.path, 1.0)) as connection:
        while sweep(connection, Retention(max_runs=1)):
            counts.append(connection.execute("SELECT count(*) FROM job_list").fetchone()[0])
        assert connection.execute("SELECT run, count(*) FROM job_list GROUP BY run").fetchall() == [(2, 120)]
    assert sorted(set(counts), reverse=True)[:4] == [240, 190, 140, 120]


def test_the_oldest_lists_give_way_and_their_totals_stay(run: Run) -> None:
    """Of a run that is too large lists leave, the oldest first, and are counted; other events leave in their turn."""
    batch, other = run.batch(), run.batch(ready_ns=None)
    jobs = [run.job(batch, at, 1_000 * at, 1_000 * at + at) for at in range(20_000)]
    others = [run.job(other, at, 1_000 * at, 1_000 * at + 2) for at in range(300)]
    failed = [run.job(other, 500 + at, 1_000 * at, 1_000 * at + 2, JobDetail("error")) for at in range(100)]
    steps = [run.step(15_000_000 + at) for at in range(20)]
    run.write([*others, *failed], jobs[:10_000], [*jobs[10_000:], *steps])
    thinning, left = Thinning(), []
    with closing(connect(run.path, 1.0)) as connection:
        while thinning.step(connection, 1):
            left.append(
                (
                    numbers(run.path, "SELECT coalesce(min(first_ns), -1) FROM job_list")[0],
                    numbers(run.path, "SELECT count(*) FROM event WHERE status IS 'ok'")[0],
                )
            )
        totals = connection.execute(
            "SELECT label.type, thinned.batch_id, status, events, duration_ns, longest_ns, queue_ns, first_ns, last_ns "
            "FROM thinned JOIN label ON label.run = thinned.run AND label.id = thinned.label ORDER BY events"
        ).fetchall()
    firsts = [first for first, _ in left]
    assert firsts[:-2] == sorted(firsts[:-2])
    assert any(steps == 20 and first > 9_000_000 for first, steps in left)
    assert [(first, steps) for first, steps in left][-1] == (-1, 0)
    assert thinning.events == 20_320
    mine = totals[2]
    assert mine[0] == "job"
    assert mine[1] % (1 << 64) == batch.batch_id
    sums = sum(range(20_000)), 19_999, sum(1_000 * at for at in range(20_000)), 0, 19_999_000 + 19_999
    assert mine[2:] == ("ok", 20_000, *sums)
    assert totals[1][3:] == (300, 600, 2, 0, 0, 299_002)
    assert {found.status for found in read(run.path)[1]} == {"error"}


@pytest.mark.parametrize("is_listed", [True, False])
def test_what_gave_way_is_not_open_again(tmp_path: Path, is_listed: bool) -> None:
    """The end of a job that a list still has as open does not leave a file that is too large: the list goes first."""
    run = Run(tmp_path / "runs.db", Retention(max_bytes=100_000))
    batch = run.batch()
    run.write_open([JobEvent(batch, index, run.origin.began_ns + index) for index in range(1_000)])
    run.writer.tidy()
    ended = [run.job(batch, index, index, SECOND) for index in range(600)]
    for part in (ended,) if is_listed else (ended[at : at + 100] for at in range(0, 600, 100)):
        run.write(part, ended=False)
    writer = run.writer
    while not writer.untidy:
        run.write([run.step(2 * SECOND + at) for at in range(1_000)], ended=False)
    writer.tidy()
    assert not writer.thinning.events
    assert writer.untidy
    run.write([run.step(3 * SECOND)], ended=False)
    while writer.untidy:
        writer.tidy()
    run.close()
    assert writer.thinning.events > 600
    still = list(range(600, 1_000))
    for is_open in (True, None):
        assert [found.job_index for found in read(run.path, types=["job"], is_open=is_open)[1]] == still
    assert numbers(run.path, "SELECT job_index FROM jobs ORDER BY 1") == still


HOSTILE = "INSERT INTO job_list VALUES (1, {}, {}, 1, 7, 7, {}, {}, 5, 5, 5, 0, 1, {})"


@pytest.mark.parametrize(
    "values",
    [
        ("1", "1", "NULL", "1", "'['"),
        ("1", "1", "NULL", "1", "'[]'"),
        ("1", "1", "NULL", "1", "x'5b5b312c322c335d5d'"),
        ("1", "1", "NULL", "1", "'[[1, 2]]'"),
        ("1", "1", "NULL", "1", "'[[1, 2.5, 3]]'"),
        ("1", "1", "NULL", "1", "'[[1, 99999999999999999999, 3]]'"),
        ("1", "1", "'soon'", "1", "'[[1, 2, 3]]'"),
        ("1", "1", "NULL", "'x'", "'[[1, 2, 3]]'"),
        ("'a'", "1", "NULL", "1", "'[[1, 2, 3]]'"),
        ("1", "'b'", "NULL", "1", "'[[1, 2, 3]]'"),
        ("1", "99", "NULL", "1", "'[[1, 2, 3]]'"),
        ("1", "1", "-9223372036854775808", "1", "'[[1, 2, 3]]'"),
        ("1", "1", "9223372036854775807", "1", "'[[-2, 2, 3]]'"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, values: tuple[str, ...]) -> None:
    """SQLite keeps anything in any column; the reader does not hand it on."""
    make_runs(path := tmp_path / "runs.db", [1], ended_wall_ns=None)
    change(path, "PRAGMA foreign_keys = OFF", HOSTILE.format(*values))
    with pytest.raises(StoreCorruptError, match=r"runs\.db is damaged"):
        read(path)


def test_a_file_of_the_version_before_lists_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    """Jobs that have rows of their own are read as ever, before and after the lists have come."""
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        schema.migrate(connection, schema.MIGRATIONS[:4])
    change(
        path,
        "INSERT INTO run (run_id, name, argv, cwd, host, pid, machine, process, python, version, started_wall_ns, "
        "seen_wall_ns, deep, payloads) "
        f"VALUES ('{1:032x}', 'made', '[]', '/', 'here', 1, 'elsewhere', '1', '3', '1', 5, 5, 0, 0)",
        "INSERT INTO label VALUES (1, 1, 'job', 'work')",
        f"INSERT INTO trace VALUES (1, 1, '{1:032x}', 7)",
        "INSERT INTO event (run, start_ns, event_id, label, trace, batch_id, end_ns, status) "
        "VALUES (1, 5, 5, 1, 1, 7, 9, 'ok')",
        "INSERT INTO event (run, start_ns, event_id, label, trace, batch_id) VALUES (1, 6, 6, 1, 1, 7)",
    )

    def look() -> tuple[object, ...]:
        with StoreReader(path) as store:
            run = store.runs()[-1]
            ends = [found.end_ns for found in store.records(run)]
            return ends, len(list(store.records(run, is_open=True))), store.jobs_ended_since(run, 0)

    assert look() == ([9, None], 1, {7: 1})
    run = Run(path)
    batch = run.batch()
    run.write([run.job(batch, at, at, at + 1) for at in range(300)])
    run.close()
    assert look() == ([9, None], 1, {7: 1})
    assert numbers(path, "SELECT count(*) FROM jobs GROUP BY run_id ORDER BY 1") == [2, 300]


@pytest.mark.parametrize("version", [0, 2, 4])
def test_a_reader_follows_a_file_that_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """Who has a file open, of an older version or an empty one, reads what a newer writer puts into it."""
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        schema.migrate(connection, schema.MIGRATIONS[:version])
        with StoreReader(path) as store:
            assert store.runs() == []
            run = Run(path)
            batch = run.batch()
            run.write([run.job(batch, at, at, at + 1) for at in range(300)], ended=False)
            found = store.runs()[0]
            assert len(list(store.records(found))) == store.summary(found).jobs == 300
            assert sum(store.jobs_ended_since(found, 0).values()) == 300
            run.close()
