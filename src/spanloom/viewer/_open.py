"""The events that were open when a run was last heard of: what its process was doing when it died."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from spanloom.events.types import EventType
from spanloom.store.model import Record

if TYPE_CHECKING:
    from spanloom.viewer._sweep import Node

__all__ = ["OpenEvent", "OpenGroup", "StillOpen"]

_SHOWN: Final = 20
"""Open events of one type and name that are kept one by one, at most: those that had run longest."""

_MAX_INSIDE: Final = 20
"""Nested open events that are kept for one event, at most."""


class OpenEvent(msgspec.Struct, frozen=True):
    """One event that never ended, or has not yet.

    Attributes:
        record: Its record.
        age_ns: For how long it had run.
        inside: The open events inside it, from the outermost to the innermost; of several at once, the oldest.
    """

    record: Record
    age_ns: int
    inside: tuple[Record, ...]


class OpenGroup(msgspec.Struct, frozen=True):
    """The open events of one type and name; of jobs, or of what is in no job and encloses nothing that is open.

    Attributes:
        type, name: Of the events.
        count: How many there are.
        oldest: Those that had run longest, the oldest first.
    """

    type: str
    name: str
    count: int
    oldest: tuple[OpenEvent, ...]


class StillOpen:
    """Finds open events while the run is swept: events come when they end, inner ones before outer ones."""

    def __init__(self) -> None:
        self._inside: dict[int, Record] = {}
        self._ends: list[tuple[Record, int]] = []
        self.count = 0

    def ended(self, node: Node) -> None:
        """Note `node`, if it never ended."""
        record = node.record
        if record.end_ns is not None:
            return
        self.count += 1
        if record.type == EventType.JOB or (record.job_index is None and record.event_id not in self._inside):
            self._ends.append((record, node.end_ns - record.start_ns))
        parent_id = record.parent_id
        if parent_id is not None:
            known = self._inside.get(parent_id)
            if known is None or record.start_ns < known.start_ns:
                self._inside[parent_id] = record

    def groups(self) -> list[OpenGroup]:
        """Return them by type and name: jobs first, then in order of number."""
        groups: dict[tuple[str, str], list[tuple[Record, int]]] = {}
        for record, age_ns in self._ends:
            groups.setdefault((record.type, record.name), []).append((record, age_ns))
        found = []
        for (type, name), members in groups.items():
            members.sort(key=lambda member: (-member[1], member[0].job_index or 0))
            oldest = tuple(
                OpenEvent(record, age_ns, self._chain(record)) for record, age_ns in members[:_SHOWN]
            )
            found.append(OpenGroup(type, name, len(members), oldest))
        return sorted(found, key=lambda group: (group.type != EventType.JOB, -group.count))

    def _chain(self, record: Record) -> tuple[Record, ...]:
        chain: list[Record] = []
        below = self._inside.get(record.event_id)
        # Bounded: recursion goes on for long, and in a damaged file an event may be inside of itself.
        while below is not None and below.type != EventType.JOB and len(chain) < _MAX_INSIDE:
            chain.append(below)
            below = self._inside.get(below.event_id)
        return tuple(chain)
