"""DebugHandler: its numbers add up, its trees are whole, its memory is bounded, and jobs hardly feel it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import random
import re
import threading
import time
import tracemalloc
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom import RetryPolicy, async_map, run_jobs, use_callback_manager
from spanloom.callbacks import CallbackManager
from spanloom.events.counts import BatchCounts
from spanloom.events.error import ErrorInfo
from spanloom.events.event import Event, JobDetail, JobEvent, JobFamily, ScopeEvent
from spanloom.events.ids import new_event_id
from spanloom.events.trace import Trace
from spanloom.handlers import _debug_ledger, _debug_slowest, _debug_tree
from spanloom.handlers._debug_group import SHOWN, Folded, fold
from spanloom.handlers._debug_ledger import Ledger
from spanloom.handlers._text import format_ns
from spanloom.handlers.debug import DebugHandler

MS = 1_000_000
BOOM = ErrorInfo("ValueError", "boom")


class Run:
    """One trace made by hand: events with the times that a test wants, in order of their end."""

    def __init__(self, name: str = "demo") -> None:
        self.root_id = new_event_id()
        self.trace = Trace(name, self.root_id)
        self.events: list[Event] = []

    def scope(
        self, type: str, name: str, start: int, end: int, parent: int | None = None, **more: object
    ) -> int:
        """Add an ended event from `start` to `end` ms; return its id."""
        event_id = cast("int", more.pop("event_id", None)) or new_event_id()
        more["failure"] = more.pop("status", None)
        self.events.append(
            ScopeEvent(
                type,
                name,
                event_id,
                self.root_id if parent is None else parent,
                self.trace,
                start * MS,
                end_ns=end * MS,
                **more,  # type: ignore[arg-type]  # whatever the test says
            )
        )
        return event_id

    def family(self, name: str, *, ready: int | None = 0, started: int = 1_000) -> JobFamily:
        """Return a family of jobs, of a batch that is still open."""
        counts = BatchCounts(None)
        counts._started = started
        ready_ns = None if ready is None else ready * MS
        return JobFamily(new_event_id(), self.trace, name, new_event_id(), ready_ns, counts)

    def job(self, family: JobFamily, index: int, start: int, end: int, **detail: object) -> int:
        """Add an ended job; return its id."""
        more = JobDetail(**detail) if detail else None  # type: ignore[arg-type]  # whatever the test says
        event = JobEvent(family, index, start * MS, end * MS, more)
        self.events.append(event)
        return event.event_id

    def batch(self, family: JobFamily, name: str, start: int, end: int, **more: object) -> None:
        """End the batch of `family`, under the root."""
        self.scope("batch", name, start, end, event_id=family.batch_id, counts=family.counts, **more)

    def end(self, end: int) -> list[Event]:
        """End the root, and return all events."""
        self.events.append(
            ScopeEvent("trace", self.trace.name, self.root_id, None, self.trace, 0, end_ns=end * MS)
        )
        return self.events


def feed(handler: DebugHandler, events: list[Event], size: int = 512) -> None:
    for start in range(0, len(events), size):
        handler.on_events(events[start : start + size])


def stats(handler: DebugHandler, type: str, name: str | None = None, **more: list[Event]) -> dict[str, int]:
    """Return the statistics of a type, or of one name of it."""
    of_type = handler.summary(**more)["types"][type]  # type: ignore[index]  # plain data
    return cast("dict[str, int]", of_type if name is None else of_type["names"][name])


def printed(run: Run, end: int, **options: object) -> str:
    """Return the tree that is printed of `run`, without the id of the trace."""
    stream = io.StringIO()
    feed(DebugHandler(True, stream=stream, **options), run.end(end))  # type: ignore[arg-type]  # plain data
    return re.sub(r"  trace [0-9a-f]{32}", "", stream.getvalue())


# numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 512])
def test_every_way_to_end_is_counted_and_the_sum_is_right(size: int) -> None:
    """Count is ok + errors + timeouts + cancelled + skipped, however the events are cut into lists."""
    run = Run()
    family = run.family("fetch")
    run.job(family, 0, 0, 10)
    run.job(family, 1, 0, 20, status="error", error=BOOM, attempt=3)
    run.job(family, 2, 10, 20, status="timeout")
    run.job(family, 3, 20, 25, status="cancelled", busy_ns=7)
    run.job(family, 4, 20, 30, status="interrupted", busy_ns=5)
    run.batch(family, "all", 0, 30)
    handler = DebugHandler()
    feed(handler, run.end(31), size)
    found = stats(handler, "job", "fetch")
    names = ("count", "ok", "errors", "timeouts", "cancelled", "skipped", "attempts", "busy_ns")
    assert [found[name] for name in names] == [5, 1, 1, 1, 1, 1, 7, 12]
    assert found["total_ns"] == found["run_ns"] == 55 * MS
    assert (found["min_ns"], found["mean_ns"], found["max_ns"]) == (5 * MS, 11 * MS, 20 * MS)
    assert (found["p50_ns"], found["p95_ns"]) == (10 * MS, 20 * MS)
    assert found["queue_ns"] == 50 * MS
    assert stats(handler, "batch")["count"] == stats(handler, "trace")["count"] == 1


def test_a_type_is_the_sum_of_its_names() -> None:
    """The statistics of a type merge those of its names."""
    run = Run()
    for number, name in enumerate(["a", "b", "a"], start=1):
        run.scope("step", name, 0, 10 * number, status="error" if name == "b" else None)
    handler = DebugHandler()
    feed(handler, run.end(99))
    assert {name: stats(handler, "step", name)["count"] for name in ("a", "b")} == {"a": 2, "b": 1}
    step = stats(handler, "step")
    assert (step["count"], step["errors"], step["total_ns"], step["p50_ns"]) == (3, 1, 60 * MS, 20 * MS)


def test_jobs_of_a_running_batch_are_counted_at_once_and_only_once() -> None:
    """Readers need not wait for a batch to end, and its end does not count the jobs again."""
    run = Run()
    family = run.family("fetch")
    for index in range(600):
        run.job(family, index, index, index + 10)
    handler = DebugHandler()
    feed(handler, run.events)
    before = stats(handler, "job", "fetch")
    handler.slowest()
    run.events = []
    run.batch(family, "fetch", 0, 700)
    feed(handler, run.end(700))
    assert before["count"] == 600
    assert stats(handler, "job", "fetch") == before
    assert handler.summary()["traces"] == {"open": 0, "ended": 1, "left_out": 0}


def test_back_off_belongs_to_everything_above_it() -> None:
    """The pauses under a job add up in the job, its batch and its trace, in nested retries as well."""
    run = Run()
    family = run.family("fetch")
    job_id, retry_id = family.id_at(7), new_event_id()
    run.scope("backoff", "inner", 0, 20, retry_id, attempt=1)
    run.scope("backoff", "inner", 30, 50, retry_id, attempt=2)
    run.scope("retry", "inner", 0, 60, job_id, event_id=retry_id)
    run.scope("backoff", "outer", 60, 65, job_id, attempt=1)
    run.job(family, 7, 0, 70)
    run.batch(family, "fetch", 0, 70)
    handler = DebugHandler()
    feed(handler, run.end(70))
    found = {
        type: stats(handler, type)["backoff_ns"] // MS
        for type in ("retry", "job", "batch", "trace", "backoff")
    }
    assert found == {"retry": 40, "job": 45, "batch": 45, "trace": 45, "backoff": 0}


def test_waits_for_a_slot_are_queue_time() -> None:
    """The duration of a slot wait is its queue time; events that never queue have none."""
    run = Run()
    run.scope("slot_wait", "limiter", 0, 10)
    run.scope("step", "load", 0, 10)
    handler = DebugHandler()
    feed(handler, run.end(10))
    assert stats(handler, "slot_wait")["queue_ns"] == 10 * MS
    assert stats(handler, "step")["queue_ns"] is None


def test_names_and_types_beyond_the_bound_are_counted_together() -> None:
    """Memory is bounded where names are not, and no event is lost from the counts."""
    run = Run()
    for number in range(10):
        run.scope("step", f"step {number}", 0, 1)
        run.scope(f"type {number}", "x" * 1_000, 0, 1)
    handler = DebugHandler(max_names=3)
    feed(handler, run.end(9))
    types = cast("dict[str, dict[str, dict[str, object]]]", handler.summary()["types"])
    assert list(types) == ["step", "type 0", "type 1", "(other)"]
    assert list(types["step"]["names"]) == ["step 0", "step 1", "step 2", "(other)"]
    assert list(types["type 0"]["names"]) == ["x" * 200]
    assert (types["step"]["count"], types["(other)"]["count"]) == (10, 9)


def test_the_summary_is_plain_json() -> None:
    """Whatever was counted, the summary survives a round trip through JSON unchanged."""
    run = Run()
    family = run.family("fetch", ready=None)
    run.job(family, 0, 0, 10)
    run.batch(family, "fetch", 0, 10)
    handler = DebugHandler()
    feed(handler, run.end(10))
    summary = handler.summary([])
    assert json.loads(json.dumps(summary)) == summary
    assert DebugHandler().summary() == {
        "types": {},
        "traces": {"open": 0, "ended": 0, "left_out": 0},
        "event_pairs": {"kept": 0, "let_go": 0},
    }


def test_event_pairs_are_kept_up_to_a_bound() -> None:
    """The last events stay, filtered by type on request; what went is counted."""
    run = Run()
    for number in range(5):
        run.scope("step" if number % 2 else "tool", str(number), 0, 1)
    handler = DebugHandler(keep_pairs=4)
    feed(handler, run.end(9), 2)
    assert [event.name for event in handler.event_pairs()] == ["2", "3", "4", "demo"]
    assert [event.name for event in handler.event_pairs("tool")] == ["2", "4"]
    assert handler.summary()["event_pairs"] == {"kept": 4, "let_go": 2}


def test_a_parent_folds_what_happens_in_too_many_kinds_of_children() -> None:
    """What happened inside siblings that are not shown is counted under a bounded number of names."""
    run = Run()
    family = run.family("fetch")
    for index in range(20):
        for number in range(10):
            run.scope("step", f"{index}-{number}", 0, index, family.id_at(index))
        run.job(family, index, 0, index)
    run.batch(family, "fetch", 0, 50)
    (inside,) = [line for line in printed(run, 50).splitlines() if "inside the others" in line]
    assert inside.count(" x 1 ") == 50
    assert "(other) x 120 " in inside


def test_reset_forgets_what_was_counted() -> None:
    """After a reset, counting starts at nothing."""
    run = Run()
    run.scope("step", "load", 0, 1)
    handler = DebugHandler(keep_pairs=3)
    feed(handler, run.end(1))
    handler.reset()
    assert handler.summary() == DebugHandler().summary()
    assert handler.event_pairs() == []
    assert handler.slowest("trace") == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_pairs": -1}, "keep_pairs"),
        ({"max_tree": 0}, "max_tree"),
        ({"max_names": 0}, "max_names"),
        ({"stream": io.StringIO(), "logger": logging.getLogger("x")}, "either"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    """A constructor that cannot do what it was told says so."""
    with pytest.raises(ValueError, match=message):
        DebugHandler(**options)  # type: ignore[arg-type]  # plain data


@pytest.mark.parametrize("name", ["keep_pairs", "max_tree", "max_names"])
def test_options_that_are_no_numbers_are_refused(name: str) -> None:
    """A NaN would be no bound, and True one of 1."""
    for wrong in (float("nan"), True, "10"):
        options: Any = {name: wrong}
        with pytest.raises(TypeError, match=rf"{name} must be an int of at least [01] \(got {wrong!r}, "):
            DebugHandler(**options)


# in flight ------------------------------------------------------------------------------------------------------------


async def test_in_flight_counts_jobs_before_the_first_one_ends() -> None:
    """Jobs in flight are known by name while a batch runs, without any hook in a job."""
    handler = DebugHandler()
    manager = CallbackManager([handler])
    release = asyncio.Event()
    with use_callback_manager(manager):
        batch = asyncio.create_task(async_map(lambda _: release.wait(), range(10), limit=4, desc="waiting"))
        await asyncio.sleep(0.01)
        summary = handler.summary()["types"]
        known = handler.summary(manager.in_flight())["types"]
        release.set()
        await batch
    await asyncio.to_thread(manager.flush)
    job = summary["job"]  # type: ignore[index]  # plain data
    assert (job["in_flight"], job["count"], job["mean_ns"]) == (4, 0, None)
    assert [stats["in_flight"] for stats in job["names"].values()] == [4]
    assert summary["batch"]["names"]["waiting"]["in_flight"] == 1  # type: ignore[index]  # plain data
    assert known["job"]["in_flight"] == 4  # type: ignore[index]  # plain data
    assert (stats(handler, "job")["in_flight"], stats(handler, "job")["count"]) == (0, 10)
    await manager.aclose()


def test_in_flight_of_other_types_is_known_from_the_manager() -> None:
    """Without being told, the handler does not pretend to know how many steps are open."""
    handler = DebugHandler()
    with CallbackManager([handler]) as manager:
        with manager.event("step", name="load"):
            pass
        with manager.event("step", name="load"):
            manager.flush()
            assert stats(handler, "step")["in_flight"] is None
            assert stats(handler, "step", in_flight=manager.in_flight())["in_flight"] == 1


def test_ended_batches_are_not_kept_even_if_their_ends_get_lost() -> None:
    """Batches whose end never arrived are let go once they have ended."""
    handler = DebugHandler()
    run = Run()
    for _ in range(3_000):
        family = run.family("x")
        run.batch(family, "x", 0, 1)
        handler.on_event_start(run.events[-1])
    assert len(handler._open_batches) <= 1_001


# trees ----------------------------------------------------------------------------------------------------------------


def test_the_tree_shows_names_durations_status_and_errors_in_order_of_start() -> None:
    """Children stand under their parents, in order of start, with what went wrong."""
    run = Run()
    family = run.family("fetch", ready=10)
    job_id = family.id_at(0)
    run.scope("attempt", "fetch", 20, 30, job_id, attempt=1, status="error", error=BOOM)
    run.scope("backoff", "fetch", 30, 50, job_id, attempt=1)
    run.scope("attempt", "fetch", 50, 55, job_id, attempt=2)
    run.job(family, 0, 20, 55, attempt=2, busy_ns=MS)
    run.job(family, 1, 10, 60, status="cancelled")
    run.scope("step", "later", 70, 75)
    run.batch(family, "download", 10, 60, status="error", error=ErrorInfo("KeyError", ""))
    run.scope("mark", "mark", 65, 65, is_point=True)
    assert printed(run, 80) == (
        "trace demo  80.0 ms  ok  back-off 20.0 ms\n"
        "  batch download  50.0 ms  error  back-off 20.0 ms  KeyError\n"
        "    job fetch[1]  50.0 ms  cancelled\n"
        "    job fetch[0]  35.0 ms  ok  2 attempts  queue 10.0 ms  back-off 20.0 ms  busy 1.00 ms\n"
        "      attempt fetch #1  10.0 ms  error  ValueError: boom\n"
        "      backoff fetch #1  20.0 ms  ok\n"
        "      attempt fetch #2  5.00 ms  ok\n"
        "  mark\n"
        "  step later  5.00 ms  ok\n"
    )


def test_many_siblings_are_one_line_and_the_slowest_three() -> None:
    """A large batch is its totals, its slowest jobs with what happened inside, and a count of the rest."""
    run = Run()
    family = run.family("fetch", started=2_000)
    for index in range(2_000):
        length = {5: 500, 1_500: 400, 77: 300, 78: 200}.get(index, 10)
        if index % 100 == 0 or index in (5, 78):
            run.scope("attempt", "fetch", 0, length, family.id_at(index), attempt=1)
        run.job(family, index, 0, length, **({"status": "error", "error": BOOM} if index == 9 else {}))
    run.batch(family, "fetch", 0, 900)
    assert printed(run, 900) == (
        "trace demo  900 ms  ok\n"
        "  batch fetch  900 ms  ok\n"
        "    job fetch x 2,000  total 21.4 s  p50 10.0 ms  p95 10.0 ms  max 500 ms  1 failed\n"
        "      job fetch[5]  500 ms  ok\n"
        "        attempt fetch #1  500 ms  ok\n"
        "      job fetch[1500]  400 ms  ok\n"
        "        attempt fetch #1  400 ms  ok\n"
        "      job fetch[77]  300 ms  ok\n"
        "      inside the others: attempt fetch x 20 (390 ms)\n"
    )


def test_a_group_stands_where_its_first_event_started() -> None:
    """Siblings in one line are placed by the earliest start among them, whichever ended first."""
    run = Run()
    for start in (40, 50, 60, 70, 80, 5):
        run.scope("step", "many", start, 90)
    run.scope("step", "between", 20, 30)
    lines = [line.split("  ")[1] for line in printed(run, 90).splitlines() if line.startswith("  step")]
    assert lines == ["step many x 6", "step between"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    """Names and messages from outside are escaped, and cut to a line's length."""
    run = Run("evil\x1b[2J")
    run.scope("step", "a\nb", 0, 1, status="error", error=ErrorInfo("X", "\r\x1b[2J\n" + "y" * 500))
    text = printed(run, 1)
    assert "evil\\x1b[2J" in text
    assert "step a\\nb" in text
    assert "X: \\x1b[2J yyy" in text
    assert "\r" not in text
    assert all(len(line) < 250 for line in text.splitlines())
    assert len(text.splitlines()) == 2


def test_a_trace_goes_to_the_logger_instead_if_there_is_one(caplog: pytest.LogCaptureFixture) -> None:
    """With logger=, the tree is one record at INFO."""
    run = Run()
    logger = logging.getLogger("test.trees")
    with caplog.at_level(logging.INFO, "test.trees"):
        feed(DebugHandler(True, logger=logger), run.end(3))
    ((name, level, message),) = caplog.record_tuples
    assert (name, level) == ("test.trees", logging.INFO)
    assert message.startswith("trace demo  3.00 ms  ok")


def test_traces_go_to_the_standard_error_of_that_moment(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stream, the tree is written to whatever sys.stderr is when the trace ends."""
    handler = DebugHandler(True)
    feed(handler, Run().end(3))
    assert capsys.readouterr().err.startswith("trace demo  3.00 ms  ok")


def test_a_stream_that_cannot_encode_a_name_gets_it_escaped() -> None:
    """An ASCII terminal is no reason to put the handler into quarantine."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    feed(DebugHandler(True, stream=stream), Run("größe").end(3))
    assert raw.getvalue().startswith(b"trace gr\\xf6\\xdfe  3.00 ms")


def test_without_a_standard_error_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs without a console have no sys.stderr; their traces are counted all the same."""
    monkeypatch.setattr("sys.stderr", None)
    handler = DebugHandler(True)
    feed(handler, Run().end(3))
    assert stats(handler, "trace")["count"] == 1


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1_000, "1.00 us"), (9_994, "9.99 us"), (9_996, "10.0 us"), (99_960, "100 us"),
     (999_499, "999 us"), (999_500, "1.00 ms"), (61_000_000_000, "61.0 s"), (4_210_400_000_000, "4,210 s")],
)  # fmt: skip
def test_durations_have_three_digits_and_a_unit(nanoseconds: int, text: str) -> None:
    """A duration is readable at any size, and never shows more digits than it is good for."""
    assert format_ns(nanoseconds) == text


def test_nothing_is_printed_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """By default, the handler is silent."""
    feed(DebugHandler(), Run().end(3))
    assert capsys.readouterr() == ("", "")


def test_a_lone_point_event_is_no_trace() -> None:
    """A mark outside of any event is counted, not printed as a tree."""
    stream = io.StringIO()
    with CallbackManager([DebugHandler(True, stream=stream)]) as manager:
        manager.emit(name="here")
    assert stream.getvalue() == ""


@given(seed=st.integers(0, 10_000), max_tree=st.integers(1, 20), size=st.integers(1, 40))
def test_every_event_of_a_trace_is_in_its_tree_or_counted_there(seed: int, max_tree: int, size: int) -> None:
    """However small the tree and however the lists are cut, no event is missing from the counts."""
    rng = random.Random(seed)
    run = Run()

    def grow(parent: int, depth: int) -> None:
        for _ in range(rng.randrange(4 if depth else 12)):
            if depth < 3 and rng.random() < 0.3:
                family = run.family(rng.choice("ab"), started=9)
                for index in rng.sample(range(9), 9):
                    if rng.random() < 0.3:
                        grow(family.id_at(index), depth + 1)
                    run.job(family, index, 0, rng.randrange(100))
                run.scope("batch", "batch", 0, 100, parent, event_id=family.batch_id, counts=family.counts)
            else:
                event_id = new_event_id()
                if depth < 3 and rng.random() < 0.3:
                    grow(event_id, depth + 1)
                run.scope(
                    rng.choice(["step", "backoff"]),
                    rng.choice("abc"),
                    0,
                    rng.randrange(100),
                    parent,
                    event_id=event_id,
                )

    grow(run.root_id, 0)
    events = run.end(100)
    ledger = Ledger({}, max_names=50, max_tree=max_tree)
    ended = [
        trace for start in range(0, len(events), size) for trace in ledger.take(events[start : start + size])
    ]
    ((trace, root, left_out),) = ended
    inside: dict[tuple[str, str], Folded] = {}
    if root.below is not None:
        fold(root.below, inside)
    assert left_out == 0
    assert trace is run.trace
    assert sum(entry.count for entry in inside.values()) == len(events) - 1
    total = sum(tally.count for names in ledger.totals().types.values() for tally in names.values())
    assert total == len(events)
    backoff_ns = sum((event.duration_ns or 0) for event in events if event.type == "backoff")
    assert (root.below.backoff_ns if root.below else 0) == backoff_ns
    assert ledger.traces_open == 0


def test_a_tree_holds_no_more_nodes_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace with ever new names stops growing; its events are still counted."""
    run = Run()
    for number in range(300):
        run.scope("step", f"step {number % 40}", 0, number)
    text = printed(run, 400, max_tree=10)
    assert len(text.splitlines()) <= 1 + 40 + 10
    assert sum(int(count) for count in re.findall(r" x (\d+)", text)) + text.count("  ok\n") - 1 <= 300 + 10


def test_more_names_than_a_parent_may_have_share_a_line() -> None:
    """Siblings of too many names are counted under (other)."""
    run = Run()
    for number in range(200):
        run.scope("step", f"step {number}", 0, 1)
    lines = printed(run, 400).splitlines()
    assert len(lines) < 70
    assert any(line.startswith("  (other) x 150") for line in lines)


def test_events_whose_parent_ended_before_them_are_reported() -> None:
    """What cannot be shown in its place is counted in the tree and in the summary."""
    run = Run()
    gone = run.scope("step", "parent", 0, 1)
    run.scope("step", "late", 0, 5, gone)
    stream = io.StringIO()
    handler = DebugHandler(True, stream=stream)
    feed(handler, run.end(9))
    assert "1 events are not shown" in stream.getvalue()
    assert handler.summary()["traces"] == {"open": 0, "ended": 1, "left_out": 1}
    assert stats(handler, "step")["count"] == 2


def test_open_traces_and_parents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces and parents that never end give way to newer ones, and their jobs stay counted."""
    monkeypatch.setattr(_debug_ledger, "MAX_TRACES", 10)
    monkeypatch.setattr(_debug_tree, "MAX_WAITING", 5)
    handler = DebugHandler()
    for _ in range(30):
        run = Run()
        for _ in range(20):
            family = run.family("fetch")
            run.job(family, 0, 0, 1)
        feed(handler, run.events)
    traces = cast("dict[str, int]", handler.summary()["traces"])
    assert traces == {"open": 10, "ended": 0, "left_out": 20 * 20 + 10 * 15}
    assert stats(handler, "job")["count"] == 600


# the slowest ----------------------------------------------------------------------------------------------------------


def test_the_slowest_job_is_kept_with_what_happened_inside() -> None:
    """The slowest job of all, or of a name, is shown with its attempts, before and after its batch ends."""
    run = Run()
    first, second = run.family("fetch"), run.family("parse")
    run.scope("attempt", "fetch", 0, 90, first.id_at(3), attempt=1)
    for index in range(20):
        run.job(first, index, 0, 90 if index == 3 else 10)
        run.job(second, index, 0, 5 + index)
    handler = DebugHandler()
    feed(handler, run.events)
    slowest = "job fetch[3]  90.0 ms  ok\n  attempt fetch #1  90.0 ms  ok"
    assert handler.slowest() == slowest
    run.events = []
    run.batch(first, "fetch", 0, 90)
    run.batch(second, "parse", 0, 90)
    feed(handler, run.end(95))
    assert handler.slowest() == slowest
    assert handler.slowest("job", "parse") == "job parse[19]  24.0 ms  ok"
    assert handler.slowest("job", "none") == ""
    assert handler.slowest("trace").startswith("trace demo  95.0 ms  ok\n  batch ")
    with pytest.raises(ValueError, match="'step'"):
        handler.slowest("step")


def test_the_slowest_trace_is_not_the_last_one() -> None:
    """Of all traces of a name, the slowest is kept, whatever order they came in."""
    handler = DebugHandler()
    for length in (5, 30, 10, 20, 7):
        run = Run("run")
        run.scope("step", f"of {length}", 0, 1)
        feed(handler, run.end(length))
    assert handler.slowest("trace") == "trace run  30.0 ms  ok\n  step of 30  1.00 ms  ok"


def test_kept_trees_are_pruned_and_keep_no_trace_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of the slowest is bounded in nodes and in names, and holds no event."""
    monkeypatch.setattr(_debug_slowest, "MAX_NODES", 4)
    monkeypatch.setattr(_debug_slowest, "MAX_NAMES", 2)
    handler = DebugHandler()
    for name in ("a", "b", "c"):
        run = Run(name)
        for number in range(9):
            inner = new_event_id()
            run.scope("step", "inner", 0, number, inner)
            run.scope("step", f"step {number}", 0, number, event_id=inner)
        feed(handler, run.end(9))
    text = handler.slowest("trace", "a")
    assert text.count("\n") <= 2 * 9
    assert "inner" in text
    assert handler.slowest("trace", "c") == ""
    (first, *_) = handler._ledger.slowest["trace"]._names["a"]
    assert not isinstance(first.event, Event)


# tables ---------------------------------------------------------------------------------------------------------------


def test_the_table_is_aligned_and_complete() -> None:
    """One line per type and name, columns under their heads, times with units."""
    run = Run()
    family = run.family("fetch")
    for index in range(1_200):
        run.job(family, index, 10, 30)
    run.job(family, 1_200, 10, 30, status="error", busy_ns=2_000)
    run.batch(family, "fetch", 0, 90)
    handler = DebugHandler()
    feed(handler, run.end(90))
    lines = handler.table([]).splitlines()
    assert lines[0].split() == (
        [
            "type",
            "name",
            "count",
            "ok",
            "failed",
            "cancelled",
            "open",
            "queue",
            "run",
            "busy",
            "back-off",
            "mean",
            "p50",
            "p95",
            "p99",
            "max",
        ]
    )
    (row,) = [line for line in lines if line.startswith("job")]
    assert re.split(r"  +", row) == [
        "job", "fetch", "1,201", "1,200", "1", "0", "0", "12.0 s", "24.0 s", "2.00 us", "-",
        *["20.0 ms"] * 5,
    ]  # fmt: skip
    assert len({len(line) for line in lines[:-1]}) == 1


def test_html_is_escaped() -> None:
    """A name cannot put markup into a notebook."""
    run = Run()
    run.scope("<b>", "<script>alert(1)</script>", 0, 1)
    handler = DebugHandler()
    feed(handler, run.end(1))
    page = handler._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "<b>" not in page


# with real runs -------------------------------------------------------------------------------------------------------


async def test_a_real_run_is_counted_exactly() -> None:
    """Jobs, attempts, back-offs and failures of a real batch are what the batch itself reports."""
    calls = 0

    async def flaky(number: int) -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if number % 10 == 0:
            raise ConnectionError("no")
        return number

    handler = DebugHandler()
    manager = CallbackManager([handler])
    policy = RetryPolicy(attempts=2, base_delay=0.001, retry_on=(ConnectionError,))
    with use_callback_manager(manager):
        await async_map(flaky, range(1_000), limit=50, on_error="return", retry=policy)
        await run_jobs([asyncio.sleep(0) for _ in range(1_000)])
    await asyncio.to_thread(manager.flush)
    assert calls == stats(handler, "attempt")["count"] == 1_100
    assert stats(handler, "job")["count"] == 2_000
    assert stats(handler, "job")["errors"] == 100
    assert stats(handler, "job")["backoff_ns"] == stats(handler, "backoff")["total_ns"] > 100 * MS
    assert stats(handler, "backoff")["count"] == 100
    assert (await asyncio.to_thread(manager.stats)).dropped == 0
    await manager.aclose()


def test_readers_and_the_drain_thread_do_not_disturb_each_other() -> None:
    """Reading from another thread while lists arrive raises nothing and loses nothing."""
    run = Run()
    family = run.family("fetch")
    for index in range(512):
        run.job(family, index, index, index + 10)
    handler = DebugHandler(keep_pairs=10)
    writer = threading.Thread(target=lambda: [handler.on_events(run.events) for _ in range(300)])
    writer.start()
    counts = []
    while writer.is_alive():
        counts.append(handler.summary()["types"].get("job", {}).get("count", 0))  # type: ignore[attr-defined]  # plain data
        handler.table()
        handler.slowest()
        handler.event_pairs("job")
    writer.join()
    assert counts == sorted(counts)
    assert stats(handler, "job")["count"] == 300 * 512


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_count_even_if_the_lock_was_held() -> None:
    """A fork in the middle of counting leaves the child with a free lock and empty books."""
    handler = DebugHandler()
    feed(handler, Run().end(1))
    with handler._lock:
        child = os.fork()
        if child == 0:
            feed(handler, Run().end(1))
            os._exit(0 if stats(handler, "trace")["count"] == 1 else 1)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert ended == (child, 0)
    assert stats(handler, "trace")["count"] == 1


def test_memory_is_flat_over_a_million_jobs() -> None:
    """A batch of a million jobs takes no more memory than its first ten thousand."""
    run = Run()
    family = run.family("fetch", started=1_000_000)
    for index in range(500):
        run.job(family, index, index, index + 1 + index * 997 % 10_000)
    handler = DebugHandler()
    tracemalloc.start()
    try:
        for _ in range(20):
            handler.on_events(run.events)
        early = tracemalloc.get_traced_memory()[0]
        for _ in range(1_980):
            handler.on_events(run.events)
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert stats(handler, "job")["count"] == 1_000_000
    assert late < 150_000
    assert late - early < 50_000


def test_small_batches_in_a_long_trace_take_no_memory_each() -> None:
    """A trace that never ends may hold any number of batches."""
    run = Run()
    handler = DebugHandler()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(2):
            for _ in range(2_000):
                run.events = []
                family = run.family("fetch")
                for index in range(SHOWN + 1):
                    run.scope("attempt", "fetch", 0, 5, family.id_at(index))
                    run.job(family, index, 0, 5)
                run.batch(family, "fetch", 0, 5)
                feed(handler, run.events)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 20_000


def test_a_table_of_nothing_says_so() -> None:
    """Events reach the handler a moment later, so who looks at once is told how to wait for them."""
    assert (
        DebugHandler().table() == "no events so far; manager.flush() hands over those that are on their way"
    )
