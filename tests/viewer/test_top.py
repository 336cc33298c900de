"""What `top` makes of a run: states, ages, rates and the time that is left, of records made by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from spanloom.store.model import Counts, Record, Summary
from spanloom.viewer.top import Now, look, top_lines
from tests.viewer.runs import MS, dead, run

NOW = 20_000


def record(
    event_id: int, type: str, name: str, start: float, parent: int | None = None, **more: Any
) -> Record:
    """Return an open event that started at `start` ms."""
    return Record(event_id, parent, 7, type, name, int(start * MS), **more)


def batch(event_id: int = 1, *, start: float = 0, total: int | None = 100, **counts: int) -> Record:
    return record(event_id, "batch", "fetch", start, counts=Counts(total, **counts), batch_id=event_id)


def job(event_id: int, index: int, start: float, **more: Any) -> Record:
    return record(event_id, "job", "fetch", start, 1, job_index=index, batch_id=1, **more)


def seen(
    *records: Record,
    recent: dict[int | None, int] | None = None,
    batches: list[Record] | None = None,
    **changes: Any,
) -> Now:
    """Look at a run that is running, 20 s after its start."""
    state = {"state": "running", "ended_wall_ns": None, "exit_code": None} | changes
    shown = [each for each in records if each.type == "batch"] if batches is None else batches
    return look(
        run(NOW, **state), NOW * MS, Summary(50, 40, 2, 1, len(records)), shown, records, recent or {}
    )


def text(now: Now, **size: Any) -> list[str]:
    """Return the lines, blanks that align them as one."""
    return [" ".join(line.text.split()) for line in top_lines(now, **size)]


def test_a_job_is_at_what_was_opened_last_in_it() -> None:
    """Running, waiting for a slot of which limiter, or backing off for how long yet, at which attempt."""
    now = seen(
        batch(),
        job(10, 0, 1_000),
        record(11, "attempt", "fetch", 1_001, 10, attempt=1),
        record(12, "slot_wait", "connection", 1_002, 11, payload={"limiter": "connection"}),
        job(20, 1, 2_000),
        record(21, "backoff", "fetch", 19_000, 20, attempt=2, payload={"delay_s": 1.5}),
        job(30, 2, 3_000),
        job(40, 3, 4_000),
        record(41, "attempt", "fetch", 18_000, 40, attempt=3),
        record(42, "step", "parse", 19_500, 41),
    )
    assert [
        (each.job_index, each.age_ns // MS, each.state, each.detail, each.attempt) for each in now.in_flight
    ] == [
        (0, 19_000, "waiting", "connection", 1),
        (1, 18_000, "backing off", "", 2),
        (2, 17_000, "running", "", None),
        (3, 16_000, "running", "", 3),
    ]
    assert now.in_flight[1].left_ns == 500 * MS
    shown = text(now)
    assert "fetch[0] 19.0 s waiting for connection #1" in shown
    assert "fetch[1] 18.0 s backing off, 500 ms more #2" in shown


def test_what_is_in_no_job_is_shown_where_it_encloses_nothing() -> None:
    """A step of the program itself is in flight; what encloses it, or a batch, is not listed again."""
    now = seen(
        record(1, "trace", "main", 0),
        record(2, "step", "outer", 100, 1),
        record(3, "step", "inner", 200, 2),
        batch(4),
    )
    assert [each.name for each in now.in_flight] == ["inner"]


def test_jobs_inside_a_job_are_jobs_of_their_own() -> None:
    """The outer one is running, whatever the inner one waits for."""
    now = seen(
        batch(),
        job(10, 0, 1_000),
        record(11, "batch", "inner", 1_001, 10, counts=Counts(None, started=1, in_flight=1)),
        record(12, "job", "ask", 1_002, 11, job_index=0, batch_id=11),
        record(13, "slot_wait", "gpu", 1_003, 12, payload={"limiter": "gpu"}),
    )
    assert [(each.name, each.state) for each in now.in_flight] == [("fetch", "running"), ("ask", "waiting")]


def test_the_time_that_is_left_is_jobs_left_by_jobs_per_second() -> None:
    """Of a batch: 60 of 100 to go, 20 have ended in the last 10 s: 2 jobs/s, 30 s."""
    now = seen(batch(started=45, in_flight=5), recent={1: 20})
    (found,) = now.batches
    assert (found.ended, found.per_second, found.left_ns) == (40, 2.0, 30_000 * MS)
    assert now.per_second == 2.0
    assert "fetch 40 100 40% 5 2.0 30.0 s" in text(now)


def test_the_rate_of_a_batch_that_is_over_is_of_the_jobs_that_ran() -> None:
    """Of 40 jobs, 30 of which a checkpoint had: 10 in 5 s."""
    (found,) = seen(msgspec.structs.replace(batch(started=40, skipped=30), end_ns=5_000 * MS)).batches
    assert (found.ended, found.per_second) == (40, 2.0)


def test_a_young_batch_has_the_rate_of_its_own_time() -> None:
    """Not of 10 s in which it mostly was not there."""
    now = seen(batch(start=19_000, started=30, in_flight=0), recent={1: 30})
    assert now.batches[0].per_second == 30.0


@pytest.mark.parametrize(
    ("total", "recent"),
    [(None, {1: 20}), (100, {}), (100, {2: 20})],
    ids=["unknown", "stalled", "of another"],
)
def test_where_nobody_can_know_no_time_is_given(total: int | None, recent: dict[int | None, int]) -> None:
    """An unknown total, or a batch in which nothing has ended lately."""
    now = seen(batch(total=total, started=45, in_flight=5), recent=recent)
    assert now.batches[0].left_ns is None


def test_a_dead_run_is_shown_as_it_was() -> None:
    """Ages until it was last heard of, no rate and no time that is left."""
    found = dead(5_000)
    records = [batch(started=45, in_flight=5), job(10, 3, 1_000, status="interrupted")]
    now = look(found, found.seen_ns, Summary(50, 45, 0, 0, 2), records[:1], records, {1: 20})
    assert now.in_flight[0].age_ns == 4_000 * MS
    assert now.batches[0].left_ns is None
    shown = text(now)
    assert shown[0] == "Run 3f9c1a2b pipeline.py pid 4242 INTERRUPTED after 5.00 s: its process died"
    assert shown[1] == "jobs: 44 done, 0 failed, 1 in flight"
    assert "fetch[3] 4.00 s interrupted: running" in shown


def test_an_ended_run_shows_its_last_batches() -> None:
    """With the rate of all of their time."""
    ended = record(
        1, "batch", "fetch", 1_000, end_ns=11_000 * MS, status="ok", counts=Counts(100, started=100, failed=3)
    )
    now = look(run(12_000), 12_000 * MS, Summary(101, 100, 3, 0, 0), [ended], [], {})
    assert (now.batches[0].per_second, now.batches[0].left_ns, now.batches[0].is_open) == (10.0, None, False)
    assert text(now)[0].endswith("ended after 12.0 s with exit code 0")


def test_there_is_as_much_of_it_as_fits() -> None:
    """The oldest jobs, and how many more there are."""
    jobs = [job(10 + number, number, 100 + number) for number in range(50)]
    now = seen(batch(started=60, in_flight=50), *jobs)
    shown = text(now, height=20)
    assert len(shown) == 20
    assert shown[-1] == "and 38 more, which are younger"
    assert len(text(now)) == 20 - 1 + 38


def test_a_deep_recursion_is_gone_through_once() -> None:
    """A job is at the innermost of a hundred thousand open events, and all of them are the job's."""
    deep = [record(100 + number, "step", "visit", 2 + number, 99 + number) for number in range(1, 100_000)]
    now = seen(batch(), job(100, 0, 1), *deep)
    assert [(each.name, each.type) for each in now.in_flight] == [("fetch", "job")]


def test_hostile_records_do_not_steer_the_terminal_or_hang_it() -> None:
    """Control characters are escaped, and parents in a circle come to an end."""
    now = seen(
        record(10, "step", "\x1b[2J\nforged", 100, 11),
        record(11, "step", "b", 100, 10),
        record(12, "slot_wait", "\x1b]0;title\x07", 100, 12),
        job(13, 1, 100),
        record(14, "slot_wait", "x", 101, 13, payload={"limiter": "\x1b[31m"}),
    )
    assert not any(char in line for line in text(now) for char in "\x1b\x07\n")
    assert any("\\x1b[31m" in line for line in text(now))


@pytest.mark.parametrize("width", [64, 80])
def test_the_view_is_as_wide_as_the_terminal(width: int) -> None:
    """The head line, a batch with all there can be, and a limiter's long name: nothing is wider, no number is cut."""
    counts = {
        "started": 200_000,
        "in_flight": 1_000,
        "failed": 12_345,
        "backing_off": 123,
        "skipped": 100_000,
    }
    now = seen(
        batch(total=1_000_000, **counts),
        job(10, 123_456, 1_000),
        record(12, "slot_wait", "connection", 1_002, 10, payload={"limiter": "a pool of connections " * 5}),
        recent={1: 20},
        name="a_pipeline_with_a_long_name_in_a_deep_directory.py",
    )
    lines = [line.text for line in top_lines(now, width=width)]
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if line.startswith("fetch "))
    assert row.split()[1:3] == ["199,000", "1,000,000"]
    assert not row.endswith("…")


def test_batches_of_one_job_share_a_row() -> None:
    """As a pool makes one for each call that comes alone; open ones and others apart, and larger ones as they are."""
    calls = [batch(each, total=1, started=1, in_flight=1) for each in (1, 2, 3)]
    over = [msgspec.structs.replace(batch(each, total=1, started=1), end_ns=MS) for each in (4, 5)]
    several = batch(6, total=2, started=2)
    rows = text(seen(*calls, several, batches=[*calls, *over, several]))
    at = next(index for index, row in enumerate(rows) if row.startswith("batch "))
    assert rows[at + 1 : at + 4] == ["3 × fetch 0 3 0% 3", "2 × fetch 2 2 100%", "fetch 2 2 100% 0.0"]
