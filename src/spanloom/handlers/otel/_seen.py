"""The set of span ids that have been sent: exact, at some 15 bytes each."""

from __future__ import annotations

__all__ = ["SeenIds"]


class SeenIds:
    """A set of span ids. A `set` of them takes 60 bytes each: too much for a spool of a million spans."""

    def __init__(self) -> None:
        self._rest_by_start: dict[bytes, bytes] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, span_id: bytes) -> bool:
        """Add an id of 8 bytes; False if it was there."""
        start, rest = span_id[:2], span_id[2:]
        known = self._rest_by_start.get(start, b"")
        at = known.find(rest)
        while at % len(rest) and at >= 0:
            at = known.find(rest, at + 1)
        if at >= 0:
            return False
        self._rest_by_start[start] = known + rest
        self._count += 1
        return True
