"""One pass over the records: exact self times, the critical path by its definition, memory for what is open."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.store.model import Record
from spanloom.viewer._path import Chain
from spanloom.viewer.analysis import Analysis, analyse
from tests.viewer.runs import MS, Made, dead, run


def spent(path: Chain) -> dict[str, float]:
    """Return the milliseconds of the critical path by name."""
    return {stats.name: ns / MS for stats, ns in path.spent_ns.items() if ns}


def selves(analysis: Analysis) -> dict[str, float]:
    return {stats.name: stats.self_ns / MS for stats in analysis.names}


# -- the definitions, word for word, with all records at hand ----------------------------------------------------------


def self_time(record: Record, children: list[Record]) -> int:
    """Return for how long nothing was open inside `record`, instant by instant."""
    assert record.end_ns is not None
    edges = sorted(
        {record.start_ns, record.end_ns, *(t for c in children for t in (c.start_ns, c.end_ns or 0))}
    )
    return sum(
        end - start
        for start, end in itertools.pairwise(edges)
        if not any(c.start_ns <= start and end <= (c.end_ns or 0) for c in children)
    )


def backwards(
    start: int, end: int, inside: list[Record], below: dict[int, list[Record]]
) -> tuple[int, dict[str, int]]:
    """Walk the critical path from `end` to `start`: the gaps between the events on it, and the time of each name."""
    now, gaps, names = end, 0, dict[str, int]()
    while True:
        before = [c for c in inside if (c.end_ns or 0) <= now and c.start_ns < now]
        if not before:
            return gaps + now - start, names
        last = max(before, key=lambda c: (c.end_ns or 0, c.start_ns))
        assert last.end_ns is not None
        own, found = backwards(last.start_ns, last.end_ns, below.get(last.event_id, []), below)
        gaps += now - last.end_ns
        for name, ns in (*found.items(), (last.name, own)):
            names[name] = names.get(name, 0) + ns
        now = last.start_ns


@st.composite
def trees(draw: st.DrawFn) -> list[Record]:
    """Trees whose events enclose what is inside them; no two instants are equal, so that the path is unique."""
    count = draw(st.integers(1, 14))
    instants = draw(st.permutations(range(1, 2 * count + 1)))
    records: list[Record] = []
    for number in range(count):
        first, second = sorted(instants[2 * number : 2 * number + 2])
        around = [r for r in records if r.start_ns < first and second < (r.end_ns or 0)]
        parent = draw(st.sampled_from([None, *around]))
        records.append(
            Record(
                number + 1,
                None if parent is None else parent.event_id,
                7,
                "step",
                f"n{number}",
                first,
                second,
                "ok",
            )
        )
    return sorted(records, key=lambda r: r.start_ns)


@given(trees())
def test_self_times_are_what_is_left_without_the_children(records: list[Record]) -> None:
    """However children overlap, the self time is the measure of the instants at which none of them is open."""
    below: dict[int | None, list[Record]] = {}
    for record in records:
        below.setdefault(record.parent_id, []).append(record)
    analysis = analyse(run(), records)
    found = {stats.name: stats.self_ns for stats in analysis.names}
    assert found == {r.name: self_time(r, below.get(r.event_id, [])) for r in records}


@given(trees())
def test_the_critical_path_is_the_one_that_the_backward_walk_finds(records: list[Record]) -> None:
    """The chains carried forwards give, name by name, what the definition gives backwards."""
    below: dict[int, list[Record]] = {}
    for record in records:
        below.setdefault(record.parent_id or 0, []).append(record)
    end = max(record.end_ns or 0 for record in records)
    gaps, names = backwards(0, end, below[0], below)
    path = analyse(run(), records).path
    assert {stats.name: ns for stats, ns in path.spent_ns.items()} == names
    assert path.gaps_ns + end - path.end_ns == gaps
    assert path.gaps_ns + sum(path.spent_ns.values()) == path.end_ns


@given(trees())
def test_what_is_covered_is_covered_by_some_event(records: list[Record]) -> None:
    """The covered time is the measure of the union of all events."""
    instants = range(max(record.end_ns or 0 for record in records) + 1)
    covered = sum(any(r.start_ns <= t < (r.end_ns or 0) for r in records) for t in instants)
    assert analyse(run(), records).covered_ns == covered


# -- instants that coincide --------------------------------------------------------------------------------------------


def test_a_job_follows_the_one_that_freed_its_slot_in_the_same_instant() -> None:
    """Of an end and a start at one time, as a virtual clock has them, the path goes from the one to the other."""
    made = Made()
    batch = made.event("batch", "all", 0, 30)
    made.job("a", 0, 0, 10, batch)
    made.job("b", 1, 10, 20, batch)
    made.job("c", 2, 20, 30, batch)
    analysis = made.analyse()
    assert spent(analysis.path) == {"a": 10, "b": 10, "c": 10}
    assert analysis.concurrency is not None
    assert analysis.concurrency.peak == 1


def test_an_event_without_length_at_the_end_of_its_parent_is_inside_it() -> None:
    """What starts in the instant in which its parent ends is not taken for something that outlives it."""
    made = Made()
    outer = made.event("step", "outer", 0, 10)
    inner = made.event("step", "inner", 10, 10, outer)
    made.event("mark", "point", 10, 10, inner, is_point=True)
    analysis = made.analyse()
    (root,) = analysis.tree
    (below,) = root.below.values()
    assert (root.name, below.name, list(below.below)) == ("outer", "inner", [("mark", "point")])
    assert analysis.unplaced == 0


def test_parents_and_children_of_one_instant_may_come_in_any_order() -> None:
    """A reader orders by start only; a child that comes before its parent is still put inside it."""
    made = Made()
    a = made.event("step", "a", 5, 10)
    b = made.event("step", "b", 5, 9, a)
    made.event("step", "c", 5, 8, b)
    for order in itertools.permutations(made.records):
        analysis = analyse(run(10), order)
        assert selves(analysis) == {"a": 1, "b": 1, "c": 3}
        assert analysis.unplaced == 0


def test_a_cycle_of_parents_is_read_like_any_other_damage() -> None:
    """Records that name each other as parents, which only a damaged file has, neither hang nor get lost."""
    records = [Record(1, 2, 7, "step", "a", 0, 5, "ok"), Record(2, 1, 7, "step", "b", 0, 5, "ok")]
    analysis = analyse(run(5), records)
    assert analysis.events == 2
    assert analysis.unplaced == 1


# -- what is not a tree of finished events -----------------------------------------------------------------------------


def test_what_outlives_its_parent_keeps_its_place_in_the_tree() -> None:
    """A task that goes on after the event it was started in is shown there, and costs that event nothing."""
    made = Made()
    outer = made.event("step", "outer", 0, 10)
    late = made.event("step", "background", 5, 30, outer)
    made.event("step", "later", 20, 25, outer)
    made.event("step", "inside", 26, 28, late)
    analysis = made.analyse()
    (root,) = analysis.tree
    assert [place.name for place in root.below.values()] == ["background", "later"]
    assert selves(analysis) == {"outer": 5, "background": 23, "later": 5, "inside": 2}
    assert analysis.covered_ns == 30 * MS


def test_an_event_whose_parent_was_lost_is_shown_at_the_top() -> None:
    """Events that were dropped leave children behind; these are counted as such and not left out."""
    made = Made()
    made.event("step", "orphan", 0, 10, 999)
    analysis = made.analyse()
    assert [place.name for place in analysis.tree] == ["orphan"]
    assert analysis.unplaced == 1


def test_what_never_ended_lasted_until_the_run_was_last_heard_of() -> None:
    """Open events count as far as they got, in self times and on the critical path."""
    made = Made()
    batch = made.event("batch", "all", 0, None)
    made.job("done", 0, 0, 40, batch)
    made.job("stuck", 1, 10, None, batch)
    analysis = made.analyse(dead(100))
    assert selves(analysis) == {"all": 0, "done": 40, "stuck": 90}
    assert spent(analysis.path) == {"all": 10, "stuck": 90}
    assert analysis.duration_ns == 100 * MS
    assert analysis.open_events == 2


def test_records_after_the_end_of_the_run_make_it_longer() -> None:
    """A run that was last heard of before its last event started, as a dead one may be, lasts until that event."""
    made = Made()
    made.event("step", "late", 50, 70)
    made.event("step", "open", 80, None)
    assert made.analyse(dead(60)).duration_ns == 80 * MS


def test_a_run_without_records_has_nothing_and_no_fault() -> None:
    """Of a run that recorded nothing there is nothing to say, and nothing fails."""
    analysis = analyse(run(10), [])
    assert (analysis.events, analysis.covered_ns, analysis.path.steps, analysis.concurrency) == (
        0,
        0,
        0,
        None,
    )


# -- bounds ------------------------------------------------------------------------------------------------------------


def many(count: int, name: str = "fetch") -> Iterator[Record]:
    """Yield a batch of jobs, 8 at once, each with an attempt inside."""
    yield Record(1, None, 7, "batch", "all", 0, count * 1_000 + 9_000, "ok")
    for index in range(count):
        start = index * 1_000
        job = 10 + 2 * index
        label = name.format(index=index)
        yield Record(job, 1, 7, "job", label, start, start + 8_000, "ok", None, start, None, 1, index, 1)
        yield Record(
            job + 1, job, 7, "attempt", label, start + 1, start + 7_000, "ok", None, None, None, 1, index, 1
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fetch", "fetch {index}"])
def test_memory_does_not_grow_with_the_number_of_jobs(name: str) -> None:
    """Four times as many jobs take about the same memory, even if every job has a name of its own."""
    peaks = []
    for count in (12_000, 48_000):
        tracemalloc.start()
        analysis = analyse(run(50), many(count, name))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert analysis.events == 2 * count + 1
        assert analysis.total("count", "job") == count
    assert peaks[1] < 1.5 * peaks[0]


def test_deep_recursion_is_bounded() -> None:
    """A thousand events inside one another are shown to a depth, and all counted."""
    made = Made()
    parent = None
    for depth in range(1_000):
        parent = made.event("call", "recurse", depth, 3_000 - depth, parent)
    analysis = made.analyse()
    assert analysis.total("count") == 1_000
    depth, places = 0, analysis.tree
    while places:
        depth, places = depth + 1, list(places[0].below.values())
    assert 10 < depth < 100
    assert spent(analysis.path) == {"recurse": 3_000}


def test_names_beyond_number_are_counted_together() -> None:
    """Ids in names cost their detail, never their numbers."""
    made = Made()
    root = made.event("trace", "main", 0, 3_000)
    for number in range(2_000):
        made.event("step", f"item {number}", number, number + 1, root)
    analysis = made.analyse()
    assert len(analysis.names) < 1_000
    assert analysis.total("count", "step") == 2_000
    assert sum(stats.self_ns for stats in analysis.names) == 3_000 * MS
    below = analysis.tree[0].below
    assert sum(place.count for place in below.values()) == 2_000
    assert len(below) <= 51
