"""Why a run was slow: each claim where the numbers carry it, with its share, and none where they do not."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from spanloom import RetryPolicy, async_map, get_callback_manager
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.recorded import was_given_up
from spanloom.diagnosis.slow import explain
from spanloom.events import keys
from spanloom.store.model import Record, Run
from spanloom.store.reader import StoreReader
from tests.viewer.recording import recorded, run_of

MS = 1_000_000


class Shelf:
    """Has the records of one run, as a reader has them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = sorted(records, key=lambda record: record.start_ns)

    def records(self, run: Run) -> Iterator[Record]:
        return iter(self._records)


def findings(records: Sequence[Record], run: Run | None = None) -> list[Finding]:
    return explain(cast("StoreReader", Shelf(records)), run or run_of())


def batch(jobs: Sequence[tuple[int, int]], limit: object, *, queue_ms: int = 0) -> list[Record]:
    """Return the records of a batch whose jobs ran from one millisecond to another."""
    end_ns = max(end for _, end in jobs) * MS
    whole = Record(1, None, 7, "batch", "fetch", 0, end_ns, "ok", batch_id=1, payload={keys.LIMIT: limit})
    return [whole] + [
        Record(
            10 + index, 1, 7, "job", "fetch", start * MS, end * MS, "ok",
            queue_ns=queue_ms * MS, job_index=index, batch_id=1,
        )
        for index, (start, end) in enumerate(jobs)
    ]  # fmt: skip


def side_by_side(count: int, rounds: int, run_ms: int, start_ms: int = 0) -> list[tuple[int, int]]:
    """Return jobs that run `count` at a time, one round after the other."""
    return [
        (start_ms + number * run_ms, start_ms + (number + 1) * run_ms)
        for number in range(rounds)
        for _ in range(count)
    ]


def lasted(record: Record) -> float:
    assert record.end_ns is not None
    return (record.end_ns - record.start_ns) / 1e9


def seconds(text: str) -> float:
    """Return a duration of a message in seconds."""
    number, unit = text.split()
    return float(number) / {"s": 1, "ms": 1000}[unit]


def test_an_even_run_has_no_findings() -> None:
    """Jobs of much the same length, no retries, no queue to speak of: nothing stands out."""
    assert findings(batch(side_by_side(4, 25, 50), 4)) == []
    assert findings([]) == []


def test_a_straggler_is_named_with_what_the_batch_would_have_taken_without_it() -> None:
    """The share is the time that the batch lasted for the straggler alone."""
    (found,) = findings(batch([*side_by_side(4, 10, 50), (100, 3_000)], 5))
    assert (found.code, found.level, found.since_s) == ("STRAGGLER", "PROVEN", 2.5)
    assert "`fetch[40]` alone" in found.message
    assert "would have ended after 500 ms" in found.message


def test_it_is_said_what_a_straggler_was_at() -> None:
    """Of what took most of its time the innermost: the request, not the attempt around it, nor what was short."""
    jobs = batch([*side_by_side(4, 10, 50), (100, 3_000)], 5)
    late = jobs[-1].event_id

    def inside(number: int, parent: int, type: str, name: str, start: int, end: int, **more: Any) -> Record:
        return Record(
            number, parent, 7, type, name, start * MS, end * MS, "ok", job_index=40, batch_id=1, **more
        )

    attempt = inside(100, late, "attempt", "fetch", 110, 2_990, attempt=1)
    request = inside(101, 100, "request", "GET api.example.com", 120, 2_820)
    (found,) = findings([*jobs, attempt, inside(102, 100, "step", "parse", 2_820, 2_980), request])
    assert "this one 2.9 s, 2.7 s of them in request `GET api.example.com`. Without" in found.message
    (found,) = findings([*jobs, attempt])
    assert "this one 2.9 s, 2.9 s of them in attempt 1. Without" in found.message
    (found,) = findings([*jobs, inside(100, late, "step", "parse", 100, 1_000)])
    assert "this one 2.9 s. Without" in found.message


@pytest.mark.parametrize("late", [4, 40], ids=["few late", "a pause made many late"])
def test_a_straggler_is_named_although_a_pause_made_others_late(late: int) -> None:
    """Jobs that run during a pause of the whole program take long, too; the batch waited for none of them."""
    before, after = side_by_side(4, 10, 50), side_by_side(4, 10, 50, start_ms=2_500)
    found = findings(batch([*before, *[(500, 2_500)] * late, *after, (600, 6_000)], late + 1))
    (straggler,) = [each for each in found if each.code == "STRAGGLER"]
    assert straggler.since_s == 3.0
    assert f"for `fetch[{80 + late}]`" in straggler.message
    assert "would have ended after 3.0 s" in straggler.message


def test_a_pause_at_the_end_makes_no_stragglers() -> None:
    """Where all that runs at the end is late by the same pause, no job is the reason."""
    found = findings(batch([*side_by_side(4, 10, 50), *[(500, 3_000)] * 30], 31))
    assert [each for each in found if each.code == "STRAGGLER"] == []


def test_several_long_jobs_are_no_stragglers() -> None:
    """A fifth of the jobs that take long are what this batch is like."""
    assert findings(batch([*side_by_side(4, 10, 50), *[(0, 3_000)] * 10], 14)) == []


def test_retries_cost_what_their_attempts_and_pauses_took() -> None:
    """The share is the time in failed attempts and pauses, divided by how many jobs ran at once."""
    tries: dict[int, int] = {}

    async def flaky(number: int) -> None:
        tries[number] = tries.get(number, 0) + 1
        await asyncio.sleep(0.02)
        if tries[number] < 3:
            raise ConnectionError

    async def work() -> None:
        policy = RetryPolicy(attempts=5, base_delay=0.1, multiplier=1.0, jitter=0.0)
        await async_map(flaky, range(20), limit=4, retry=policy)

    run, records = recorded(work())
    (found,) = findings(records, run)
    assert found.code == "RETRIES"
    told = re.search(
        r"tried again 40 times: (\S+ m?s) went into attempts that failed and (\S+ m?s) into pauses",
        found.message,
    )
    assert told is not None, found.message
    failed = [record for record in records if record.type == "attempt" and record.status == "error"]
    pauses = [record for record in records if record.type == "backoff"]
    assert (len(failed), len(pauses)) == (40, 40)
    assert seconds(told[1]) == pytest.approx(sum(map(lasted, failed)), rel=0.1)
    assert seconds(told[2]) == pytest.approx(sum(map(lasted, pauses)), rel=0.1)


def test_a_limit_is_too_low_where_jobs_are_as_quick_side_by_side_as_alone() -> None:
    """All slots in use, a long queue, run times that do not depend on it: twice the slots take half the time."""
    alone = [(number * 50, number * 50 + 50) for number in range(20)]
    full = side_by_side(4, 100, 50, 1_000)
    (found,) = findings(batch([*alone, *full], 4, queue_ms=2_000))
    assert (found.code, found.since_s) == ("LIMIT_TOO_LOW", 3.0)


def test_nothing_is_said_of_a_limit_whose_effect_was_never_seen() -> None:
    """All slots in use from the first job to the last: nobody knows what more of them would have done."""
    assert findings(batch(side_by_side(4, 100, 50), 4, queue_ms=2_000)) == []
    slower = [(number * 10, number * 10 + 10) for number in range(20)]
    assert findings(batch([*slower, *side_by_side(4, 100, 50, 200)], 4, queue_ms=2_000)) != []


def test_a_limit_is_too_high_where_more_at_once_get_no_more_done() -> None:
    """Twice as many at once that take twice as long: the same throughput, and each job waits longer for it."""
    few, many = side_by_side(4, 20, 50), side_by_side(8, 20, 100, 1_000)
    (found,) = findings(batch([*few, *many], None))
    assert found.code == "LIMIT_TOO_HIGH"
    assert "with about 8 jobs at once than with 4: each took 100 ms instead of 50 ms" in found.message


def test_loop_lag_is_summed_by_place() -> None:
    """What held the loop is added up; the place that did so for longest is the location."""

    def lag(number: int, held_s: float, place: str) -> Record:
        payload: dict[str, object] = {keys.HELD_S: held_s, keys.LOCATION: place}
        return Record(
            number, None, 7, "loop_lag", "loop", number * MS, number * MS, payload=payload, is_point=True
        )

    (found,) = findings([lag(1, 1.5, "a.py:3"), lag(2, 0.5, "b.py:9"), lag(3, 1.0, "a.py:3")])
    assert (found.code, found.location, found.since_s) == ("LOOP_LAG", "a.py:3", 3.0)
    assert "at least 3.0 s of the 10 s that the run lasted, 2.5 s of them at a.py:3:" in found.message
    assert findings([lag(1, 0.05, "a.py:3")]) == []


def test_one_slow_call_among_quick_ones_is_named() -> None:
    """Of several names of one type, the one that takes many times longer than the others is told."""

    async def ask(number: int) -> None:
        name = ("price", "user", "search")[number % 3]
        with get_callback_manager().event("tool", name=name):
            await asyncio.sleep(0.2 if name == "search" else 0.01)

    run, records = recorded(async_map(ask, range(30), limit=6))
    (found,) = findings(records, run)
    assert found.code == "SLOW_CALL"
    told = re.search(r"`search` took (\d+ ms), 10 times, where the others took (\d+ ms)", found.message)
    assert told is not None, found.message
    slow = statistics.median(lasted(record) for record in records if record.name == "search")
    assert seconds(told[1]) == pytest.approx(slow, rel=0.1)
    assert 0.01 <= seconds(told[2]) < slow / 2


def test_what_is_not_a_number_is_left_out() -> None:
    """A record may hold anything: open events, strange payloads, batches that were never written."""
    strange: dict[str, Any] = {keys.LIMIT: ["4"], keys.HELD_S: "long"}
    records = [
        Record(1, None, 7, "batch", "fetch", 0, None, batch_id=1, payload=strange),
        Record(2, None, 7, "batch", "fetch", 0, 10 * MS, "ok", batch_id=2, payload=strange),
        Record(3, None, 7, "loop_lag", "loop", 1, 1, payload=strange, is_point=True),
        Record(4, 9, 7, "job", "fetch", 0, 5 * MS, "ok", job_index=0, batch_id=9),
    ]
    assert findings(records) == []


@pytest.mark.parametrize("end_ns", [-(1 << 63), (1 << 63) - 1])
@pytest.mark.parametrize("kind", ["attempt", "request", "job"])
def test_times_that_nobody_can_have_measured_are_read(kind: str, end_ns: int) -> None:
    """A file may say anything of when an event ended: what is explained of it is of no use, but there is an answer."""
    records = batch([(0, 10)], 1)
    start_ns = -(1 << 63) if end_ns > 0 else (1 << 62)
    records.append(Record(99, 10, 7, kind, "fetch", start_ns, end_ns, "ok", job_index=0, batch_id=1))
    assert isinstance(findings(records), list)


@pytest.mark.parametrize(
    ("code", "given_up"),
    [(None, False), (0, False), (1, False), (128, False), (130, True), (137, True), (-9, True), (255, False)],
)
def test_who_was_ended_by_a_signal_was_given_up(code: int | None, given_up: bool) -> None:
    """A program may have any other code of its own, 255 for one, which is what ``sys.exit(-1)`` is."""
    assert was_given_up(run_of(exit_code=code)) is given_up
