"""What was open when the process died: which jobs, for how long, and what they were at."""

from __future__ import annotations

from spanloom.viewer.show import show_lines
from tests.viewer.runs import MS, Made, dead, texts


def test_open_jobs_are_named_by_index_and_age_with_what_they_were_at() -> None:
    """Each job that never ended is there, the oldest first, with what was open inside it."""
    made = Made()
    trace = made.event("trace", "main", 0, None)
    batch = made.event("batch", "all", 1, None, trace)
    made.job("fetch", 0, 2, 50, batch)
    young = made.job("fetch", 2, 60, None, batch)
    old = made.job("fetch", 1, 10, None, batch)
    made.event("attempt", "fetch", 10, 30, old, attempt=1, job_index=1)
    attempt = made.event("attempt", "fetch", 40, None, old, attempt=2, job_index=1)
    made.event("slot_wait", "connection", 45, None, attempt, job_index=1)
    analysis = made.analyse(dead(100))
    (group,) = analysis.open
    assert (group.type, group.name, group.count) == ("job", "fetch", 2)
    first, second = group.oldest
    assert (first.record.job_index, first.age_ns) == (1, 90 * MS)
    assert [(inner.type, inner.name) for inner in first.inside] == [
        ("attempt", "fetch"),
        ("slot_wait", "connection"),
    ]
    assert (second.record.event_id, second.age_ns, second.inside) == (young, 40 * MS, ())
    assert analysis.open_events == 6


def test_open_events_in_no_job_are_shown_where_nothing_open_is_inside() -> None:
    """Of a chain of open scopes, the innermost says what the program was at."""
    made = Made()
    trace = made.event("trace", "main", 0, None)
    made.event("step", "read the index", 10, None, trace)
    (group,) = made.analyse(dead(30)).open
    assert (group.type, group.name, group.oldest[0].age_ns) == ("step", "read the index", 20 * MS)


def test_jobs_inside_jobs_are_listed_each() -> None:
    """A batch inside a job: its jobs were open as well as the one around them."""
    made = Made()
    outer = made.job("shard", 0, 0, None, None)
    batch = made.event("batch", "rows", 1, None, outer, job_index=0)
    for index in range(30):
        made.job("row", index, 2 + index, None, batch)
    outer_group, inner_group = sorted(made.analyse(dead(100)).open, key=lambda group: group.count)
    assert (outer_group.name, outer_group.count) == ("shard", 1)
    assert [record.name for record in outer_group.oldest[0].inside] == ["rows"]
    assert (inner_group.name, inner_group.count) == ("row", 30)
    assert [event.record.job_index for event in inner_group.oldest] == list(range(20))


def test_jobs_of_which_only_the_inside_was_written_are_told() -> None:
    """A job that had just started is not in the record yet; what has ended in it is, and gives it away."""
    made = Made()
    batch = made.event("batch", "all", 0, None)
    made.event("slot_wait", "connection", 10, 12, 777, job_index=5, batch_id=batch)
    made.event("slot_wait", "connection", 10, 13, 778, job_index=4, batch_id=batch)
    made.event("step", "late", 13, 14, 778, job_index=4, batch_id=batch)
    analysis = made.analyse(dead(20))
    assert analysis.unwritten == [4, 5]
    (root,) = analysis.tree
    assert [place.name for place in root.below.values()] == ["connection", "late"]
    assert "2 jobs had just started, and were not yet written: [4], [5]" in texts(show_lines(analysis))


def test_a_job_that_starts_after_what_lies_in_it_is_not_missing() -> None:
    """Its record is there, whatever the order; nothing of a run that has ended was interrupted."""
    made = Made()
    batch = made.event("batch", "all", 0, 30)
    made.event("step", "early", 1, 2, 3, job_index=0, batch_id=batch)
    assert made.job("fetch", 0, 10, 20, batch) == 3
    analysis = made.analyse()
    assert analysis.unwritten == []
    assert "when the process died" not in texts(show_lines(analysis))
    made.event("step", "left open", 25, None)
    text = texts(show_lines(made.analyse()))
    assert "Never ended: what was open when the run ended" in text
    assert "when the process died" not in text


def test_an_event_inside_of_itself_is_shown_like_any_other() -> None:
    """Only a damaged file has that; what is inside is told to a depth, and then there is an end of it."""
    made = Made()
    made.event("step", "snake", 0, None, 1)
    made.event("job", "eater", 1, None, 3, job_index=0)
    made.event("step", "tail", 2, None, 2, job_index=0)
    made.event("step", "head", 3, None, 5, job_index=0)
    made.event("step", "ring", 3, None, 4, job_index=0)
    analysis = made.analyse(dead(20))
    assert analysis.open_events == 5
    assert "eater" in texts(show_lines(analysis))


def test_a_run_that_ended_has_nothing_open() -> None:
    """Where everything ended, there is nothing to say."""
    made = Made()
    made.job("fetch", 0, 0, 10, None)
    assert made.analyse().open == []
