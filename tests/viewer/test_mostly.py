"""What a slow job was mostly at."""

from __future__ import annotations

from tests.viewer.runs import Made, run


def mostly(inside_ms: int) -> str:
    """Return what is said of a job whose only attempt, of 100 ms, had a step of `inside_ms` in it."""
    made = Made()
    batch = made.event("batch", "pages", 0, 100)
    job = made.job("fetch", 0, 0, 100, batch)
    attempt = made.event("attempt", "fetch", 0, 100, job, attempt=1, job_index=0, batch_id=batch)
    made.event("step", "parse", 0, inside_ms, attempt, job_index=0, batch_id=batch)
    (kept,) = made.analyse(run(100)).slowest
    assert kept.below is not None
    return f"{kept.below.type} {kept.below.name}"


def test_an_attempt_gives_way_to_what_took_most_of_it() -> None:
    """That a job was in an attempt is known; the step inside is what one looks for, if it took half of it or more."""
    assert mostly(95) == "step parse"
    assert mostly(50) == "step parse"
    assert mostly(49) == "attempt fetch"


def test_a_job_is_not_mostly_at_what_took_no_time() -> None:
    """A line that it has logged, or another point event, says nothing of where its time went."""
    made = Made()
    batch = made.event("batch", "pages", 0, 100)
    job = made.job("fetch", 0, 0, 100, batch)
    made.event("log", "program", 50, 50, job, is_point=True, job_index=0, batch_id=batch)
    (kept,) = made.analyse(run(100)).slowest
    assert kept.below is None
