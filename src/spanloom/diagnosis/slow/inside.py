"""What one job of a recorded run spent most of its time in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spanloom.events.types import EventType
from spanloom.store.model import Record

__all__ = ["longest_inside"]

MOST: Final = 0.5
"""Fraction of the job's time that an event must have taken."""


def longest_inside(records: Iterable[Record], job_id: int, took_ns: int) -> tuple[str, int] | None:
    """Return what took more than half of a job's time, in words, and its nanoseconds; ``None`` if nothing did.

    Of nested events, the innermost that did: the request, not the attempt around it.

    Args:
        records: Those of the run, in order of their start: a parent comes before its children.
        job_id: Event id of the job.
        took_ns: How long it ran.
    """
    inside = {job_id}
    longest: dict[int, tuple[int, Record]] = {}
    for record in records:
        if record.parent_id not in inside or record.is_point or record.end_ns is None:
            continue
        inside.add(record.event_id)
        lasted = record.end_ns - record.start_ns
        if record.parent_id not in longest or lasted > longest[record.parent_id][0]:
            longest[record.parent_id] = lasted, record
    found: tuple[str, int] | None = None
    at = job_id
    while at in longest and longest[at][0] > MOST * took_ns:
        lasted, record = longest[at]
        found, at = (_called(record), lasted), record.event_id
    return found


def _called(record: Record) -> str:
    if record.type == EventType.ATTEMPT:
        return f"attempt {record.attempt}"
    if record.type == EventType.BACKOFF:
        return f"the pause after attempt {record.attempt}"
    if record.type == EventType.SLOT_WAIT:
        return f"a wait for a slot of `{record.name}`"
    return f"{record.type} `{record.name}`"
