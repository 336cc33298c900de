"""One trace with room for a bounded number of spans: a run's own, or a shard of it.

A shard's ids follow from the run's, so whoever knows which shard a span lies in, another thread or
a later reader, computes them and need not be told.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from spanloom.events import Event, EventStatus
from spanloom.events.event import JobEvent
from spanloom.events.types import FAILED

if TYPE_CHECKING:
    from spanloom.handlers.otel._series import Series
    from spanloom.handlers.otel._traces import TraceNote

__all__ = ["Room", "Shard", "shard_ids"]

# In the interpreter's own loops, these take half the time that comprehensions do.
_START_NS, _END_NS, _INDEX, _DETAIL = map(attrgetter, ("start_ns", "end_ns", "index", "detail"))
_PERSON: Final = b"spanloom-shard"


def shard_ids(trace_id: int, owner_id: int, index: int) -> tuple[int, int]:
    """Return trace id and root span id of shard `index`, from 0, of the event `owner_id` of a run.

    Both are digits of one BLAKE2b hash (RFC 7693) of the three numbers: the same wherever they are computed, and
    otherwise indistinguishable from random ones. Only the first 32 of the 128 bits are those of the run's trace, which
    may be a time (AWS X-Ray's ids); its W3C random flag, which speaks of the last 56, holds for the shards' ids, too.
    """
    plain = trace_id.to_bytes(16, "big") + owner_id.to_bytes(8, "big") + index.to_bytes(8, "big")
    digits = hashlib.blake2b(plain, digest_size=24, person=_PERSON, usedforsecurity=False).digest()
    shard_id = trace_id >> 96 << 96 | int.from_bytes(digits[4:16], "big")
    return shard_id or 1, int.from_bytes(digits[16:], "big") or 1


class Room:
    """Counts the spans of one trace, from several threads at once and without a lock.

    A lock would be inherited, held for ever, by a child that is forked while another thread holds it. The numbers of
    an ``itertools.count`` are handed out once each, whoever asks.

    Args:
        limit: Spans that the trace may have.

    Attributes:
        number: Returns the number of a place, from 0. It is one only if it is below `limit`, and then for `accept`.
        taken: Places that are taken.
        promised: Places that batches of known size count on, taken or not.
        refused: Spans that found no place.
    """

    __slots__ = ("_numbers", "limit", "number", "promised", "refused", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.promised = 0
        self.refused = 0
        self._numbers = itertools.count()
        self.number: Callable[[], int] = self._numbers.__next__

    def accept(self, number: int) -> None:
        """Take the place with that number."""
        self.taken = number + 1

    def take(self) -> bool:
        """Take a place; return False if there is none."""
        number = self.number()
        if number < self.limit:
            self.taken = number + 1
            return True
        self.refused += 1
        return False

    def take_below(self, mark: int, most: int) -> int:
        """Take up to `most` places, at least 1, with numbers below `mark`; return how many it were."""
        numbers = list(itertools.islice(self._numbers, most))
        count = bisect_left(numbers, mark)  # another thread may have taken some
        if count:
            self.taken = numbers[count - 1] + 1
        return count

    def promise(self, spans: int) -> bool:
        """Promise places to a batch of that many jobs; return False if it should not count on them."""
        whole = max(self.taken, self.promised) + spans
        if whole > self.limit:
            return False
        self.promised = whole
        return True


class Shard(Room):
    """A trace of its own for some children of an event that do not all fit into one trace.

    Its root span is there for the reader: it links to the event's span, and says what is in the shard. It takes the
    first place. What it says is collected while the spans are built, by one thread.

    Args:
        series: The shards that this is one of.
        index: Which one, from 0.
        limit: Spans that the trace may have, the root included.

    Attributes:
        trace_id: The shard's.
        root_id: Its root's span id.
        closed_at: Places that were taken when it stopped taking jobs; ``None`` while it takes them.
        note: What OpenTelemetry needs to know of the trace, made when it is first asked for.
        jobs: Jobs of it that are built.
        failed, cancelled: Of these.
        spans: Spans of it that are built, whatever they are; not the root.
        low, high: Smallest and greatest index of the jobs that are built.
        start_ns, end_ns: From the first start to the last end of what is built.
        is_told: Whether the root is built.
    """

    __slots__ = (
        "cancelled", "closed_at", "end_ns", "failed", "high", "index", "is_told", "jobs", "low", "note",
        "root_id", "series", "spans", "start_ns", "trace_id",
    )  # fmt: skip

    def __init__(self, series: Series, index: int, limit: int) -> None:
        super().__init__(limit)
        self.series = series
        self.index = index
        self.trace_id, self.root_id = shard_ids(series.run_id, series.owner_id, index)
        self.note: TraceNote | None = None
        self.closed_at: int | None = None
        self.spans = self.jobs = self.failed = self.cancelled = 0
        self.low: int | None = None
        self.high: int | None = None
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self.is_told = False
        self.accept(self.number())

    @property
    def late(self) -> int:
        """Spans that wanted to come after it had stopped taking jobs: children of the jobs in it."""
        return 0 if self.closed_at is None else self.taken - self.closed_at + self.refused

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is known to come."""
        return self.closed_at is not None and self.spans + 1 >= self.taken

    def close(self) -> None:
        """Note that no more jobs are placed here; children of its jobs still may be."""
        if self.closed_at is None:
            self.closed_at = self.taken

    def add(self, event: Event) -> None:
        """Account for the span of `event`, which lies here."""
        if isinstance(event, JobEvent):
            self.add_jobs([event])
        else:
            self.spans += 1
            self._span_time(event.start_ns, event.end_ns or event.start_ns)

    def add_jobs(self, jobs: Sequence[JobEvent]) -> None:
        """Account for the spans of jobs of one batch, which lie here; all at once, or it would be felt."""
        self.spans += len(jobs)
        self._span_time(min(map(_START_NS, jobs)), max(map(_END_NS, jobs)))
        if jobs[0].family.batch_id != self.series.owner_id:
            return  # of a batch inside one of the owner's jobs
        self.jobs += len(jobs)
        indices = list(map(_INDEX, jobs))
        low, high = min(indices), max(indices)
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)
        for detail in filter(None, map(_DETAIL, jobs)):
            self.failed += detail.status in FAILED
            self.cancelled += detail.status == EventStatus.CANCELLED

    def _span_time(self, start_ns: int, end_ns: int) -> None:
        self.start_ns = start_ns if self.start_ns is None else min(start_ns, self.start_ns)
        self.end_ns = end_ns if self.end_ns is None else max(end_ns, self.end_ns)
