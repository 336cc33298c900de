"""Jobs column by column: each has what is its own, whatever the others are and have."""

from __future__ import annotations

import random
import weakref

import msgspec
import pytest

from spanloom.events.counts import BatchCounts
from spanloom.events.event import Event, JobDetail, JobEvent, JobFamily, ScopeEvent
from spanloom.events.ids import base_of, event_id_at, new_event_id, signed_ids_at
from spanloom.events.trace import Trace
from spanloom.store.rows import Rows, signed
from spanloom.store.statements import NO_ID, NO_NUMBER, NO_TEXT

BEGAN = 5_000


class _Jobs:
    def __len__(self) -> int:
        return 0


JOBS = _Jobs()


def family(name: str, ready_ns: int | None) -> JobFamily:
    trace = Trace(name, batch_id := new_event_id())
    return JobFamily(batch_id, trace, name, new_event_id(), ready_ns, BatchCounts(None, weakref.ref(JOBS)))


@pytest.mark.parametrize("base", [1, (1 << 64) - 1, base_of(0, 7), base_of(0, 0), 1 << 63, (1 << 63) - 1])
def test_ids_are_those_of_the_events(base: int) -> None:
    """The ids of many jobs are those of each, also of the one that would be 0."""
    indexes = [7, 0, 3, 10**6, 1]
    expected = [signed(event_id_at(base, index)) for index in indexes]
    assert signed_ids_at(base, indexes) == signed_ids_at(signed(base), indexes) == expected
    assert 0 not in expected
    assert all(-(1 << 63) <= event_id < 1 << 63 for event_id in expected)


def made(chance: random.Random, count: int) -> list[JobEvent]:
    """Return ended jobs of some families, one in three of them with a detail of some kind."""
    families = [family("work", BEGAN), family("other", 10), family("streamed", None)]
    jobs = []
    for index in range(count):
        own = chance.choice(families)
        detail = None
        if own.ready_ns is None or chance.random() < 0.3:
            detail = JobDetail(
                chance.choice([None, "error", "cancelled"]),
                attempt=chance.choice([None, 2]),
                ready_ns=None if own.ready_ns is not None else 7_000 + index,
            )
        jobs.append(JobEvent(own, index, 9_000 + index, 20_000 + 3 * index, detail))
    return jobs


@pytest.mark.parametrize("count", [0, 1, 2, 600])
def test_each_job_keeps_what_is_its_own(count: int) -> None:
    """Jobs of many batches in one list, with and without details: the rows are those that each would have by itself."""
    jobs = made(random.Random(count), count)
    rows = Rows(BEGAN, payloads=False)
    scope = ScopeEvent("step", "between", new_event_id(), None, Trace("between", 5), 6_000, end_ns=8_000)
    events: list[Event] = [*jobs[: count // 2], scope, *jobs[count // 2 :]]
    rows.take(events)
    assert (len(rows), rows.job_count, len(rows.events)) == (count + 1, count, 1)
    names = {number: name for number, _, name in rows.labels}
    roots = {number: root for number, _, root in rows.traces}
    found = {}
    for (label, trace, batch_id, base_id, ready_ns), waiting in rows.jobs.items():
        ids = signed_ids_at(base_id, waiting.indexes)
        own = zip(waiting.starts_ns, ids, waiting.indexes, waiting.ends_ns, strict=True)
        for start_ns, event_id, index, end_ns in own:
            queue_ns = 0 if ready_ns is None else start_ns - ready_ns
            found[index] = (
                start_ns,
                event_id,
                names[label],
                roots[trace],
                batch_id,
                queue_ns,
                end_ns,
                "ok",
                NO_NUMBER,
            )
    for (
        start,
        event_id,
        label,
        trace,
        parent_id,
        batch_id,
        index,
        queue_ns,
        end,
        status,
        *others,
    ) in rows.details:
        assert parent_id == batch_id
        assert [others[0], *others[2:]] == [NO_NUMBER, NO_ID, NO_TEXT]
        times = start + BEGAN, end + BEGAN
        found[index] = (
            times[0],
            event_id,
            names[label],
            roots[trace],
            batch_id,
            queue_ns,
            times[1],
            status,
            others[1],
        )
    assert [found[job.index] for job in jobs] == [
        (
            job.start_ns,
            signed(job.event_id),
            job.name,
            signed(job.batch_id),
            signed(job.batch_id),
            job.queue_ns,
            job.end_ns,
            job.status,
            NO_NUMBER if job.attempt is None else job.attempt,
        )
        for job in jobs
    ]
    statuses = [job.status for job in jobs]
    assert (rows.failed, rows.cancelled) == (statuses.count("error"), statuses.count("cancelled"))


def test_what_is_open_is_listed_once_and_goes_with_its_end() -> None:
    """Jobs that are found open, some of them twice, are listed with what is theirs, until they have ended."""
    jobs = made(random.Random(1), 300)
    rows = Rows(BEGAN, payloads=False)
    rows.take_open([*jobs[:200], *jobs[100:200]])
    rows.take_open(jobs[150:])
    rows.open.pack()
    names = {number: name for number, _, name in rows.labels}
    listed = {entry[6]: entry for listed in rows.open._lists for entry in _decoded(listed.text)}
    assert sum(len(each.ids) for each in rows.open._lists) == len(listed) == len(rows.open.jobs) == 300
    for job in jobs:
        start, event_id, label, _, parent_id, batch_id, _, queue_ns, attempt = listed[job.index]
        assert parent_id == batch_id == signed(job.batch_id)
        assert (start, event_id, names[label]) == (job.start_ns - BEGAN, signed(job.event_id), job.name)
        assert (queue_ns, attempt) == (job.queue_ns, job.attempt)
    rows.take(jobs[:299])
    rows.open.pack(exactly=True)
    assert [entry[6] for each in rows.open._lists for entry in _decoded(each.text)] == [299]
    assert list(rows.open.jobs) == [signed(jobs[299].family.base_id) + 299]


def _decoded(text: str) -> list[list[int | None]]:
    return msgspec.json.decode(text, type=list[list[int | None]])
