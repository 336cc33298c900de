"""The ``repr`` of an event, for a prompt, a log or a failed test: one short line without ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.events.event import Event

__all__ = ["shown"]


def shown(event: Event) -> str:
    """Return one line with the type, name, place, status and duration of `event`; for a batch, also its ended jobs."""
    place = event.name
    if event.type == EventType.JOB:
        place += f"[{event.job_index}]"
    elif event.attempt is not None:
        place += f" #{event.attempt}"
    if event.is_point:
        return f"<Event {event.type} {place}>"
    seconds = f"{event.age_ns / 1e9:.3g} s"
    how = f"open for {seconds}" if event.end_ns is None else f"{event.status} after {seconds}"
    failed = "" if event.error is None else f", {event.error.type}"
    counts = event.counts
    jobs = (
        "" if counts is None else f", {counts.ended} of {'?' if counts.total is None else counts.total} jobs"
    )
    return f"<Event {event.type} {place}, {how}{failed}{jobs}>"
