"""What is open: in lists in the file, which have what is open and nothing else, whatever happens."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from spanloom import CallbackManager, async_map, use_callback_manager
from spanloom.handlers.record import RecordHandler
from spanloom.store import Record, StoreReader, schema
from spanloom.store.open_lists import FULL, OpenLists
from tests.store.files import change, make_runs, read, record


class File:
    """What the statements would make of the lists."""

    def __init__(self, lists: OpenLists) -> None:
        self.lists = lists
        self.rows: dict[int, set[int]] = {}
        self.texts: list[int] = []

    def write(self, *, exactly: bool = False) -> None:
        self.lists.pack(exactly=exactly)
        for number, text in self.lists.rows:
            assert number not in self.rows
            entries = msgspec.json.decode(text)
            self.rows[number] = {entry[1] for entry in entries}
            self.texts.append(len(entries))
        for (number,) in self.lists.gone:
            del self.rows[number]
        self.lists.written()

    def fail(self) -> None:
        self.lists.pack()

    @property
    def listed(self) -> list[int]:
        return [event_id for row in self.rows.values() for event_id in row]


@pytest.mark.parametrize("seed", range(20))
def test_the_lists_in_the_file_have_all_that_is_open_and_little_else(seed: int) -> None:
    """Whatever starts, ends and cannot be written: all that is open is listed once, and it is a quarter of a list."""
    chance = random.Random(seed)
    lists = OpenLists()
    file = File(lists)
    ended: set[int] = set()
    last = 0
    for _ in range(300):
        for _ in range(chance.choice([0, 1, 30, 700])):
            last += 1
            table = chance.choice([lists.jobs, lists.others])
            lists.add(table, [last], [(last, last)])
        for table in (lists.jobs, lists.others):
            for event_id in chance.sample(sorted(table), int(len(table) * chance.choice([0, 0.1, 0.9, 1]))):
                lists.end(table, [event_id, -event_id])  # one that was never open is none
                ended.add(event_id)
        if chance.random() < 0.2:
            file.fail()
            continue
        file.write()
        assert len(file.listed) == len(set(file.listed))
        still_open = set(lists.jobs) | set(lists.others)
        assert set(file.listed) - ended == still_open
        assert all(4 * len(row & still_open) > len(row) and len(row) <= FULL for row in file.rows.values())
    assert sum(file.texts) < 2 * last
    file.write(exactly=True)
    assert set(file.listed) == set(lists.jobs) | set(lists.others)
    for table in (lists.jobs, lists.others):
        lists.end(table, list(table))
    file.write()
    assert file.rows == {}


def test_what_is_forgotten_leaves_the_file() -> None:
    """Who has forgotten what is open finds it anew, and it is not listed twice."""
    lists = OpenLists()
    file = File(lists)
    lists.add(lists.jobs, [1], [(1, 1)])
    file.write()
    lists.forget()
    lists.add(lists.jobs, [1], [(1, 1)])
    file.write()
    assert file.listed == [1]


async def test_a_job_that_takes_long_is_there_once(tmp_path: Path) -> None:
    """While it is open it is in a list, with what a reader wants to know of it; when it has ended, in none of these."""
    path, gate = tmp_path / "runs.db", asyncio.Event()
    manager = CallbackManager([RecordHandler(path)])

    async def work(_: int) -> None:
        await gate.wait()

    def counted() -> tuple[int, int, int]:
        with closing(sqlite3.connect(path)) as connection:
            (events,) = connection.execute("SELECT count(*) FROM event").fetchone()
            lists, listed = connection.execute(
                "SELECT count(*), coalesce(sum(json_array_length(events)), 0) FROM open_list"
            ).fetchone()
            return events, lists, listed

    with use_callback_manager(manager):
        batch = asyncio.create_task(async_map(work, range(1_200), limit=None, desc="long"))
        await asyncio.sleep(0)
        while len(batch_jobs := [job for job in _open(path) if job.type == "job"]) < 1_200:
            await asyncio.sleep(0.02)
        events, lists, listed = counted()
        assert (events, listed) == (1, 1_200)  # the batch has a payload, and so a row of its own
        assert lists < 12  # three, if one flush saw them all
        assert sorted(job.job_index or 0 for job in batch_jobs) == list(range(1_200))
        assert all((job.queue_ns or 0) > 0 and job.status is None and job.name for job in batch_jobs)
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT status, duration_ms, batch, count(*) FROM jobs").fetchall()
            assert found == [(None, None, "long", 1_200)]
        gate.set()
        await batch
    await manager.aclose()
    assert counted()[1:] == (0, 0)
    _, records = read(path)
    assert [(job.status, job.end_ns is None) for job in records] == [("ok", False)] * 1_201


def _open(path: Path) -> list[Record]:
    if not path.exists():
        return []
    with StoreReader(path) as store:
        return [found for run in store.runs() for found in store.records(run, is_open=True)]


LISTED = "[{0}, {1}, 1, 1, 7, 7, {2}, 5, null]"


def listed(*places: int) -> str:
    """Return a list that has the jobs at these places of `make_runs`, of 10,000, and between them."""
    return f"[{', '.join(LISTED.format(500 * place, place - 10_000, place) for place in places)}]"


@contextmanager
def run_with_lists(path: Path, *texts: str) -> Iterator[StoreReader]:
    make_runs(path, [1], jobs=10_000, ended_wall_ns=None)
    change(path, *(f"INSERT INTO open_list VALUES (1, {at}, '{text}')" for at, text in enumerate(texts, 1)))
    with StoreReader(path) as store:
        yield store


def test_what_is_open_comes_in_its_place_and_what_has_ended_is_not_open(tmp_path: Path) -> None:
    """A list may still have what has ended: that counts as ended, for whoever reads, whatever he has chosen."""
    in_between = [1, 3, 4_001, 9_999, 21_001]
    with run_with_lists(
        tmp_path / "runs.db", listed(*in_between[::2]), listed(*in_between[1::2]), LIST_OF_ENDED
    ) as store:
        run = store.find("last")
        records = list(store.records(run))
        starts = [found.start_ns for found in records]
        assert starts == sorted(starts)
        assert len(starts) == 10_000 + len(in_between)
        unended = [found for found in records if found.end_ns is None]
        assert [found.start_ns for found in unended] == [500 * place for place in in_between]
        assert list(store.records(run, is_open=True)) == unended
        assert len(list(store.records(run, is_open=False))) == 10_000
        assert len(list(store.records(run, types=["job"]))) == 10_000 + len(in_between)
        assert list(store.records(run, types=["batch"])) == []
        assert list(store.records(run, types=["job"], is_open=True)) == unended


LIST_OF_ENDED = (
    "[" + ", ".join(f"[{1_000 * at}, {at - 5_000}, 1, 1, 7, 7, {at}, 5, null]" for at in range(3)) + "]"
)


def test_more_may_be_open_than_is_read_at_once(tmp_path: Path) -> None:
    """Thousands of open events between two ended ones, and after the last, are all there, once and in order."""
    places = [*(place for place in range(3, 9_000, 2)), *range(20_001, 26_001, 2)]
    with run_with_lists(tmp_path / "runs.db", listed(*places), LIST_OF_ENDED) as store:
        run = store.find("last")
        starts = [found.start_ns for found in store.records(run)]
        assert starts == sorted({*starts})
        assert len(starts) == 10_000 + len(places)
        assert [found.start_ns for found in store.records(run, is_open=True)] == [500 * at for at in places]


def test_what_moves_to_another_list_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    """A writer goes on while somebody reads: what is still open is there, in whatever list it is by then."""
    with run_with_lists(path := tmp_path / "runs.db", listed(1, 15_001, 15_003)) as store:
        reading = store.records(store.find("last"))
        taken = [next(reading).start_ns for _ in range(100)]
        change(
            path,
            f"INSERT INTO open_list VALUES (1, 2, '{listed(15_003)}')",
            "DELETE FROM open_list WHERE id = 1",
        )
        taken += [found.start_ns for found in reading]
        assert taken == sorted({*taken})
        assert {500 * 15_003} == {start for start in taken if start % 1_000} - {500}


def test_a_file_of_the_version_before_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    """What is open in a file of an older version is open, before and after the lists have come."""
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        schema.migrate(connection, schema.MIGRATIONS[:2])
        assert schema.check(connection) == 2
    _make_old_run(path)
    assert [found.name for found in _open(path)] == ["work"]
    record(path, "other")
    with closing(sqlite3.connect(path)) as connection:
        assert schema.check(connection) == len(schema.MIGRATIONS)
        assert connection.execute("SELECT name FROM jobs WHERE status IS NULL").fetchall() == [("work",)]
    assert [found.name for found in _open(path)] == ["work"]


def _make_old_run(path: Path) -> None:
    columns = (
        "run_id, name, argv, cwd, host, pid, machine, process, python, version, started_wall_ns, seen_wall_ns"
    )
    values = f"'{1:032x}', 'made', '[]', '/', 'here', 1, 'elsewhere', '1', '3', '1', 5, 5"
    change(
        path,
        f"INSERT INTO run ({columns}, deep, payloads) VALUES ({values}, 0, 0)",
        "INSERT INTO label VALUES (1, 1, 'job', 'work')",
        f"INSERT INTO trace VALUES (1, 1, '{1:032x}', 7)",
        "INSERT INTO event (run, start_ns, event_id, label, trace) VALUES (1, 5, 5, 1, 1)",
    )
