"""Telling what comes by two ways, so that it is taken once, whichever is the first."""

from __future__ import annotations

from typing import Final

__all__ = ["Twice"]

MAX_WAITING: Final = 200_000
"""Ids that came by one way only: twice as many as wait for a handler's thread at the most, so that the oldest of them
will not come any more."""


class Twice:
    """What has come by one of two ways, and not yet by the other."""

    def __init__(self) -> None:
        self._ids: dict[int, None] = {}

    def is_first(self, event_id: int) -> bool:
        """Take note that an event comes; tell whether it has not come by the other way before."""
        ids = self._ids
        if event_id in ids:
            del ids[event_id]
            return False
        if len(ids) >= MAX_WAITING:
            del ids[next(iter(ids))]
        ids[event_id] = None
        return True
