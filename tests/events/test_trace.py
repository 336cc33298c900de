"""The tree of a trace: complete up to its bound, and counted beyond."""

from __future__ import annotations

import weakref

from spanloom.events import BatchCounts
from spanloom.events import trace as trace_module
from spanloom.events.event import JobFamily
from spanloom.events.trace import Trace


class Jobs:
    def __init__(self, started: int) -> None:
        self.started = started

    def __len__(self) -> int:
        return 0


def family_of(trace: Trace, batch_id: int, jobs: Jobs) -> JobFamily:
    family = JobFamily(
        batch_id=batch_id,
        trace=trace,
        name="job",
        base_id=1,
        ready_ns=None,
        counts=BatchCounts(None, weakref.ref(jobs)),
    )
    trace.add_family(family)
    return family


def test_the_tree_maps_parents_to_children_in_order() -> None:
    """Children stand in order of their start, and leaves have no key."""
    trace = Trace("t", 1)
    trace.add(1, 2)
    trace.add(2, 4)
    trace.add(1, 3)
    assert trace.tree() == {1: [2, 3], 2: [4]}


def test_the_jobs_of_a_batch_are_in_the_tree() -> None:
    """The jobs that have started stand under their batch, before what else lies directly under it."""
    trace = Trace("t", 1)
    jobs = Jobs(started=2)
    trace.add(1, 5)
    family = family_of(trace, 5, jobs)
    trace.add(5, 6)
    assert trace.tree() == {1: [5], 5: [family.id_at(0), family.id_at(1), 6]}
    jobs.started = 3
    assert trace.tree()[5][:3] == [family.id_at(0), family.id_at(1), family.id_at(2)]


def test_a_settled_batch_stays_in_the_tree() -> None:
    """A batch that has ended is no longer among the open ones, and its jobs are where they were."""
    trace = Trace("t", 1)
    family = family_of(trace, 5, jobs := Jobs(started=2))
    assert trace.families == (family,)
    family.counts.settle()
    trace.settle(family)
    tree = trace.tree()
    jobs.started = 9
    assert trace.families == ()
    assert trace.tree() == tree == {5: [family.id_at(0), family.id_at(1)]}


def test_a_batch_without_jobs_has_no_children() -> None:
    """An empty batch is a leaf."""
    trace = Trace("t", 1)
    jobs = Jobs(started=0)
    family_of(trace, 5, jobs)
    assert trace.tree() == {}


def test_what_is_left_out_is_counted(monkeypatch) -> None:
    """Beyond the bound, events and batches are missing from the tree, and the trace says how many."""
    monkeypatch.setattr(trace_module, "MAX_SCOPES", 3)
    trace = Trace("t", 1)
    jobs = Jobs(started=1)
    for event_id in range(2, 7):
        trace.add(1, event_id)
        family_of(trace, event_id, jobs)
    assert [family.batch_id for family in trace.families] == [2, 3, 4]
    assert list(trace.tree()) == [2, 3, 4, 1]
    assert trace.tree()[1] == [2, 3, 4]
    assert trace.omitted == 4
    trace.settle(family_of(trace, 9, jobs))
    assert list(trace.tree()) == [2, 3, 4, 1]


def test_a_trace_may_bring_its_id() -> None:
    """A given trace id is taken; else it is a fresh one."""
    assert Trace("t", 1, trace_id=77).trace_id == 77
    assert Trace("t", 1).trace_id != Trace("t", 1).trace_id
