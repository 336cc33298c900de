"""Which trace a span lies in: never too many in one, each below its parent or below a root that stands for it."""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom.events import BatchCounts, Event, EventType
from spanloom.events.event import JobEvent, JobFamily, ScopeEvent, write_event
from spanloom.events.ids import new_event_id
from spanloom.events.trace import Trace
from spanloom.handlers.otel._series import Series
from spanloom.handlers.otel._shard import Room, Shard, shard_ids
from spanloom.handlers.otel._sharding import Sharding

RUN = 0x0AF7651916CD43DD8448EB211C80319C


@dataclass
class Run:
    """A run whose events are started and ended by hand, as a manager would."""

    limit: int
    is_lazy: bool = False
    total: int | None = None
    events: list[Event] = field(default_factory=list)
    open: list[Event] = field(default_factory=list)
    told: list[Shard] = field(default_factory=list)
    rooms: dict[int, Room] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = itertools.count(1)
        self.root = ScopeEvent(
            EventType.TRACE, "run", new_event_id(), None, Trace("run", 1, RUN), next(self.clock)
        )
        home = Room(self.limit)
        home.take()
        self.sharding = Sharding(RUN, home, self.limit, is_lazy=self.is_lazy)
        self.families: dict[int, JobFamily] = {}
        self.placers: dict[int, object] = {}
        self.counts: dict[int, Live] = {}
        self.events.append(self.root)

    def scope(self, parent: Event, type: str = EventType.STEP) -> Event:
        return self._opened(
            ScopeEvent(
                type, "x", new_event_id(), parent.event_id, parent.trace, next(self.clock), None, parent.job
            )
        )

    def batch(self, parent: Event, total: int | None = None) -> Event:
        live = Live()
        counts = BatchCounts(total, weakref.ref(live))
        event = ScopeEvent(
            EventType.BATCH, "b", new_event_id(), parent.event_id, parent.trace, next(self.clock), None, parent.job,
            None, counts,
        )  # fmt: skip
        self.counts[event.event_id] = live
        self.families[event.event_id] = JobFamily(
            event.event_id, parent.trace, "j", new_event_id(), event.start_ns, counts
        )
        self._opened(event)
        places = self.sharding.places_of(event)
        self.placers[event.event_id] = None if places is None else places.place
        return event

    def job(self, batch: Event, index: int | None = None) -> JobEvent:
        live = self.counts[batch.event_id]
        job = JobEvent(
            self.families[batch.event_id], live.started if index is None else index, next(self.clock)
        )
        live.started += 1
        live.alive += 1
        placer = self.placers[batch.event_id]
        if callable(placer):
            placer(job)
        self._note(job)
        return job

    def _opened(self, event: Event) -> Event:
        event.trace.add(event.parent_id or 0, event.event_id)
        self.sharding.started(event)
        self._note(event)
        return event

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.open.append(event)
        if not self.is_lazy:
            self.rooms[event.event_id] = self.sharding.room_of(event)

    def end(self, event: Event) -> None:
        self.open.remove(event)
        if isinstance(event, JobEvent):
            write_event(event, "end_ns", next(self.clock))
            self.counts[event.batch_id].alive -= 1
        else:
            write_event(event, "end_ns", next(self.clock))
        self.told += self._tell(self.sharding.ended(event))
        self.told += self._tell(self.sharding.built(event))
        self.rooms.setdefault(event.event_id, self.sharding.room_of(event))
        self.sharding.forget(event)

    def _tell(self, shards: Sequence[Shard]) -> list[Shard]:
        for shard in shards:
            assert not shard.is_told
            shard.is_told = True
        return list(shards)

    def finish(self) -> None:
        for event in reversed(self.open.copy()):
            self.end(event)
        self.open.append(self.root)
        self.end(self.root)
        self.told += self._tell(list(self.sharding.untold()))

    def sizes(self) -> dict[int, int]:
        """Return how many spans each trace has, shard roots included."""
        sizes: Counter[int] = Counter(
            room.trace_id if isinstance(room, Shard) else RUN for room in self.rooms.values()
        )
        for shard in {room for room in self.rooms.values() if isinstance(room, Shard)} | set(self.told):
            sizes[shard.trace_id] += 1
        return dict(sizes)

    def shard_numbers(self, batch: Event) -> list[int | None]:
        """Return the shard of each job of `batch`, in order of its index; ``None`` for the run's own trace."""
        jobs = [
            event for event in self.events if isinstance(event, JobEvent) and event.batch_id == batch.event_id
        ]
        rooms = [self.sharding.room_of(job) for job in sorted(jobs, key=lambda job: job.index)]
        return [room.index if isinstance(room, Shard) else None for room in rooms]


class Live:
    """How many jobs have started and how many run."""

    def __init__(self) -> None:
        self.started = self.alive = 0

    def __len__(self) -> int:
        return self.alive


def check(run: Run) -> None:
    """Check what must hold of every run: the limit, and for each span a parent in its own trace."""
    assert all(size <= run.limit for size in run.sizes().values())
    for event in run.events[1:]:
        room = run.rooms[event.event_id]
        above = run.rooms[event.parent_id or 0]
        assert room is above or (isinstance(room, Shard) and room.series.owner_id == event.parent_id)
        if isinstance(room, Shard):
            assert room.series.home is run.rooms[room.series.owner_id] or run.is_lazy
    assert len({shard.trace_id for shard in run.told}) == len(run.told)
    assert {room for room in run.rooms.values() if isinstance(room, Shard)} <= set(run.told)
    for shard in run.told:
        inside = [event for event in run.events if run.rooms[event.event_id] is shard]
        jobs = [
            event
            for event in inside
            if isinstance(event, JobEvent) and event.batch_id == shard.series.owner_id
        ]
        assert (shard.spans, shard.jobs) == (len(inside), len(jobs))
        if jobs:
            assert (shard.low, shard.high) == (min(j.index for j in jobs), max(j.index for j in jobs))
        if inside:
            assert shard.start_ns == min(event.start_ns for event in inside)
            assert shard.end_ns == max(event.end_ns or 0 for event in inside)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["job", "job", "job", "child", "batch", "end", "end", "overtaken"]),
        st.integers(0, 1 << 16),
    ),
    max_size=150,
)


def play(run: Run, steps: list[tuple[str, int]]) -> None:
    batches = [run.batch(run.root, run.total)]
    put_off: list[tuple[Event, int]] = []
    for action, choice in steps:
        batches = [batch for batch in batches if batch in run.open] or [run.batch(run.root, run.total)]
        batch = batches[choice % len(batches)]
        if action == "job":
            run.job(batch)
            while put_off and (late := put_off.pop())[0] in run.open:
                run.job(late[0], late[1])
        elif action == "overtaken":  # its index is taken now, its first step comes after the next job's
            put_off.append((batch, run.counts[batch.event_id].started))
            run.counts[batch.event_id].started += 1
        elif action == "child":
            run.scope([run.root, *run.open][choice % (len(run.open) + 1)])
        elif action == "batch":
            batches.append(
                run.batch([run.root, *run.open][choice % (len(run.open) + 1)], choice % 40 or None)
            )
        else:
            ends = [event for event in run.open if not any(o.parent_id == event.event_id for o in run.open)]
            if ends:
                run.end(ends[choice % len(ends)])
    run.finish()


class TestLimit:
    @settings(max_examples=300, deadline=None)
    @given(limit=st.integers(10, 40), total=st.none() | st.integers(0, 100), steps=STEPS)
    def test_no_trace_is_above_the_limit_and_no_span_without_its_parent_in_it(
        self, limit: int, total: int | None, steps: list[tuple[str, int]]
    ) -> None:
        """Whatever starts and ends when: the limit holds, and a parent is in its child's trace, or has a root there."""
        run = Run(limit, total=total)
        play(run, steps)
        check(run)

    @settings(max_examples=200, deadline=None)
    @given(limit=st.integers(10, 40), steps=STEPS)
    def test_places_that_are_taken_late_keep_the_limit(
        self, limit: int, steps: list[tuple[str, int]]
    ) -> None:
        """With a tail policy, places are taken when spans are built, children before their parents, and all holds."""
        run = Run(limit, is_lazy=True)
        play(run, steps)
        check(run)

    def test_jobs_that_begin_in_many_threads_keep_the_limit(self) -> None:
        """Jobs of a thread pool begin there: no shard has more than it may, and each job is where it was put."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for _ in range(10):
                series = Series(RUN, 2, None, Room(60), 60)
                family = JobFamily(2, Trace("run", 1, RUN), "j", 5, 0, BatchCounts(None, weakref.ref(Live())))
                jobs = iter([JobEvent(family, index, index) for index in range(3_000)])

                def begin(series: Series = series, jobs: Iterator[JobEvent] = jobs) -> None:
                    for job in jobs:
                        series.place(job)

                threads = [threading.Thread(target=begin) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                sizes = Counter(id(series.room_of(index)) for index in range(3_000))
                assert max(sizes.values()) < 60
                for shard in series.shards:  # the root of each is one more
                    assert sizes[id(shard)] < shard.taken <= 60
        finally:
            sys.setswitchinterval(before)

    def test_what_ends_first_leaves_its_parent_a_place(self) -> None:
        """With a tail policy, a step does not take the last place in the trace that the step around it belongs to."""
        run = Run(10, is_lazy=True)
        play(run, [("job", 0)] * 11 + [("child", 2), ("end", 0), ("job", 0), ("job", 0), ("end", 0), ("end", 0)]
             + [("overtaken", 0), ("child", 322)] + [("job", 0)] * 4)  # fmt: skip
        check(run)

    @settings(max_examples=100, deadline=None)
    @given(limit=st.integers(10, 40), steps=STEPS)
    def test_the_same_run_is_divided_the_same_for_two_handlers(
        self, limit: int, steps: list[tuple[str, int]]
    ) -> None:
        """Where a span lies follows from the order of the starts alone."""
        first, second = Run(limit), Run(limit)
        play(first, steps)
        play(second, steps)
        numbers = [
            [getattr(run.rooms[event.event_id], "index", None) for event in run.events[1:]]
            for run in (first, second)
        ]
        assert numbers[0] == numbers[1]


class TestJobs:
    def test_a_batch_that_fits_stays_in_the_trace_of_its_run(self) -> None:
        """Root, batch and 498 jobs are 500 spans, and no more than that are allowed."""
        run = Run(500)
        batch = run.batch(run.root, 498)
        for _ in range(498):
            run.end(run.job(batch))
        run.finish()
        assert not run.told
        assert run.sizes() == {RUN: 500}

    def test_a_batch_that_does_not_fit_goes_to_shards_as_a_whole(self) -> None:
        """The run's trace stays an overview, and every shard is full, whatever the number of jobs."""
        run = Run(500)
        batch = run.batch(run.root, 1200)
        jobs = [run.job(batch) for _ in range(1200)]
        assert run.shard_numbers(batch) == [0] * 499 + [1] * 499 + [2] * 202
        for job in jobs:
            run.end(job)
        run.finish()
        assert sorted(run.sizes().values()) == [2, 203, 500, 500]

    def test_a_batch_of_unknown_size_begins_in_the_trace_of_its_run(self) -> None:
        """Half of the trace is for its first jobs; the other half is for what comes after the batch."""
        run = Run(500)
        batch = run.batch(run.root)
        for _ in range(1000):
            run.end(run.job(batch))
        assert run.shard_numbers(batch) == [None] * 248 + [0] * 499 + [1] * 253

    def test_two_batches_that_run_at_once_do_not_both_count_on_the_same_room(self) -> None:
        """The second of two batches of 300 jobs goes to a shard as a whole although nothing is taken yet."""
        run = Run(500)
        first, second = run.batch(run.root, 300), run.batch(run.root, 300)
        for _ in range(300):
            run.job(first)
            run.job(second)
        assert set(run.shard_numbers(first)) == {None}
        assert set(run.shard_numbers(second)) == {0}

    def test_a_shard_is_told_as_soon_as_all_that_lies_in_it_is_built(self) -> None:
        """The roots of full shards do not wait for the end of the batch, and nothing of them is kept till then."""
        run = Run(100)
        batch = run.batch(run.root, 1000)
        for _ in range(500):
            run.end(run.job(batch))
        assert [shard.index for shard in run.told] == [0, 1, 2, 3, 4]

    def test_room_is_left_for_the_children_of_the_jobs_that_run(self) -> None:
        """Where each of 20 jobs at a time has 3 children, only the first shard, which could not know, is too full."""
        run = Run(100)
        batch = run.batch(run.root, 2000)
        running: list[tuple[JobEvent, int]] = []
        while run.counts[batch.event_id].started < 2000:
            while len(running) < 20:
                running.append((run.job(batch), 0))
            job, children = running.pop(0)
            if children == 3:
                run.end(job)
            else:
                run.end(run.scope(job, EventType.ATTEMPT))
                running.append((job, children + 1))
        run.finish()
        check(run)
        of_jobs = [shard for shard in run.told if shard.series.owner_id != batch.event_id]
        assert len(of_jobs) <= 20
        whole = [shard.spans + 1 for shard in run.told if shard.series.owner_id == batch.event_id]
        assert sum(whole) / len(whole) > 75

    def test_one_job_with_more_children_than_the_limit_has_shards_of_its_own(self) -> None:
        """Its 500 steps lie in traces under roots that stand for the job, and its neighbours stay where they are."""
        run = Run(100)
        batch = run.batch(run.root, 300)
        jobs = [run.job(batch) for _ in range(50)]
        for _ in range(500):
            run.end(run.scope(jobs[7]))
        own = run.sharding.shards_of(jobs[7])
        assert len(own) == 5
        assert {shard.series.owner_id for shard in own} == {jobs[7].event_id}
        run.finish()
        check(run)

    def test_a_batch_inside_a_job_is_divided_by_itself(self) -> None:
        """The batch's span lies with its job, its 300 jobs in shards of the inner batch."""
        run = Run(100)
        outer = run.batch(run.root, 200)
        job = run.job(outer)
        inner = run.batch(job, 300)
        nested = [run.job(inner) for _ in range(300)]
        assert run.sharding.room_of(inner) is run.sharding.room_of(job)
        assert run.shard_numbers(inner)[-1] == 3
        run.end(nested[0])
        run.finish()
        check(run)

    def test_a_job_that_was_overtaken_at_its_start_lies_in_a_trace_with_room(self) -> None:
        """Job 5 starts when the shard of its neighbours is full, and goes to one that it does not fill further."""
        run = Run(10)
        strays: list[int] = []
        run.sharding._strayed = strays.append
        batch = run.batch(run.root, 40)
        for index in [*range(5), *range(6, 20)]:
            run.job(batch, index)
        late = run.job(batch, 5)
        assert strays == [late.event_id]
        run.finish()
        check(run)
        assert run.rooms[late.event_id] not in {
            run.rooms[event.event_id] for event in run.events if event is not late
        }


class TestIds:
    def test_ids_follow_from_run_owner_and_index(self) -> None:
        """The same three numbers give the same ids anywhere, and those are written down here."""
        assert shard_ids(RUN, 0xB7AD6B7169203331, 0) == shard_ids(RUN, 0xB7AD6B7169203331, 0)
        assert f"{shard_ids(RUN, 0xB7AD6B7169203331, 0)[0]:032x}" == "0af76519bd4dfd6c46242a246fb87e19"

    def test_ids_are_unique_and_every_bit_of_them_is_as_good_as_random(self) -> None:
        """Of 20,000 ids none is there twice, and each bit is set in half of them, within five standard deviations.

        The first 32 bits of a trace id are the run's, where they may be a time.
        """
        ids = [shard_ids(RUN, owner, index) for owner in range(1, 21) for index in range(1000)]
        assert len({trace_id for trace_id, _ in ids}) == len({span_id for _, span_id in ids}) == 20_000
        deviation = 5 * (20_000 * 0.25) ** 0.5
        assert {trace_id >> 96 for trace_id, _ in ids} == {RUN >> 96}
        for bit in range(96):
            assert abs(sum(trace_id >> bit & 1 for trace_id, _ in ids) - 10_000) < deviation
        for bit in range(64):
            assert abs(sum(span_id >> bit & 1 for _, span_id in ids) - 10_000) < deviation


class TestMemory:
    def test_a_batch_without_shards_leaves_nothing(self) -> None:
        """Ten thousand small batches in one trace are forgotten one by one."""
        run = Run(1_000_000)
        for _ in range(10_000):
            batch = run.batch(run.root, 1)
            run.end(run.job(batch))
            run.end(batch)
        assert len(run.sharding) == 0
        assert not run.sharding._series

    def test_a_late_child_finds_the_shard_of_its_job_after_the_batch_is_over(self) -> None:
        """A task that outlives its job still has its spans in the job's trace."""
        run = Run(100)
        batch = run.batch(run.root, 250)
        jobs = [run.job(batch) for _ in range(250)]
        for job in jobs:
            run.end(job)
        run.end(batch)
        last = run.scope(jobs[-1])
        assert run.sharding.room_of(last) is run.sharding.room_of(jobs[-1])
        assert isinstance(run.sharding.room_of(last), Shard)
