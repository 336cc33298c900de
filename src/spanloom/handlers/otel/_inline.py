"""Building the spans of plain jobs one by one, at their ends: what does not change is looked up once.

With a spool, a span is built when its event ends, and most events are jobs that end ``ok``, in the same batch and trace
as the one before. For a list of events, everything shared is looked up once per list. Here it is kept from one event to
the next while it holds, for at most `MAX_STRETCH` events: then the provider is looked at again.
"""

from __future__ import annotations

from typing import Final

from spanloom.events.event import JobEvent
from spanloom.events.ids import event_id_at
from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._kin import JobKin, is_plain
from spanloom.handlers.otel._points import Points
from spanloom.handlers.otel._traces import Notes, TraceNote

__all__ = ["Stretch"]

MAX_STRETCH: Final = 256


class Stretch:
    """A stretch of plain jobs that differ only in their numbers.

    Args:
        kin: What they share.
        envelope: What their encoded spans are wrapped into.
        run: The run that they are part of.
        low: The lowest index in it.
        high: The first index beyond it.

    Attributes:
        jobs: Those whose spans were built, and that have not been accounted for in their shard.
    """

    __slots__ = ("_high", "_kin", "_low", "_run", "envelope", "jobs")

    def __init__(self, kin: JobKin, envelope: Envelope, run: TraceNote, low: int, high: int) -> None:
        self._kin = kin
        self._run = run
        self._low = low
        self._high = high
        self.envelope = envelope
        self.jobs: list[JobEvent] = []

    def frame(self, job: JobEvent, notes: Notes, points: Points) -> bytes | None:
        """Return the encoded span of `job`; ``None`` if it is not of this stretch, or the stretch is over."""
        kin = self._kin
        if job.family is not kin.family or not self._low <= job.index < self._high:
            return None
        sharding = self._run.sharding
        if (job.detail is not None and not is_plain(job.detail)) or (
            sharding is not None and sharding.has_others
        ):
            return None
        event_id = event_id_at(kin.base_id, job.index)
        if event_id in notes or event_id in points.waiting or len(self.jobs) >= MAX_STRETCH:
            return None
        self.jobs.append(job)
        return kin.frame(job, event_id)
