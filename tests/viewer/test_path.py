"""The critical path: what it goes through, and what it leaves out."""

from __future__ import annotations

from tests.viewer.runs import MS, Made
from tests.viewer.test_sweep import spent


def test_of_parallel_events_the_last_to_end_is_on_the_path() -> None:
    """What was over before something beside it did not hold anybody up."""
    made = Made()
    root = made.event("trace", "main", 0, 100)
    made.event("step", "short", 10, 50, root)
    made.event("step", "long", 10, 90, root)
    assert spent(made.analyse().path) == {"main": 20, "long": 80}


def test_under_a_limit_the_path_goes_from_slot_to_slot() -> None:
    """With two slots, the last job came after the one that freed its slot, and that after the one before."""
    made = Made()
    batch = made.event("batch", "all", 0, 66)
    made.job("a", 0, 0, 30, batch)  # slot 1: a, c
    made.job("b", 1, 0, 20, batch)  # slot 2: b, d, e
    made.job("d", 2, 20, 40, batch, queue=20)
    made.job("c", 3, 30, 35, batch, queue=30)
    made.job("c2", 4, 35, 65, batch, queue=35)
    made.job("e", 5, 40, 60, batch, queue=40)
    analysis = made.analyse()
    assert spent(analysis.path) == {"a": 30, "c": 5, "c2": 30, "all": 1}
    assert [step.record.name for step in analysis.path.longest] == ["a", "c2", "c", "all"]
    assert analysis.path.steps == 4


def test_the_path_goes_through_what_is_inside() -> None:
    """Of a job on the path, the attempts and the pauses between them are on it, too."""
    made = Made()
    batch = made.event("batch", "all", 0, 100)
    job = made.job("fetch", 0, 0, 100, batch)
    made.event("attempt", "fetch", 0, 30, job, attempt=1)
    made.event("backoff", "fetch", 30, 60, job, attempt=1)
    second = made.event("attempt", "fetch", 60, 99, job, attempt=2)
    made.event("slot_wait", "connection", 60, 80, second)
    path = made.analyse().path
    found = {(stats.type, stats.name): ns / MS for stats, ns in path.spent_ns.items() if ns}
    assert found == {
        ("attempt", "fetch"): 30 + 19,
        ("backoff", "fetch"): 30,
        ("slot_wait", "connection"): 20,
        ("job", "fetch"): 1,
    }


def test_what_lies_outside_of_all_events_is_outside_of_the_path() -> None:
    """The start of the interpreter, the pauses between traces and the end of the process are nobody's."""
    made = Made()
    made.event("trace", "one", 20, 40)
    made.event("trace", "two", 50, 60)
    path = made.analyse().path
    assert spent(path) == {"one": 20, "two": 10}
    assert (path.gaps_ns, path.end_ns) == (30 * MS, 60 * MS)


def test_traces_side_by_side_are_one_path() -> None:
    """Of requests that are served at once, those that came one after the other up to the last end are on the path."""
    made = Made()
    made.event("trace", "a", 0, 40)
    made.event("trace", "b", 10, 30)
    made.event("trace", "c", 35, 70)
    path = made.analyse().path
    assert spent(path) == {"b": 20, "c": 35}
    assert path.gaps_ns == 15 * MS
