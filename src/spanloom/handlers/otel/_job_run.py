"""Jobs of one batch that lie in one trace, side by side in a list of ended events: nearly all events are in such runs.

What is the same for all of them is found out once, and what is done to each is done by loops of the interpreter's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from spanloom.events import Event
from spanloom.events.event import JobEvent
from spanloom.handlers.otel._traces import TraceNote

__all__ = ["JobRun", "Woven", "events_of"]


class JobRun(NamedTuple):
    """A run of jobs.

    Attributes:
        jobs: Ended jobs of one family, at least one, in the order of their ends.
        trace: What is known of the trace that all of them lie in.
    """

    jobs: Sequence[JobEvent]
    trace: TraceNote


Woven = Event | JobRun
"""What a list of ended events is made of."""


def events_of(woven: Iterable[Woven]) -> Iterator[Event]:
    """Yield the events one by one, in order."""
    for each in woven:
        if isinstance(each, JobRun):
            yield from each.jobs
        else:
            yield each
