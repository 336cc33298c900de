"""Which jobs get spans: those in which something failed, the slowest, and a fair sample of the others."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom.events import BatchCounts, Event, EventStatus, EventType
from spanloom.events.event import (
    JobEvent,
    JobFamily,
    ScopeEvent,
    detail_of,
    fail_scope,
    write_event,
)
from spanloom.events.ids import new_event_id
from spanloom.events.trace import Trace
from spanloom.handlers.otel import _tail
from spanloom.handlers.otel._samples import Greatest, Reservoir
from spanloom.handlers.otel._tail import Tail, TailPolicy


class Batch:
    """A batch whose events are made by hand, in the order in which they end."""

    def __init__(self, job: JobEvent | None = None) -> None:
        trace = Trace("t", 1)
        self.event = ScopeEvent(
            EventType.BATCH, "b", new_event_id(), None, trace, 0, None, job, None, BatchCounts(None)
        )
        self.family = JobFamily(self.event.event_id, trace, "j", new_event_id(), 0, BatchCounts(None))

        self.open: dict[int, JobEvent] = {}

    def running(self, index: int) -> JobEvent:
        return self.open.setdefault(index, JobEvent(self.family, index, 0))

    def job(
        self, index: int, duration: int = 1, status: str | None = None, attempts: int | None = None
    ) -> JobEvent:
        job = self.running(index)
        detail = detail_of(job)
        detail.status, detail.attempt = status, attempts
        write_event(job, "end_ns", duration)
        return job

    def step(
        self, job: JobEvent, type: str = EventType.STEP, error: BaseException | None = None
    ) -> ScopeEvent:
        event = ScopeEvent(type, "s", new_event_id(), job.event_id, job.trace, 0, None, job)
        if error is not None:
            fail_scope(event, error)
        write_event(event, "end_ns", 1)
        return event


class Sieve(Tail):
    """A tail that keeps a list of what it has left out."""

    def __init__(self, policy: TailPolicy, seed: int = 0) -> None:
        self.forgotten: list[Event] = []
        super().__init__(policy, self.forgotten.append, rng=random.Random(seed))


def indices(events: list[Event]) -> list[int | None]:
    return [event.job_index for event in events if event.type == EventType.JOB]


class TestPolicy:
    @pytest.mark.parametrize("numbers", [{"slowest": -1}, {"random": -1}])
    def test_negative_numbers_are_refused(self, numbers: dict[str, int]) -> None:
        """The message names the number and what is allowed."""
        with pytest.raises(ValueError, match="at least 0"):
            TailPolicy(**numbers)

    def test_failed_jobs_are_built_at_once(self) -> None:
        """Errors and timeouts do not wait for the end of the batch, and cost no place of the others."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=0, random=0))
        jobs = [
            batch.job(0),
            batch.job(1, status=EventStatus.ERROR),
            batch.job(2, status=EventStatus.TIMEOUT),
        ]
        assert sieve.sift(jobs) == jobs[1:]
        assert sieve.sift([batch.event]) == [batch.event]
        assert sieve.forgotten == [jobs[0]]

    def test_the_slowest_are_kept_and_those_that_gave_way_may_still_be_drawn(self) -> None:
        """With one of each, the slowest is there, and one of the other two."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=1, random=1))
        assert sieve.sift([batch.job(0, 10), batch.job(1, 30), batch.job(2, 20)]) == []
        kept = indices(sieve.sift([batch.event]))
        assert len(kept) == 2
        assert 1 in kept

    def test_a_cancelled_job_is_one_of_the_others(self) -> None:
        """It has not failed: where nothing else is asked for, it is left out."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=0, random=0))
        assert sieve.sift([batch.job(0, status=EventStatus.CANCELLED), batch.event]) == [batch.event]

    @pytest.mark.parametrize(("retried", "kept"), [(True, [0]), (False, [])])
    def test_a_job_that_was_retried_is_kept_if_that_is_asked_for(
        self, retried: bool, kept: list[int]
    ) -> None:
        """A failed attempt and the number of attempts count, or both do not."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=0, random=0, retried=retried))
        running = batch.running(0)
        failed = batch.step(running, EventType.ATTEMPT, ValueError("no"))
        out = sieve.sift(
            [failed, batch.step(running, EventType.ATTEMPT), batch.job(0, attempts=2), batch.event]
        )
        assert indices(out) == kept
        assert (failed in out) is retried

    def test_a_job_in_which_something_failed_is_kept_whole(self) -> None:
        """What happened before the failure was held, what comes after it goes through at once."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=0, random=0))
        running = batch.running(0)
        before, failed, after = (batch.step(running, error=error) for error in (None, KeyError("no"), None))
        assert sieve.sift([before]) == []
        assert sieve.sift([failed, after]) == [before, failed, after]
        job = batch.job(0)
        assert sieve.sift([job]) == [job]
        assert sieve.held == 0

    def test_the_batch_tells_how_many_jobs_were_left_out(self) -> None:
        """Ten jobs, two kept: eight are missing, and that is told once."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=1, random=1))
        sieve.sift([*[batch.job(index, index) for index in range(10)], batch.event])
        assert sieve.take_left_out(batch.event) == (8, 0)
        assert sieve.take_left_out(batch.event) == (0, 0)
        assert len(sieve.forgotten) == 8

    def test_what_is_not_sampled_is_not_held(self) -> None:
        """An event of a trace without spans goes through, to be forgotten where all of its trace is."""
        batch = Batch()
        tail = Tail(TailPolicy(0, 0), lambda _: None, is_sampled=lambda _: False)
        events = [batch.step(batch.running(0)), batch.job(0)]
        assert tail.sift(events) == events


class TestNesting:
    @pytest.mark.parametrize("status", [EventStatus.ERROR, None])
    def test_a_failed_job_inside_keeps_the_job_around_it(self, status: str | None) -> None:
        """Of a batch in a job, a failed job is built with everything above it; without one, nothing of it is."""
        outer, sieve = Batch(), Sieve(TailPolicy(slowest=0, random=0))
        inner = Batch(outer.running(0))
        sieve.batch_started(inner.event)
        nested = [inner.job(0), inner.job(1, status=status), inner.event]
        out = sieve.sift([*nested, outer.job(0), outer.event])
        assert len(out) == (4 if status else 1)
        assert len(out) + len(sieve.forgotten) == 5

    def test_a_kept_job_brings_what_its_inner_batch_has_kept(self) -> None:
        """The inner batch has its own slowest, which are built if the outer job is."""
        outer, sieve = Batch(), Sieve(TailPolicy(slowest=1, random=0))
        for index in range(3):
            inner = Batch(outer.running(index))
            sieve.batch_started(inner.event)
            sieve.sift([*[inner.job(i, i) for i in range(5)], inner.event, outer.job(index, index)])
        out = sieve.sift([outer.event])
        assert [event.type for event in out] == ["job", "batch", "job", "batch"]
        assert [event.job_index for event in out] == [4, 2, 2, None]


class TestLate:
    def test_what_ends_after_its_job_shares_its_fate(self) -> None:
        """A task that outlives its job: kept with a kept job, also after the batch, and left out with another."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=0, random=0))
        kept, other = batch.job(0, status=EventStatus.ERROR), batch.job(1)
        sieve.sift([kept, other])
        late = batch.step(kept)
        assert sieve.sift([late]) == [late]
        sieve.sift([batch.step(other), batch.event])
        later = batch.step(kept)
        assert sieve.sift([later, batch.step(other)]) == [later]
        assert sieve.held == 0

    def test_a_late_event_of_a_job_whose_fate_was_open_is_kept_with_it(self) -> None:
        """It ends after its job and before the batch, and the job turns out to be the slowest."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=1, random=0))
        job = batch.job(0, 5)
        late = batch.step(job)
        sieve.sift([job, late])
        assert sieve.sift([batch.event]) == [job, late, batch.event]

    def test_jobs_whose_batch_never_ends_are_built_at_the_close(self) -> None:
        """What is among the slowest so far is kept."""
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=1, random=0))
        sieve.sift([batch.job(0, 1), batch.job(1, 2), batch.step(batch.running(2))])
        assert indices(sieve.rest()) == [1]
        assert sieve.held == 0


class TestBounds:
    def test_more_events_than_may_be_held_are_left_out_and_counted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A job with 100 steps where 10 may wait: the kept job says that 90 are missing."""
        monkeypatch.setattr(_tail, "MAX_HELD", 10)
        batch, sieve = Batch(), Sieve(TailPolicy(slowest=1, random=0))
        running = batch.running(0)
        job = batch.job(0)
        out = sieve.sift([*[batch.step(running) for _ in range(100)], job, batch.event])
        assert len(out) == 12
        assert sieve.take_left_out(job) == (0, 90)

    def test_memory_is_that_of_the_kept_and_of_those_that_run(self) -> None:
        """After 100,000 jobs with a step each, the events of 40 jobs are held."""
        batch, sieve = Batch(), Sieve(TailPolicy())
        sieve._forget = lambda _: None
        for index in range(100_000):
            running = batch.running(index)
            sieve.sift([batch.step(running), batch.job(index, index % 1000)])
        assert sieve.held == 80
        assert not sieve._batches[batch.event.event_id].open


@settings(max_examples=200, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.integers(0, 50), st.sampled_from([None, None, "error"]), st.integers(0, 3))),
    slowest=st.integers(0, 5),
    drawn=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_every_event_is_kept_or_forgotten_once_and_whole_jobs_at_that(
    jobs: list[tuple[int, str | None, int]], slowest: int, drawn: int, seed: int
) -> None:
    """All failed jobs, the slowest of the others, as many more as were asked for; and a job with all inside it."""
    batch, sieve = Batch(), Sieve(TailPolicy(slowest, drawn), seed)
    events: list[Event] = []
    for index, (duration, status, steps) in enumerate(jobs):
        running = batch.running(index)
        events += [batch.step(running) for _ in range(steps)]
        events.append(batch.job(index, duration, status))
    out = [built for event in events for built in sieve.sift([event])] + sieve.sift([batch.event])
    assert Counter(map(id, [*out, *sieve.forgotten])) == Counter(map(id, [*events, batch.event]))
    kept = indices(out)
    failed = [index for index, job in enumerate(jobs) if job[1]]
    others = sorted((job[0] for job in jobs if not job[1]), reverse=True)
    assert set(failed) <= set(kept)
    assert len(kept) == len(failed) + min(len(others), slowest + drawn)
    durations = sorted((jobs[index or 0][0] for index in kept if index not in failed), reverse=True)
    assert durations[:slowest] == others[:slowest]
    assert sum(event.type == EventType.STEP for event in out) == sum(jobs[index or 0][2] for index in kept)
    seen: set[int] = set()
    for event in out:  # children before their job
        assert event.parent_id not in seen
        seen.add(event.event_id)


class TestSamples:
    @pytest.mark.parametrize(("size", "count"), [(1, 10), (5, 40), (20, 30), (20, 20), (20, 5)])
    def test_a_reservoir_keeps_each_item_as_often_as_any_other(self, size: int, count: int) -> None:
        """Over 4,000 samples, no item's frequency is further from the mean than five standard deviations."""
        rng = random.Random(1)
        times = Counter[int]()
        for _ in range(4000):
            reservoir = Reservoir[int](size, rng)
            gone = [other for item in range(count) if (other := reservoir.offer(item)) is not None]
            assert sorted(gone + reservoir.items()) == list(range(count))
            times.update(reservoir.items())
        share = min(1.0, size / count)
        deviation = (4000 * share * (1 - share)) ** 0.5
        assert all(abs(times[item] - 4000 * share) <= 5 * deviation for item in range(count))

    def test_a_reservoir_of_many_items_needs_few_random_numbers(self) -> None:
        """A million items cost some hundred numbers, not a million."""

        class Counting(random.Random):
            calls = 0

            def random(self) -> float:
                Counting.calls += 1
                return super().random()

        reservoir = Reservoir[int](10, Counting(1))
        for item in range(1_000_000):
            reservoir.offer(item)
        assert Counting.calls < 1000

    @given(st.lists(st.integers(-5, 5)), st.integers(0, 6))
    def test_the_greatest_are_those_that_sorting_would_give(self, keys: list[int], size: int) -> None:
        """What gives way and what is kept make up the whole, and of equals the first to come are kept."""
        greatest = Greatest[int](size)
        gone = [other for at, key in enumerate(keys) if (other := greatest.offer(key, at)) is not None]
        kept = sorted(range(len(keys)), key=lambda at: (-keys[at], at))[:size]
        assert sorted(greatest.items()) == sorted(kept)
        assert sorted(gone + greatest.items()) == list(range(len(keys)))
