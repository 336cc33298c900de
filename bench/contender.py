"""A contender: one way to run a load, with the set-up it needs outside the clock."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from bench.load import Load

Run = Callable[[Load], Awaitable[object]]
"""Runs a load and returns its results, a list in input order."""


def _nothing() -> None:
    """Settle nothing."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a contender has ready once it is set up.

    Attributes:
        run: Runs the load; called `load.repeat` times on the loop.
        settle: Ends the timed run: waits for whatever the contender left to a thread or a queue, so that
            work put off is still counted.
    """

    run: Run
    settle: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to run a load.

    Attributes:
        name: What the tables call it.
        open: Sets it up for one timed run and tears it down after; neither is timed.
        max_jobs: The most jobs it is asked to run, None for any number. Slow peers are spared the largest
            loads.
    """

    name: str
    open: Callable[[], AbstractContextManager[Session]]
    max_jobs: int | None = None


def plain(name: str, run: Run, *, max_jobs: int | None = None) -> Contender:
    """Make a contender that needs no set-up."""
    return Contender(name, lambda: nullcontext(Session(run)), max_jobs)
