"""A decoded event: the interface of a live one, and the fields that this version does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from spanloom.events.clock import monotonic_ns, wall_ns
from spanloom.events.counts import BatchCounts
from spanloom.events.error import ErrorInfo
from spanloom.events.event import Event
from spanloom.events.trace import Trace

__all__ = ["StoredCounts", "StoredEvent"]


class StoredCounts(BatchCounts, eq=False):
    """The numbers of a batch as they were when its event was written."""

    _in_flight: int = 0

    @property
    def in_flight(self) -> int:
        """Jobs that had started and not ended."""
        return self._in_flight


class StoredEvent(Event, msgspec.Struct, frozen=True, eq=False, weakref=True):
    """An event as `decode` returns it. See `Event` for the fields, which are the same.

    Its process may have ended long ago: `start_ns` and `end_ns` compare with those of the same
    process only, `start_wall_ns` and `end_wall_ns` with everything.

    Attributes:
        v: Version of the wire form from which it was read.
        extra: Fields that a newer version wrote and this one does not know, kept for `encode`.
    """

    type: str
    name: str
    event_id: int
    trace: Trace
    start_ns: int
    start_wall_ns: int
    parent_id: int | None = None
    end_ns: int | None = None
    end_wall_ns: int | None = None
    status: str | None = None
    error: ErrorInfo | None = None
    data: dict[str, object] | None = None
    queue_ns: int | None = None
    busy_ns: int | None = None
    attempt: int | None = None
    job_index: int | None = None
    batch_id: int | None = None
    counts: BatchCounts | None = None
    is_point: bool = False
    v: int = 1
    extra: Mapping[str, object] | None = None

    job: ClassVar[None] = None

    @property
    def age_ns(self) -> int:
        """Nanoseconds from the start until the end or, if it never ended, until now by the wall clock."""
        if self.end_ns is not None:
            return self.end_ns - self.start_ns
        return max(0, wall_ns(monotonic_ns()) - self.start_wall_ns)
