"""Which name explains which share of a difference: measured against runs whose truth is known."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom.viewer._significance import _student
from spanloom.viewer.analysis import Analysis
from spanloom.viewer.comparison import Comparison, compare
from spanloom.viewer.diff import verdict
from tests.viewer.runs import Made, run

NOTHING: Mapping[str, float] = MappingProxyType({})
ENDPOINTS = ("users", "orders", "items", "search")


def pipeline(
    slow: Mapping[str, float] = NOTHING,
    *,
    jobs: int = 400,
    limit: int = 8,
    seed: int = 1,
    fails: Mapping[str, float] = NOTHING,
    extra: int = 0,
) -> Analysis:
    """Simulate a batch under a limit; each job calls one endpoint, which takes 10 to 30 ms, and `slow` more."""
    rnd = random.Random(seed)
    made = Made()
    slots = [1.0] * limit
    root = made.event("trace", "main", 0, 1)
    batch = made.event("batch", "fetch all", 0, 1, root)
    for index in range(jobs + extra):
        start = heapq.heappop(slots)
        name = ENDPOINTS[index % len(ENDPOINTS)] if index < jobs else "orders"
        took = rnd.uniform(10, 30) + slow.get(name, 0)
        error = ("OSError", f"lost {index}") if rnd.random() < fails.get(name, 0) else None
        job = made.job("fetch", index, start, start + took + 0.2, batch, queue=start, error=error)
        made.event("step", f"GET /{name}", start + 0.1, start + 0.1 + took, job, error=error, job_index=index)
        heapq.heappush(slots, start + took + 0.2)
    made.end(batch, max(slots) + 1)
    made.end(root, max(slots) + 1)
    return made.analyse()


def share(comparison: Comparison, name: str) -> float:
    found = next(change.share for change in comparison.names if change.name == name)
    assert found is not None
    return found


def total_of_shares(comparison: Comparison) -> float:
    assert comparison.outside_share is not None
    return comparison.outside_share + sum(name.share or 0 for name in comparison.names)


@pytest.mark.parametrize("limit", [1, 3, 8, 64, 400])
def test_one_slow_endpoint_is_named_with_its_share(limit: int) -> None:
    """Whatever ran beside it, one name that got slower explains all of the difference, within 1 %."""
    a, b = pipeline(limit=limit), pipeline({"orders": 40}, limit=limit)
    comparison = compare(a, b)
    assert comparison.names[0].name == "GET /orders"
    assert share(comparison, "GET /orders") == pytest.approx(1, abs=0.01)
    assert total_of_shares(comparison) == pytest.approx(1)
    assert "work" in comparison.differs
    (change,) = comparison.names[0].parts
    assert change.speed == "slower"
    assert change.slower_ns == pytest.approx(100 * 40e6, rel=0.01)
    assert [c.name for c in comparison.changes if c.speed in {"slower", "faster"}] == ["GET /orders"]


@settings(max_examples=30, deadline=None)
@given(
    by=st.fixed_dictionaries({name: st.sampled_from([-8.0, 0.0, 5.0, 20.0, 60.0]) for name in ENDPOINTS}),
    limit=st.integers(1, 40),
)
def test_shares_are_those_of_the_time_that_was_put_in(by: dict[str, float], limit: int) -> None:
    """Of several endpoints changed at once, some faster, each has the share of what was done to it, within 5 %."""
    truth = sum(by.values())
    comparison = compare(pipeline(limit=limit), pipeline(by, limit=limit))
    if abs(truth) < 5:
        return
    assert total_of_shares(comparison) == pytest.approx(1)
    for name, ms in by.items():
        assert share(comparison, f"GET /{name}") == pytest.approx(
            ms / truth, abs=0.05 * max(1, abs(ms / truth))
        )


@pytest.mark.parametrize("seed", range(8))
def test_chance_is_not_taken_for_a_difference(seed: int) -> None:
    """Two runs of the same program that differ by chance alone are told to be the same."""
    comparison = compare(pipeline(seed=1), pipeline(seed=seed + 2))
    assert comparison.differs == []
    assert [change.name for change in comparison.changes if change.speed in {"slower", "faster"}] == []
    assert {name.share for name in comparison.names} == {None}
    assert not comparison.is_worse


@pytest.mark.parametrize("seed", range(8))
def test_what_chance_did_is_nobody_s_share(seed: int) -> None:
    """With few calls that vary much, the endpoint that was slowed down still has all of the share."""
    comparison = compare(pipeline(jobs=80), pipeline({"orders": 30}, jobs=80, seed=seed + 2))
    assert comparison.names[0].name == "GET /orders"
    assert share(comparison, "GET /orders") == pytest.approx(1, abs=0.02)
    raw = comparison.names[0].delta_ns / (comparison.spent_ns[1] - comparison.spent_ns[0])
    others = [part for name in comparison.names[1:] for part in name.parts if part.type == "step"]
    assert all(part.is_noise for part in others)
    assert raw != pytest.approx(1, abs=0.001)


def test_a_run_is_the_same_as_itself() -> None:
    """Nothing at all is different, down to the last nanosecond."""
    a = pipeline()
    comparison = compare(a, a)
    assert (comparison.differs, comparison.work_ns, comparison.overlap_ns) == ([], 0, 0)
    assert {change.speed for change in comparison.changes} <= {"same", "unknown"}
    assert comparison.errors == []


def test_a_smaller_limit_is_no_name_s_fault() -> None:
    """Half the slots: as much time was spent, less of it at once, and no name is blamed."""
    comparison = compare(pipeline(limit=8), pipeline(limit=4))
    assert comparison.differs == ["overlap"]
    a, b = comparison.at_once
    assert a is not None
    assert b is not None
    assert b == pytest.approx(a / 2, rel=0.1)
    difference = comparison.duration_ns[1] - comparison.duration_ns[0]
    assert comparison.overlap_ns == pytest.approx(difference, rel=0.02)


def batch(index: int, by: float, *, retried: bool = False) -> Analysis:
    """Return 100 jobs of 20 ms, ten at once, of which that with `index` takes `by` ms longer."""
    made = Made()
    slots = [0.0] * 10
    root = made.event("batch", "fetch", 0, 0)
    for number in range(100):
        start = heapq.heappop(slots)
        end = start + 20 + number % 3 + (by if number == index else 0)
        job = made.job("fetch", number, start, end, root)
        if retried:
            made.event("attempt", "fetch", start, end, job, attempt=1, job_index=number, batch_id=root)
        heapq.heappush(slots, end)
    made.end(root, max(slots))
    return made.analyse()


@pytest.mark.parametrize("index", [0, 50, 99])
@pytest.mark.parametrize("retried", [False, True])
def test_a_straggler_is_named(index: int, retried: bool) -> None:
    """One of 100 jobs that takes 2 s longer keeps all others waiting for the end, and is told by its index."""
    comparison = compare(batch(0, 0, retried=retried), batch(index, 2_000, retried=retried))
    assert comparison.straggler is not None
    record = comparison.straggler.record
    assert (record.type, record.job_index) == ("attempt" if retried else "job", index)
    sentences = list(verdict(comparison))
    assert sentences[1].startswith("Less went on at once")
    assert (
        f"{record.type} fetch [{index}] took 2.02 s of B's critical path; in A, one took 21.0 ms"
        in sentences[2]
    )


def test_who_is_no_slower_than_usual_is_no_straggler() -> None:
    """A smaller limit is nobody's fault, nor is a run in which more went on at once."""
    assert compare(pipeline(limit=8), pipeline(limit=1)).straggler is None
    assert compare(batch(50, 2_000), batch(0, 0)).straggler is None


def test_more_calls_and_slower_calls_are_told_apart() -> None:
    """200 more calls of what takes as long as before are more calls, not slower ones."""
    comparison = compare(pipeline(), pipeline(extra=200))
    assert comparison.names[0].name == "GET /orders"
    (change,) = comparison.names[0].parts
    assert change.count == (100, 300)
    assert change.speed == "same"
    assert change.more_ns == pytest.approx(200 * 20e6, rel=0.1)
    assert abs(change.slower_ns) < 0.05 * change.more_ns
    assert change.more_ns + change.slower_ns == pytest.approx(change.delta_ns)


def calls(count: int, ms: float, *, retries: int = 0) -> Analysis:
    """Return a batch of `count` jobs, one after another, of `ms` each or so; the first ones fail, and are retried."""
    rnd = random.Random(count)
    made, now = Made(), 0.0
    batch = made.event("batch", "fetch", 0, 0)
    for index in range(count):
        job = made.job("fetch", index, now, now, batch)
        for attempt in range(1, 3 if index < retries else 2):
            if attempt > 1:
                made.event("backoff", "fetch", now, now + 5, job, attempt=1)
                now += 5
            end = now + ms * rnd.uniform(0.9, 1.1)
            tried = made.event("attempt", "fetch", now, end, job, attempt=attempt)
            made.event("step", "GET /", now, end, tried)
            now = end
        made.end(job, now)
    made.end(batch, now)
    return made.analyse()


@pytest.mark.parametrize("more", [4, 35, 300])
@pytest.mark.parametrize("drift", [0.99, 1.0, 1.01])
def test_a_larger_batch_is_no_matter_of_chance(more: int, drift: float) -> None:
    """However few jobs there are on top: they are the whole difference, though their mean has drifted by 1 %."""
    comparison = compare(calls(100, 20), calls(100 + more, 20 * drift))
    assert comparison.differs == ["work"]
    assert share(comparison, "GET /") == pytest.approx(1, abs=0.01)
    (change,) = next(name for name in comparison.names if name.name == "GET /").parts
    assert not change.is_noise
    assert change.real_ns == change.more_ns


def test_the_share_of_what_got_slower_is_not_that_of_what_there_is_more_of() -> None:
    """80 more jobs, a quarter of which calls what takes 10 ms longer: it has its own share, others have theirs."""
    comparison = compare(pipeline(), pipeline({"orders": 10}, jobs=480))
    truth = dict.fromkeys(ENDPOINTS, 20 * 20) | {"orders": 120 * 30 - 100 * 20}
    for name, ms in truth.items():
        assert share(comparison, f"GET /{name}") == pytest.approx(ms / sum(truth.values()), abs=0.03)


@pytest.mark.parametrize(("retries", "is_noise"), [(9, True), (14, True), (60, False)])
def test_how_often_something_is_retried_is_a_matter_of_chance(retries: int, is_noise: bool) -> None:
    """A few retries more or less are luck, six times as many are not; the same for what happens inside them."""
    comparison = compare(calls(200, 20, retries=10), calls(200, 20, retries=retries))
    changes = {(change.type, change.name): change for change in comparison.changes}
    for key in (("step", "GET /"), ("backoff", "fetch")):
        assert changes[key].is_noise is is_noise
    assert comparison.differs == ([] if is_noise else ["work"])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0, 50),
    st.integers(0, 100),
)
def test_the_parts_add_up(limit_a: int, limit_b: int, slow: float, extra: int) -> None:
    """Time spent, overlap and time outside are the whole difference; more and slower are that of each name."""
    a, b = pipeline(limit=limit_a, jobs=100), pipeline({"items": slow}, limit=limit_b, jobs=100, extra=extra)
    comparison = compare(a, b)
    outside = comparison.outside_ns[1] - comparison.outside_ns[0]
    whole = comparison.work_ns + comparison.overlap_ns + outside
    assert whole == pytest.approx(b.duration_ns - a.duration_ns, abs=10)
    for change in comparison.changes:
        assert change.more_ns + change.slower_ns == pytest.approx(change.delta_ns, abs=10)
    spent_a, spent_b = comparison.spent_ns
    assert sum(change.delta_ns for change in comparison.changes) == spent_b - spent_a


def test_who_waits_for_a_slot_is_not_blamed() -> None:
    """All wait longer for connections because one endpoint holds them longer; the share is that one's alone."""

    def shared(slow: float) -> Analysis:
        made = Made()
        free = [0.0] * 2
        for index in range(100):
            job = made.job("fetch", index, 0, 100_000, None)
            start = heapq.heappop(free)
            took = 10 + slow * (index % 2)
            made.event("slot_wait", "connection", 0, start, job)
            made.event("step", ("fast", "slow")[index % 2], start, start + took, job)
            made.event("step", "idle", start + took, 100_000, job)
            heapq.heappush(free, start + took)
        made.records = [record for record in made.records if record.name != "idle"]
        end = {r.parent_id: r.end_ns for r in made.records if r.type == "step"}
        made.records = [
            msgspec.structs.replace(r, end_ns=end[r.event_id]) if r.type == "job" else r for r in made.records
        ]
        return made.analyse()

    comparison = compare(shared(0), shared(30))
    assert comparison.names[0].name == "slow"
    assert share(comparison, "slow") == pytest.approx(1, abs=0.01)
    (wait,) = comparison.waits
    assert wait.delta_ns > 10 * comparison.names[0].delta_ns


def test_a_new_step_and_one_that_is_gone_have_their_shares() -> None:
    """What is in one run only explains what it took, and nothing is known of its speed."""
    before, after = Made(), Made()
    for index in range(20):
        before.event("step", "old", index * 10, index * 10 + 4)
        after.event("step", "new", index * 20, index * 20 + 16)
    comparison = compare(before.analyse(), after.analyse())
    changes = {change.name: change for change in comparison.changes}
    assert changes["old"].speed == changes["new"].speed == "unknown"
    assert changes["new"].more_ns == 20 * 16e6
    assert changes["new"].slower_ns == 0
    assert changes["old"].more_ns == -20 * 4e6


def test_time_outside_of_events_is_explained_by_no_name() -> None:
    """A program that does nothing recorded for longer has its difference there."""
    before, after = Made(), Made()
    before.event("step", "work", 100, 1_000)
    after.event("step", "work", 3_100, 4_000)
    comparison = compare(before.analyse(), after.analyse())
    assert comparison.differs == ["outside"]
    assert comparison.outside_share == pytest.approx(1)


def test_runs_without_events_have_no_difference() -> None:
    """Nothing is divided by nothing."""
    comparison = compare(Made().analyse(run(10)), Made().analyse(run(10)))
    assert (comparison.differs, comparison.names, comparison.at_once) == ([], [], (None, None))


def test_what_fails_more_is_told_where_it_is_beyond_chance() -> None:
    """Failures that are rare in both are chance; a tenth of all calls of one endpoint is not."""
    comparison = compare(
        pipeline(fails={"items": 0.02}, jobs=2_000),
        pipeline(fails={"items": 0.02, "users": 0.15}, jobs=2_000),
    )
    failing = {change.name for change in comparison.changes if change.failing == "more"}
    assert failing == {"GET /users", "fetch"}
    (error,) = comparison.errors
    assert (error.type, error.shape) == ("OSError", "lost <n>")
    assert error.count[1] > error.count[0]
    assert comparison.is_worse


def test_an_error_that_only_one_run_has_is_told() -> None:
    """However rare: a kind of error that was not there before is news."""
    before, after = Made(), Made()
    for index in range(50):
        before.job("job", index, index, index + 1, None, error=("KeyError", "'a'") if index == 3 else None)
        after.job("job", index, index, index + 1, None, error=("OSError", "disk") if index == 9 else None)
    comparison = compare(before.analyse(), after.analyse())
    assert {(error.type, error.count) for error in comparison.errors} == {
        ("KeyError", (1, 0)),
        ("OSError", (0, 1)),
    }


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(3, 5.8409), (5, 4.0321), (10, 3.1693), (30, 2.7500), (1e9, 2.5758)]
)
def test_quantiles_of_student_s_t_are_those_of_the_tables(freedom: float, quantile: float) -> None:
    """The expansion gives the 99 % two-sided quantiles, within 4 % from three degrees of freedom on."""
    assert math.isclose(_student(2.5758293, freedom), quantile, rel_tol=0.04)
