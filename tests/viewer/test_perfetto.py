"""The picture of a run, read by a strict reader of its format."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom.events.error import ErrorInfo, Frame
from spanloom.store.model import Counts, Record, Run
from spanloom.viewer._perfetto_jobs import MAX_WAITS
from spanloom.viewer.perfetto import MAX_GROUPS, write_perfetto
from tests.viewer.chrome_trace import Trace
from tests.viewer.recording import STARTED_NS, by_start, recorded, run_of
from tests.viewer.workload import rounds

MS = 1_000_000


def picture(run: Run, records: list[Record]) -> Trace:
    parts: list[bytes] = []
    write_perfetto(run, records, parts.append)
    return Trace(b"".join(parts))


def batch(
    event_id: int, name: str, start_ns: int, end_ns: int | None, total: int | None, **changes: Any
) -> Record:
    fields: dict[str, Any] = {
        "event_id": event_id,
        "parent_id": None,
        "trace_id": 9,
        "type": "batch",
        "name": name,
        "start_ns": start_ns,
        "end_ns": end_ns,
        "status": "ok",
        "batch_id": event_id,
        "counts": Counts(total),
    }
    return Record(**(fields | changes))


def job(event_id: int, of: Record, index: int, start_ns: int, end_ns: int | None, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "event_id": event_id,
        "parent_id": of.event_id,
        "trace_id": 9,
        "type": "job",
        "name": "fetch",
        "start_ns": start_ns,
        "end_ns": end_ns,
        "status": "ok",
        "job_index": index,
        "batch_id": of.event_id,
        "queue_ns": start_ns - of.start_ns,
    }
    return Record(**(fields | changes))


def scope(event_id: int, parent_id: int | None, start_ns: int, end_ns: int | None, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "event_id": event_id,
        "parent_id": parent_id,
        "trace_id": 9,
        "type": "step",
        "name": f"step {event_id}",
        "start_ns": start_ns,
        "end_ns": end_ns,
        "status": "ok",
    }
    return Record(**(fields | changes))


def test_a_whole_pipeline_is_in_order() -> None:
    """Every event of a run with nested batches, retries, failures, waits and points is drawn exactly once."""
    run, records = recorded(rounds())
    trace = picture(run, records)
    drawn = Counter(event["args"]["event_id"] for event in [*trace.slices, *trace.instants])
    assert drawn == Counter(f"{record.event_id:016x}" for record in records)
    assert trace.flows
    assert trace.waits
    for source, target in trace.flows:
        assert target["args"]["attempt"] == source["args"]["attempt"] + 1


@st.composite
def trees(draw: st.DrawFn) -> list[Record]:
    """Return records of any shape: nested, side by side, of no length, outliving their parents, or without any."""
    records: list[Record] = []
    for number in range(1, draw(st.integers(1, 25)) + 1):
        start_ns = draw(st.integers(0, 60))
        end_ns = draw(st.none() | st.integers(start_ns, 70))
        parent = draw(st.none() | st.sampled_from(records)) if records else None
        if parent is not None and parent.type == "batch" and draw(st.booleans()):
            start_ns = max(start_ns, parent.start_ns)
            records.append(
                job(number, parent, number, start_ns, None if end_ns is None else max(end_ns, start_ns))
            )
        elif draw(st.integers(0, 3)) == 0:
            total = draw(st.none() | st.integers(0, 9))
            above = None if parent is None else parent.event_id
            name = draw(st.sampled_from(["a", "b"]))
            records.append(batch(number, name, start_ns, end_ns or start_ns, total, parent_id=above))
        else:
            kind = draw(st.sampled_from(["step", "attempt", "backoff", "slot_wait", "mark"]))
            point = kind == "mark"
            above = draw(st.sampled_from([None, 999])) if parent is None else parent.event_id
            records.append(
                scope(
                    number,
                    above,
                    start_ns,
                    start_ns if point else end_ns,
                    type=kind,
                    attempt=1,
                    is_point=point,
                )
            )
    return by_start(records)


@settings(max_examples=400, deadline=None)
@given(trees())
def test_whatever_happened_is_a_trace_in_order(records: list[Record]) -> None:
    """No slices of one track overlap in part, arrows have two ends, and every event is there once, at its time."""
    trace = picture(run_of(last_seen_wall_ns=STARTED_NS + 65), records)
    drawn = {event["args"]["event_id"]: event for event in trace.slices}
    slices = [record for record in records if not record.is_point]
    assert sorted(drawn) == sorted(f"{record.event_id:016x}" for record in slices)
    assert len(trace.instants) == len(records) - len(slices)
    for record in slices:
        event = drawn[f"{record.event_id:016x}"]
        assert event["start"] == record.start_ns
        end_ns = 65 if record.end_ns is None else record.end_ns
        assert event["end"] == max(end_ns, record.start_ns)
    for values in trace.counters.values():
        assert all(value >= 0 for _, value in values)
        assert values[-1][1] == 0


def test_a_job_gets_the_lowest_slot_that_is_free() -> None:
    """As many slots as jobs run side by side, each job in the first that is free, also at the instant another ends."""
    pages = batch(1, "pages", 0, 100, 5)
    times = [(10, 50), (11, 20), (12, 60), (20, 90), (55, 70)]
    records = [pages, *(job(10 + index, pages, index, *time) for index, time in enumerate(times))]
    trace = picture(run_of(), records)
    slots = {
        name: [event["args"]["index"] for event in trace.on(name)]
        for name in trace.tracks.values()
        if "slot" in name
    }
    assert slots == {"pages, slot 1": [0, 4], "pages, slot 2": [1, 3], "pages, slot 3": [2]}


def test_counters_tell_how_many_run_and_how_many_wait() -> None:
    """Jobs that never start wait until their batch ends."""
    pages = batch(1, "pages", 0, 100 * MS, 5, status="cancelled")
    records = [pages]
    records += [
        job(10 + index, pages, index, start * MS, end * MS)
        for index, (start, end) in enumerate([(1, 40), (2, 50), (40, 60)])
    ]
    trace = picture(run_of(), records)
    assert trace.counters["pages: running"] == [
        (1 * MS, 1), (2 * MS, 2), (50 * MS, 1), (60 * MS, 0),
    ]  # fmt: skip
    assert trace.counters["pages: queued"] == [
        (0, 5), (1 * MS, 4), (2 * MS, 3), (40 * MS, 2), (100 * MS, 0),
    ]  # fmt: skip


def test_of_unknown_size_nothing_is_said_of_a_queue() -> None:
    """How many items a generator will give is not known, so it is not drawn; waits that were measured are."""
    pages = batch(1, "pages", 0, 100 * MS, None)
    records = [
        pages,
        *(job(10 + index, pages, index, 10 * MS, 20 * MS, queue_ns=index * MS) for index in range(3)),
    ]
    trace = picture(run_of(), records)
    assert "pages: queued" not in trace.counters
    assert sorted(trace.waits) == [("pages: waiting", 8 * MS, 10 * MS), ("pages: waiting", 9 * MS, 10 * MS)]


def test_a_thousand_that_wait_are_a_few_rows() -> None:
    """Of jobs that began to wait at the same moment, a bounded number of waits is drawn; a counter has them all."""
    pages = batch(1, "pages", 0, 5_000, 1_000)
    records = [pages, *(job(10 + index, pages, index, 1 + index, 2 + index) for index in range(1_000))]
    trace = picture(run_of(last_seen_wall_ns=STARTED_NS + 5_000), records)
    assert len(trace.waits) == MAX_WAITS
    assert max(value for _, value in trace.counters["pages: queued"]) == 1_000


def test_counters_have_no_more_values_than_a_screen_can_show() -> None:
    """A batch of many jobs is sampled; the last value is right."""
    pages = batch(1, "pages", 0, 10 * MS, 9_000)
    records = [pages, *(job(10 + index, pages, index, index * 10, index * 10 + 35) for index in range(9_000))]
    trace = picture(run_of(last_seen_wall_ns=STARTED_NS + 3_600_000 * MS), records)
    for values in trace.counters.values():
        assert len(values) < 10
        assert values[-1][1] == 0


def test_arrows_lead_from_one_attempt_to_the_next() -> None:
    """Within a call; not from the attempts of one job to those of another."""
    pages = batch(1, "pages", 0, 100, 2)
    records = [pages]
    for index, start_ns in ((0, 10), (1, 12)):
        of = job(10 + index, pages, index, start_ns, 80 + index)
        records.append(of)
        for number in (1, 2, 3):
            at = start_ns + number * 20
            failed = {"status": "error", "error": ErrorInfo("OSError", "no\nway", (Frame("a.py", 3, "f"),))}
            kind = {"type": "attempt", "attempt": number}
            records.append(
                scope(
                    100 * number + index,
                    of.event_id,
                    at - 10,
                    at - 5,
                    **kind,
                    **(failed if number < 3 else {}),
                )
            )
            records.append(
                scope(100 * number + 50 + index, of.event_id, at - 5, at, type="backoff", attempt=number)
            )
    trace = picture(run_of(), by_start(records))
    assert sorted(
        (source["name"], target["name"], source["parent"]["args"]["index"]) for source, target in trace.flows
    ) == [
        ("attempt 1 [error]", "attempt 2 [error]", 0),
        ("attempt 1 [error]", "attempt 2 [error]", 1),
        ("attempt 2 [error]", "attempt 3", 0),
        ("attempt 2 [error]", "attempt 3", 1),
    ]
    assert all(source["parent"] is target["parent"] for source, target in trace.flows)
    failed_one = next(event for event in trace.slices if event["name"] == "attempt 1 [error]")
    assert failed_one["args"]["error"] == "OSError: no\nway"
    assert failed_one["args"]["raised at"] == "a.py:3 in f"


def test_what_overlaps_inside_a_job_is_drawn_beside_it() -> None:
    """Two calls side by side in one job: the second gets a row of its own, next to the job's slot."""
    pages = batch(1, "pages", 0, 100, 1)
    one = job(2, pages, 0, 1, 90)
    records = [pages, one, scope(3, 2, 10, 50), scope(4, 2, 20, 60), scope(5, 4, 30, 55), scope(6, 2, 70, 80)]
    trace = picture(run_of(), records)
    assert [event["name"] for event in trace.on("pages, slot 1")] == ["fetch", "step 3", "step 6"]
    assert [event["name"] for event in trace.on("pages, slot 1, beside 1")] == ["step 4", "step 5"]
    places = {name: tid for (_, tid), name in trace.tracks.items()}
    assert places["pages, slot 1, beside 1"] == places["pages, slot 1"] + 1


def test_only_a_job_that_held_the_loop_all_along_is_a_block() -> None:
    """Busy for most of its run and for 10 ms: its run is a block. When others held the loop is not known."""
    pages = batch(1, "pages", 0, 900 * MS, 4)
    records = [
        pages,
        job(10, pages, 0, 10 * MS, 110 * MS, busy_ns=95 * MS),  # all along
        job(11, pages, 1, 120 * MS, 420 * MS, busy_ns=95 * MS),  # as long, but in between others ran
        job(12, pages, 2, 430 * MS, 435 * MS, busy_ns=5 * MS),  # all along, and not for long
        job(13, pages, 3, 440 * MS, 540 * MS),  # not measured
    ]
    trace = picture(run_of(), records)
    (block,) = trace.on("event loop")
    assert (block["name"], block["start"], block["end"]) == ("blocked by fetch", 10 * MS, 110 * MS)
    assert block["args"] == {"job": 0, "busy_ms": 95.0}
    assert "event loop" not in picture(run_of(), [pages, records[-1]]).tracks.values()


def test_what_died_with_its_process_lasts_until_then() -> None:
    """Interrupted events end when the run was last seen, open ones where it is now; both say so."""
    run = run_of(state="interrupted", ended_wall_ns=None, last_seen_wall_ns=STARTED_NS + 700 * MS)
    pages = batch(1, "pages", 0, None, 3, status="interrupted")
    records = [
        pages,
        job(10, pages, 0, 5 * MS, None, status="interrupted"),
        job(11, pages, 1, 6 * MS, None, status=None),
    ]
    trace = picture(run, records)
    ends = {event["name"]: event["end"] for event in trace.slices}
    assert ends == dict.fromkeys(("pages [interrupted]", "fetch [interrupted]", "fetch [open]"), 700 * MS)
    assert trace.processes == {1: "pipeline.py (0198f2c4, interrupted)"}
    assert trace.whole["otherData"]["state"] == "interrupted"


def test_names_without_number_are_bounded() -> None:
    """A program that gives each batch a name of its own gets a bounded number of kinds."""
    records = []
    for number in range(1, MAX_GROUPS * 2):
        at = batch(number * 1_000, f"batch {number}", number * 10, number * 10 + 9, 1)
        records += [at, job(number * 1_000 + 1, at, 0, number * 10 + 1, number * 10 + 5)]
    trace = picture(run_of(), records)
    kinds = {name.rsplit(",")[0] for name in trace.tracks.values() if "slot" in name}
    assert len(kinds) == MAX_GROUPS + 1
    assert "all other batches" in kinds


def test_hostile_text_is_text() -> None:
    """Names, errors and payloads are JSON strings, whatever is in them, and not longer than is useful."""
    text = '</script>"\\\x00\u2028\x1b[31m' + "x" * 10_000
    record = scope(
        1,
        None,
        0,
        10,
        name=text,
        status="error",
        error=ErrorInfo(text, text),
        payload={text: text, "n": float("nan")},
    )
    trace = picture(run_of(name=text), [record])
    (event,) = trace.slices
    assert event["name"] == f"{text} [error]"
    assert len(event["args"]["error"]) == 500
    assert event["args"]["payload"] == {text: text[:500]}
    assert len(json.dumps(event)) < 100_000
