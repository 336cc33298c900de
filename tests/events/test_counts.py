"""The live numbers of a batch."""

from __future__ import annotations

import gc
import weakref

from spanloom.events import BatchCounts


class Jobs:
    def __init__(self, started: int, alive: int) -> None:
        self.started = started
        self.alive = alive

    def __len__(self) -> int:
        return self.alive


def test_the_numbers_of_a_running_batch() -> None:
    """What is started, running, ended and waiting is read from the runner's own table."""
    jobs = Jobs(started=6, alive=2)
    counts = BatchCounts(10, weakref.ref(jobs))
    counts.failed, counts.cancelled = 1, 1
    assert (counts.started, counts.in_flight, counts.ended, counts.ok, counts.waiting) == (6, 2, 4, 2, 4)
    jobs.started, jobs.alive = 10, 0
    assert (counts.started, counts.in_flight, counts.ended, counts.ok, counts.waiting) == (10, 0, 10, 8, 0)


def test_an_unknown_total_is_not_guessed() -> None:
    """Nobody knows how many jobs of a generator wait."""
    jobs = Jobs(started=6, alive=2)
    assert BatchCounts(None, weakref.ref(jobs)).waiting is None


def test_the_numbers_are_never_negative() -> None:
    """A reader in another thread may come between two writes, and still sees sane numbers."""
    jobs = Jobs(started=3, alive=2)
    counts = BatchCounts(2, weakref.ref(jobs))
    counts.failed = 2
    assert (counts.ok, counts.waiting) == (0, 0)


def test_settled_numbers_stay() -> None:
    """At the end of a batch its numbers become final, and its runner is let go."""
    jobs = Jobs(started=6, alive=0)
    counts = BatchCounts(6, weakref.ref(jobs))
    counts.settle()
    jobs.started = 99
    assert (counts.started, counts.in_flight, counts.ended) == (6, 0, 6)


def test_counts_do_not_keep_a_runner_alive() -> None:
    """An event in the flight recorder pins no runner, tasks or frames; a runner that died leaves zeros."""
    jobs = Jobs(started=6, alive=2)
    counts = BatchCounts(6, weakref.ref(jobs))
    gone = weakref.ref(jobs)
    gc.disable()
    try:
        del jobs
        assert gone() is None
    finally:
        gc.enable()
    assert (counts.started, counts.in_flight, counts.ok) == (0, 0, 0)


def test_counts_without_a_runner_are_zero() -> None:
    """Counts that nobody feeds are zero, not an error."""
    assert (BatchCounts(4).started, BatchCounts(4).in_flight, BatchCounts(4).waiting) == (0, 0, 4)
