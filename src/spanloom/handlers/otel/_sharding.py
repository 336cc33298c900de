"""Which trace the span of an event lies in, so that no trace has more spans than its readers can open.

Theory of operation. A run begins in one trace. While that has room, everything goes there. Where it
has none, the children of an event go to shards: traces of their own, each under a root span that is
linked to the event's. Jobs of a batch fill one shard after the other in the order of their start,
which is that of their index. So a shard is a range of jobs, the trace of job 61,234 can be told from
a list of where the shards begin, and two handlers that see the same run decide the same.

* It is decided at the start of an event, because spans of user code lie under it from then on.
* A batch of known size that fits into what is left of its trace stays there; one that does not goes
  to shards as a whole, and the run's trace stays an overview: its batches, and what else is no job.
* A batch of unknown size fills its trace to the half, then shards. Who asks for the first 200 jobs of
  a generator sees one trace; and what comes after the batch still finds room.
* Children of jobs (attempts, back-offs, whatever the job opens) lie in their job's trace. They come
  when the shard is already taking no jobs any more, so room is left for them: as many as the jobs
  that run now have had on average, or as came late in the shards before, whichever is more.
* Who comes too late nevertheless, and the 500th child of anything else, goes to a shard of its
  parent, by the same rule: every event can have shards. So the limit holds for whatever happens.

With a tail policy (`is_lazy`) most jobs will have no span. Then an event inside a job takes its place
when its span is built or when user code asks for its context, whichever comes first, and the jobs
that are kept lie together.

Spans that others make in these traces are not counted: nobody tells us of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from spanloom.events import Event, EventType
from spanloom.events.event import JobEvent
from spanloom.handlers.otel._series import Series
from spanloom.handlers.otel._shard import Room, Shard

__all__ = ["MIN_LIMIT", "Sharding"]

MIN_LIMIT: Final = 10
"""Smallest limit: below it, a shard would be mostly root."""
MAX_PLACED: Final = 20_000
"""Events whose place is remembered because it does not follow from their job's: some 2 MB."""
MAX_SERIES: Final = 1024
"""Batches that are over and have shards, of which a late span still finds its job's."""

V = TypeVar("V")


class Sharding:
    """The traces of one run.

    Args:
        run_id: Trace id of the run.
        home: Counts the spans of the run's own trace.
        limit: Spans per trace, at least `MIN_LIMIT`.
        is_lazy: Give events inside jobs no place before they need one.
        strayed: Is called with the id of a job that does not lie with its neighbours.
    """

    __slots__ = (
        "_inner",
        "_is_lazy",
        "_limit",
        "_over",
        "_placed",
        "_series",
        "_strayed",
        "has_others",
        "home",
        "run_id",
    )

    def __init__(
        self,
        run_id: int,
        home: Room,
        limit: int,
        *,
        is_lazy: bool = False,
        strayed: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.run_id = run_id
        self._strayed = strayed
        self.home = home
        self._limit = limit
        self._is_lazy = is_lazy
        self.has_others = False
        """Whether an event that is no batch has shards."""
        self._series: dict[int, Series] = {}
        self._inner: dict[int, Event] = {}  # batches inside jobs, where those have no place yet
        self._over: dict[int, None] = {}
        self._placed: dict[int, Room] = {}

    def __len__(self) -> int:
        """Return the number of remembered entries."""
        return len(self._placed) + sum(len(series.shards) for series in list(self._series.values()))

    # at the start of events -----------------------------------------------------------------------------------

    def started(self, event: Event) -> None:
        """Give an event a place that is not the root of the run; jobs one by one, for whom no placer was made."""
        if self._is_lazy and event.job is not None:
            return
        if isinstance(event, JobEvent):
            series = self._series.get(event.family.batch_id)
            if series is not None:
                series.place(event)
        else:
            self._place(event)

    def places_of(self, batch: Event) -> Series | None:
        """Return what gives places to the jobs of `batch` at their starts; ``None`` if they need none."""
        if not self._is_lazy:
            return self._open_batch(batch)
        if batch.job is not None:
            self._inner[batch.event_id] = batch
        return None

    # at any time ----------------------------------------------------------------------------------------------

    def room_of(self, event: Event) -> Room:
        """Return the trace that the span of `event` lies in: `home`, or a `Shard`."""
        if event.parent_id is None:
            return self.home
        if self._placed:
            room = self._placed.get(event.event_id)
            if room is not None:
                return room
        if self._is_lazy and event.job is not None:
            return self._place(event)
        return self._default(event)

    def room_over(self, event: Event) -> Room:
        """Return the trace that the span of the parent of `event` lies in."""
        if event.type == EventType.JOB:
            series = self._series.get(event.parent_id or 0)
            return self.home if series is None else series.home
        room = self._placed.get(event.parent_id or 0)
        if room is not None:
            return room
        if self._is_lazy and event.job is not None:
            return self._place_over(event, event.job)
        return self._default(event)

    def room_of_id(self, event_id: int) -> Room:
        """Return the trace of the event with this id, as far as that is known without the event.

        Of what happened inside a job in a shard, only the job itself is known by its id.
        """
        room = self._placed.get(event_id)
        if room is not None:
            return room
        for series in list(self._series.values()):
            room = series.room_of_id(event_id)
            if room is not None:
                return room
        return self.home

    def range_of(self, job: JobEvent) -> tuple[Room, int, int]:
        """Return the trace of `job`, and the range of indexes (end excluded) of its batch's jobs that are all in it."""
        if self._is_lazy:
            return self.room_of(job), job.index, job.index + 1
        series = self._series.get(job.family.batch_id)
        return (self.home, job.index, job.index + 1) if series is None else series.range_of(job.index)

    def shards_of(self, event: Event) -> list[Shard]:
        """Return the shards in which children of `event` lie, in the order of their index."""
        series = self._series.get(event.event_id)
        return [] if series is None else sorted(series.shards, key=lambda shard: shard.index)

    # while spans are built, on one thread ---------------------------------------------------------------------

    def built(self, event: Event) -> Sequence[Shard]:
        """Count a built span; return the shards that are complete now, whose roots are to be built."""
        room = self.room_of(event)
        if not isinstance(room, Shard):
            return ()
        room.add(event)
        return self.completed(room)

    def completed(self, shard: Shard) -> Sequence[Shard]:
        """Return what is complete now that spans in `shard` were accounted for."""
        # With a policy, a place may have been taken for a span that is then left out.
        return () if self._is_lazy else shard.series.completed(shard)

    def ended(self, event: Event) -> list[Shard]:
        """Return the shards of an event that has ended whose roots are not built: nothing more is to come."""
        series = self._series.get(event.event_id)
        if series is None:
            return []
        series.owner = event
        return series.close()

    def forget(self, event: Event) -> None:
        """Forget an event whose span is built: at once if all of it is in the run's trace, else later."""
        self._inner.pop(event.event_id, None)
        series = self._series.get(event.event_id)
        if series is None:
            return
        if not series.shards and series.home is self.home:
            self._series.pop(event.event_id, None)
            return
        self._over[event.event_id] = None
        if len(self._over) > MAX_SERIES:
            oldest = next(iter(self._over))
            del self._over[oldest]
            self._series.pop(oldest, None)

    def untold(self) -> Iterator[Shard]:
        """Yield every shard whose root is not built, because its owner's end was lost or came before it."""
        for series in list(self._series.values()):
            yield from series.close()

    # ----------------------------------------------------------------------------------------------------------

    def _place(self, event: Event) -> Room:
        """Take a place for `event`, in its parent's trace or, where that is full, in a shard of its parent."""
        job, parent_id = event.job, event.parent_id or 0
        if event.type == EventType.JOB:
            inner = self._inner.get(parent_id)
            home = self.home if inner is None else self.room_of(inner)
            return self._remember(event.event_id, self._series_of(parent_id, home).place_unordered())
        if job is not None and (series := self._series.get(job.family.batch_id)) is not None:
            series.children += 1
        room = self.room_over(event)
        if not room.take():
            room = self._series_of(parent_id, room).place_child()
        if (self._is_lazy and job is not None) or room is not self._default(event):
            self._remember(event.event_id, room)
        return room

    def _place_over(self, event: Event, job: JobEvent) -> Room:
        """Take places for what is open around `event`, inside `job`, as if it had ended; return the parent's trace.

        Else what ends first would take the last place in its parent's trace, from its parent.
        """
        room = self.room_of(job)
        around: list[tuple[int, int]] = []
        event_id = event.parent_id or 0
        while event_id != job.event_id and event_id not in self._placed:
            parent_id = event.trace.parent_of(event_id)
            if parent_id is None:  # not noted any more
                break
            around.append((event_id, parent_id))
            event_id = parent_id
        room = self._placed.get(event_id, room)
        if around and (series := self._series.get(job.family.batch_id)) is not None:
            series.children += len(around)
        for event_id, parent_id in reversed(around):
            if not room.take():
                room = self._series_of(parent_id, room).place_child()
            self._remember(event_id, room)
        return room

    def _remember(self, event_id: int, room: Room) -> Room:
        if len(self._placed) >= MAX_PLACED:
            _drop_oldest(self._placed)
        return self._placed.setdefault(event_id, room)

    def _default(self, event: Event) -> Room:
        """Return where `event` lies if nothing else was noted: with its job, or in the run's own trace."""
        job = event.job
        if job is None:
            return self.home
        if self._is_lazy:
            return self.room_of(job)
        series = self._series.get(job.family.batch_id)
        return self.home if series is None else series.room_of(job.index)

    def _open_batch(self, batch: Event) -> Series:
        home, total = self.room_of(batch), None if batch.counts is None else batch.counts.total
        series = Series(self.run_id, batch.event_id, batch, home, self._limit, total, self._strayed)
        if batch.job is not None and total is not None and series.is_at_home:
            outer = self._series.get(batch.job.family.batch_id)
            if outer is not None:
                outer.children += total
        return self._series.setdefault(batch.event_id, series)

    def _series_of(self, owner_id: int, home: Room) -> Series:
        series = self._series.get(owner_id)
        if series is None:
            series = self._series.setdefault(owner_id, Series(self.run_id, owner_id, None, home, self._limit))
            self.has_others = True
        return series


def _drop_oldest(table: dict[int, V]) -> None:
    try:
        table.pop(next(iter(table)), None)
    except (RuntimeError, StopIteration):
        pass  # another thread has just changed it: there is room, or will be next time
