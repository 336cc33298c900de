"""Deduplication of events that arrive by two ways."""

from __future__ import annotations

from typing import Final

__all__ = ["Twice"]

MAX_WAITING: Final = 200_000
"""Ids that have come by one way only. At most half as many events wait for a handler's thread, so the oldest ids
beyond this will not come again."""


class Twice:
    """Events that have come by one of two ways, and not yet by the other."""

    def __init__(self) -> None:
        self._ids: dict[int, None] = {}

    def is_first(self, event_id: int) -> bool:
        """Note an event; return whether this is its first arrival."""
        ids = self._ids
        if event_id in ids:
            del ids[event_id]
            return False
        if len(ids) >= MAX_WAITING:
            del ids[next(iter(ids))]
        ids[event_id] = None
        return True
