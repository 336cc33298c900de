"""Point events on their way into the span of their parent, which is built later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spanloom.events import Event

__all__ = ["Points"]

MAX_POINTS: Final = 128
"""Point events kept for one span: the SDK's own default limit."""
MAX_PARENTS: Final = 10_000
"""Spans-to-be that have point events waiting; a trace seldom has this many events open."""


class Points:
    """Point events by the id of their parent, until its span is built."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[Event]] = {}
        self._omitted: dict[int, int] = {}

    @property
    def waiting(self) -> Mapping[int, list[Event]]:
        """Waiting point events by the id of their parent."""
        return self._waiting

    def keep(self, event: Event) -> list[Event]:
        """Keep a point event; if there are too many parents, remove and return the events of the oldest one."""
        parent_id = event.parent_id or 0
        points = self._waiting.setdefault(parent_id, [])
        if len(points) < MAX_POINTS:
            points.append(event)
        else:
            self._omitted[parent_id] = self._omitted.get(parent_id, 0) + 1
        if len(self._waiting) <= MAX_PARENTS:
            return []
        return self.take(next(iter(self._waiting)))[0]

    def take(self, event_id: int) -> tuple[list[Event], int]:
        """Return the point events under `event_id`, and how many more there were."""
        if not self._waiting:
            return [], 0
        return self._waiting.pop(event_id, []), self._omitted.pop(event_id, 0)

    def take_all(self) -> list[Event]:
        """Return every point event that still waits."""
        waiting, self._waiting = self._waiting, {}
        self._omitted.clear()
        return [event for events in waiting.values() for event in events]
