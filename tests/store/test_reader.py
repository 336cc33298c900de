"""Reading a record: everything that was written, in order, from any file, and clear words where that fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from spanloom import (
    CallbackManager,
    FixedLimiter,
    RetryPolicy,
    async_map,
    current_event,
    use_callback_manager,
)
from spanloom.events import Event
from spanloom.exceptions import RunNotFoundError, StoreError, StoreNotFoundError
from spanloom.handlers.record import RecordHandler
from spanloom.store import StoreReader, locate
from spanloom.store.connection import connect
from spanloom.store.process import machine, process_start
from tests.store.files import make_runs, read, record


class Seen:
    """Keeps the very events that the record is made from."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_events(self, events: Sequence[Event]) -> None:
        self.events.extend(events)


async def everything(path: Path) -> tuple[RecordHandler, list[Event]]:
    """Record one of each kind of event that there is; return the live events in order of their start."""
    handler, seen = RecordHandler(path, payloads=True), Seen()

    async def work(item: int) -> int:
        if item == 1 and current_event().attempt == 1:  # type: ignore[union-attr]  # it is a job's
            raise ConnectionError("come again")
        if item == 2:
            raise ValueError("no good")
        return item

    with CallbackManager([handler, seen], deep=True) as manager, use_callback_manager(manager):
        with manager.as_trace("root"), manager.event("llm", {"model": "m", "n": 3}, name="ask") as asked:
            manager.emit(name="point")
        policy = RetryPolicy(attempts=2, base_delay=0.01, retry_on=(ConnectionError,))
        await async_map(work, range(5), limit=FixedLimiter(2), on_error="skip", retry=policy, desc="batch")
        manager.on_event_end(manager.on_event_start("step", event_id=(1 << 64) - 1))
        with manager.event(name="linked") as linked:
            linked.link(asked, why="because")
    return handler, sorted(seen.events, key=lambda event: (event.start_ns, event.event_id))


async def test_what_is_read_is_what_happened(tmp_path: Path) -> None:
    """Every field of every kind of event comes back as it was, with times that count from the start of the run."""
    handler, events = await everything(path := tmp_path / "runs.db")
    run, records = read(path)
    assert {event.type for event in events} >= {
        "trace",
        "llm",
        "mark",
        "batch",
        "job",
        "attempt",
        "backoff",
        "step",
    }
    assert {event.status for event in events} == {"ok", "error"}
    assert (run.run_id, run.deep, run.state, run.produced, run.dropped) == (
        handler.run_id,
        True,
        "ended",
        len(events),
        0,
    )
    found = {record.event_id: record for record in records}
    assert len(found) == len(records) == len(events)
    for event in events:
        got = found[event.event_id]
        same = (
            "event_id",
            "parent_id",
            "trace_id",
            "type",
            "name",
            "status",
            "error",
            "queue_ns",
            "busy_ns",
            "attempt",
            "job_index",
            "batch_id",
            "is_point",
            "duration_ns",
        )
        assert {name: getattr(got, name) for name in same} == {name: getattr(event, name) for name in same}
        assert run.started_wall_ns + got.start_ns == event.start_wall_ns
        assert got.payload == (dict(event.payload) or None)
        numbers = (
            "total",
            "started",
            "in_flight",
            "failed",
            "cancelled",
            "backing_off",
            "retried",
            "skipped",
        )
        if event.counts is None:
            assert got.counts is None
        else:
            assert [getattr(got.counts, one) for one in numbers] == [
                getattr(event.counts, one) for one in numbers
            ]


async def test_records_come_in_the_order_of_their_start(tmp_path: Path) -> None:
    """Whatever ended first: a batch comes before its jobs."""
    await everything(path := tmp_path / "runs.db")
    _, records = read(path)
    assert [record.start_ns for record in records] == sorted(record.start_ns for record in records)
    assert [record.type for record in records][:3] == ["trace", "llm", "mark"]


async def test_records_can_be_chosen_by_type_and_by_whether_they_are_open(tmp_path: Path) -> None:
    """`types` and `is_open` leave out the others before they are read."""
    await everything(path := tmp_path / "runs.db")
    assert {record.type for record in read(path, types=["job", "batch"])[1]} == {"job", "batch"}
    assert read(path, types=[])[1] == []
    assert read(path, is_open=True)[1] == []
    assert len(read(path, is_open=False)[1]) == len(read(path)[1])


async def test_the_summary_is_what_counting_would_give(tmp_path: Path) -> None:
    """What the writer counted while it wrote is what is there."""
    await everything(path := tmp_path / "runs.db")
    run, records = read(path)
    jobs = [record for record in records if record.type == "job"]
    with StoreReader(path) as store:
        summary = store.summary(run)
    assert (summary.events, summary.jobs, summary.open) == (len(records), len(jobs), 0)
    assert summary.failed == sum(job.status in {"error", "timeout"} for job in jobs) == 1
    assert summary.cancelled == 0


# which run --------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    """``last`` is the newest; what is ambiguous or unknown is refused, and the message lists what there is."""
    path = tmp_path / "runs.db"
    ids = make_runs(path, [3, 2, 1])
    with StoreReader(path) as store:
        assert [run.run_id for run in store.runs()] == ids[::-1]
        assert [run.run_id for run in store.runs(limit=1)] == [ids[2]]
        assert store.find("last").run_id == ids[2]
        assert store.find("00000001").run_id == ids[1]
        with pytest.raises(RunNotFoundError, match=r"3 runs of .* begin with '0000'; .*00000001 \(made\)"):
            store.find("0000")
        with pytest.raises(RunNotFoundError, match=r"no run of .* begins with 'ff'; there are 00000002"):
            store.find("ff")
        with pytest.raises(RunNotFoundError):
            store.find("")


def test_a_file_without_runs_says_so(tmp_path: Path) -> None:
    """An empty record, even an empty file, is no error until a run is asked for."""
    (path := tmp_path / "runs.db").touch()
    with StoreReader(path) as store:
        assert store.runs() == []
        with pytest.raises(RunNotFoundError, match="has no runs"):
            store.find("last")


def test_a_run_may_be_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN is an id in the default file, a file, or an id in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPANLOOM_RECORD", raising=False)
    (path := tmp_path / "other.db").touch()
    assert locate("abc") == (Path(".spanloom/runs.db"), "abc")
    assert locate("last", path) == (path, "last")
    assert locate(str(path)) == (path, "last")
    assert locate(f"{path}:abc") == (path, "abc")
    monkeypatch.setenv("SPANLOOM_RECORD", "elsewhere.db")
    assert locate("abc") == (Path("elsewhere.db"), "abc")


@pytest.mark.parametrize("name", ["a" * 300 + "/x", "/" + "b" * 5_000, "c" * 300 + ".db:abc"])
def test_what_is_too_long_for_a_file_is_none(name: str) -> None:
    """Whatever the system says to it, there is no such file; and what looks like no file may be an id."""
    with pytest.raises(RunNotFoundError, match="there is no file"):
        locate(name)
    assert locate("f" * 5_000)[1] == "f" * 5_000


def test_a_path_that_no_file_can_have_is_not_found() -> None:
    """As one that is not there, and not as whatever asked the system for it has raised."""
    with pytest.raises(StoreNotFoundError, match=r"there can be no file 'a\\x00b': .*embedded null"):
        StoreReader("a\0b")


# states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({}, "running"),
        ({"process": "1"}, "interrupted"),
        ({"ended_wall_ns": 1}, "ended"),
        ({"machine": "elsewhere", "seen_wall_ns": time.time_ns() + 3_600 * 10**9}, "running"),
        ({"machine": "elsewhere", "seen_wall_ns": 1}, "interrupted"),
    ],
)
def test_the_state_of_a_run_is_found_out_by_its_reader(
    tmp_path: Path, columns: dict[str, object], state: str
) -> None:
    """A run without an end is running if its process is there or, on another machine, if it was seen just now."""
    mine = {
        "pid": os.getpid(),
        "machine": machine(),
        "process": process_start(os.getpid()),
        "ended_wall_ns": None,
    }
    make_runs(path := tmp_path / "runs.db", [0], **mine | columns)
    with StoreReader(path) as store:
        assert store.find("last").state == state


def test_what_will_never_end_is_interrupted(tmp_path: Path) -> None:
    """An open event has no status while its run is running, and ``interrupted`` from then on."""
    mine = {
        "pid": os.getpid(),
        "machine": machine(),
        "process": process_start(os.getpid()),
        "ended_wall_ns": None,
    }
    make_runs(path := tmp_path / "runs.db", [0], jobs=1, **mine)
    with closing(connect(path, 1.0)) as writer:
        writer.execute("UPDATE event SET end_ns = NULL, status = NULL")
        assert [(record.status, record.end_ns) for record in read(path)[1]] == [(None, None)]
        for gone in ("process = '1'", "ended_wall_ns = 1"):
            writer.execute(f"UPDATE run SET {gone}")
            assert [record.status for record in read(path)[1]] == ["interrupted"]


# others have it open, or had ---------------------------------------------------------------------------------


def test_reading_a_file_leaves_no_trace(tmp_path: Path) -> None:
    """A file that nobody writes to is read without making another, and is the same after."""
    record(path := tmp_path / "runs.db", "a")
    before = path.read_bytes(), path.stat().st_mtime_ns
    with StoreReader(path) as store:
        assert len(list(store.records(store.find("last")))) == 1
        assert [child.name for child in tmp_path.iterdir()] == ["runs.db"]
    assert [child.name for child in tmp_path.iterdir()] == ["runs.db"]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_reader_sees_what_is_written_after_it_was_opened(tmp_path: Path) -> None:
    """A writer that comes later, and one that has gone again, are noticed."""
    first = record(path := tmp_path / "runs.db", "a")
    with StoreReader(path) as store:
        assert store.find("last").run_id == first
        second = record(path, "b")
        assert store.find("last").run_id == second
        manager = CallbackManager([handler := RecordHandler(path)])
        manager.emit(name="c")
        manager.flush()
        assert store.find("last").run_id == handler.run_id
        manager.close()
        assert store.find("last").state == "ended"
        assert len(store.runs()) == 3


def test_a_link_to_a_record_is_as_good_as_the_record(tmp_path: Path) -> None:
    """By a link in another folder a reader sees what is still in the log beside the file."""
    record(path := tmp_path / "runs.db", "a")
    (tmp_path / "elsewhere").mkdir()
    (link := tmp_path / "elsewhere" / "link.db").symlink_to(path)
    manager = CallbackManager([handler := RecordHandler(path)])
    manager.emit(name="b")
    assert manager.flush()
    with StoreReader(link) as store:
        assert store.find("last").run_id == handler.run_id
        assert [found.name for found in store.records(store.find("last"))] == ["b"]
    manager.close()


def test_a_reader_that_takes_its_time_gets_all_of_it(tmp_path: Path) -> None:
    """Neither the end of the writer in the middle of reading, nor other runs that come, make it miss or repeat any."""
    (run_id,) = make_runs(path := tmp_path / "runs.db", [1], jobs=10_000)
    with StoreReader(path) as store:
        taken = []
        for number, found in enumerate(store.records(store.find(run_id))):
            taken.append(found.job_index)
            if number % 2_500 == 0:
                record(path, "other")
        assert taken == list(range(10_000))


def test_a_reader_never_keeps_a_writer_from_tidying_up(tmp_path: Path) -> None:
    """The log is emptied into the file while somebody is in the middle of reading."""
    make_runs(path := tmp_path / "runs.db", [1], jobs=10_000)
    with closing(connect(path, 1.0)) as writer, StoreReader(path) as store:
        writer.execute("UPDATE run SET name = 'x'")
        reading = store.records(store.find("last"))
        next(reading)
        writer.execute("UPDATE run SET name = 'y'")
        busy, log, done = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, log, done) == (0, 0, 0)
        assert len(list(reading)) == 9_999


KILLED = """
import os, signal, sys
from spanloom import CallbackManager
from spanloom.handlers.record import RecordHandler
manager = CallbackManager([RecordHandler(sys.argv[1])])
for number in range(100):
    manager.emit(name=str(number))
manager.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_behind(path: Path) -> None:
    """Have a process record a hundred events and die, with everything still in the log."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name(path.name + "-wal").stat().st_size > 0


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Return a directory that everyone may look into; those of pytest are its user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder)).chmod(0o755)
        yield path


def test_what_a_dead_process_left_in_the_log_is_read(tmp_path: Path) -> None:
    """After a SIGKILL all that was flushed is there, although nobody has put it into the file itself."""
    leave_behind(path := tmp_path / "runs.db")
    run, records = read(path)
    assert (run.state, len(records), run.produced) == ("interrupted", 100, 100)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
@pytest.mark.parametrize("index", [True, False], ids=["with its index", "without"])
def test_a_file_in_a_directory_of_somebody_elses_is_read(open_to_all: Path, index: bool) -> None:
    """Who may read the files, and write nothing, sees what a dead process left in the log; nothing changes."""
    folder = open_to_all
    leave_behind(path := folder / "runs.db")
    if not index:
        path.with_name("runs.db-shm").unlink()
    for child in folder.iterdir():
        child.chmod(0o644)
    before = sorted((child.name, child.read_bytes()) for child in folder.iterdir())
    program = (
        "import os, shutil, sys, tempfile; from spanloom.store import StoreReader\n"  # which nobody may not even read
        "os.setgid(65534); os.setuid(65534)\n"
        "store = StoreReader(sys.argv[1]); print(len(list(store.records(store.find('last'))))); store.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], check=True, timeout=60, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout == "100\n"
    assert sorted((child.name, child.read_bytes()) for child in folder.iterdir()) == before


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
def test_who_may_write_nothing_sees_a_run_go_on(open_to_all: Path) -> None:
    """One reader of a file that is written meanwhile, in a directory of somebody else's, finds what has come since."""
    program = """
import os, shutil, sys, tempfile, time
from spanloom.store import StoreReader
os.setgid(65534); os.setuid(65534)
with StoreReader(sys.argv[1]) as store:
    run, until = store.find("last"), time.monotonic() + 60
    print(store.summary(run).events, flush=True)
    sys.stdin.readline()
    while store.summary(run).events < 2 and time.monotonic() < until:
        time.sleep(0.05)
    print(store.summary(run).events, len(list(store.records(run))))
"""
    with CallbackManager([RecordHandler(path := open_to_all / "runs.db")]) as manager:
        manager.emit(name="first")
        assert manager.flush(60)
        for child in open_to_all.iterdir():
            child.chmod(0o644)
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            manager.emit(name="second")
            assert manager.flush(60)
            assert process.communicate("\n", timeout=90)[0] == "2 2\n"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
def test_a_log_that_goes_while_it_is_copied_is_not_missed(open_to_all: Path) -> None:
    """Its writer may end, which puts the log into the file, while who may write nothing copies both."""
    leave_behind(path := open_to_all / "runs.db")
    path.with_name("runs.db-shm").unlink()
    for child in open_to_all.iterdir():
        child.chmod(0o644)
    program = """
import os, shutil, sys, tempfile
from spanloom.store import StoreReader
os.setgid(65534); os.setuid(65534)
def copyfile(*names):
    shutil.copyfile = original
    print("copies", flush=True)
    sys.stdin.readline()
    return original(*names)
original, shutil.copyfile = shutil.copyfile, copyfile
with StoreReader(sys.argv[1]) as store:
    print(len(list(store.records(store.find("last")))))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copies\n"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM run").fetchone()
        assert not path.with_name("runs.db-wal").exists()
        assert process.communicate("\n", timeout=60)[0] == "100\n"


def test_a_reader_can_be_closed_twice_and_not_be_used_after(tmp_path: Path) -> None:
    """Who reads from a reader that was closed is told so."""
    record(path := tmp_path / "runs.db", "a")
    store = StoreReader(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.runs()


# what cannot be read -----------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """The message names the path; a directory is named as what it is."""
    with pytest.raises(StoreNotFoundError, match=r"there is no record at .*nowhere\.db"):
        StoreReader(tmp_path / "nowhere.db")
    with pytest.raises(StoreNotFoundError, match="is a directory"):
        StoreReader(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reading_takes_no_memory_to_speak_of(tmp_path: Path) -> None:
    """Reading takes no more memory for ten times as many events."""
    peaks = []
    for count in (10_000, 100_000):
        make_runs(path := tmp_path / f"{count}.db", [1], jobs=count)
        with StoreReader(path) as store:
            tracemalloc.start()
            assert sum(1 for _ in store.records(store.find("last"))) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000 < 3_000_000


def test_a_closed_database_connection_is_all_that_is_left_of_a_failed_opening(tmp_path: Path) -> None:
    """A reader that could not be made leaves no file open."""
    (path := tmp_path / "runs.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5_000)
    fds = Path("/proc/self/fd")
    before = len(list(fds.iterdir()))
    for _ in range(3):
        with pytest.raises(StoreError):
            StoreReader(path)
    assert len(list(fds.iterdir())) == before


def test_other_tools_can_read_while_it_is_written(tmp_path: Path) -> None:
    """A plain connection of the sqlite3 module sees the views beside a running writer."""
    with CallbackManager([RecordHandler(path := tmp_path / "runs.db")]) as manager:
        manager.emit(name="a")
        manager.flush()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT name, is_point FROM events").fetchall() == [("a", 1)]


async def test_what_a_checkpoint_had_is_neither_a_rate_nor_a_duration(tmp_path: Path) -> None:
    """Jobs that did not run are counted as jobs, and say nothing of how fast those go that do."""
    from spanloom import Checkpoint
    from spanloom.viewer.analysis import analyse

    async def work(item: int) -> int:
        await asyncio.sleep(0.01)
        return item

    checkpoint = Checkpoint(tmp_path / "results.db", version="1")
    await async_map(work, range(50), checkpoint=checkpoint)
    manager = CallbackManager([RecordHandler(path := tmp_path / "runs.db")])
    with use_callback_manager(manager):
        await async_map(work, range(53), checkpoint=checkpoint)
    await manager.aclose()
    with StoreReader(path) as store:
        run = store.find("last")
        assert list(store.jobs_ended_since(run, 0).values()) == [3]
        (jobs,) = [found for found in analyse(run, store.records(run)).names if found.type == "job"]
    assert (jobs.count, jobs.skipped, jobs.durations.count) == (53, 50, 3)
    (median_ns,) = jobs.durations.quantiles(0.5)
    assert median_ns is not None
    assert median_ns > 8_000_000
