"""The shards of one event: the places of its children, and of the next one."""

from __future__ import annotations

import itertools
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from spanloom.events import Event
from spanloom.events.ids import index_in
from spanloom.handlers.otel._shard import Room, Shard

if TYPE_CHECKING:
    from spanloom.events.event import JobEvent, JobFamily

__all__ = ["Series"]

MAX_STRAYS: Final = 1024
"""Remembered jobs of one batch that were overtaken at their start and found the shard of their neighbours full."""
_RECENT: Final = 8
"""Last shards of a batch from which the number of late children is estimated."""


class _Opening:
    """The lock under which shards are opened: one for all, as that is rare, and as a fork must renew it."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Make the lock anew; in a forked child, where the thread that held it does not exist."""
        self.lock = threading.RLock()  # re-entrant: a signal's handler may start a job in the middle


_opening = _Opening()
os.register_at_fork(after_in_child=_opening.renew)


class Series:
    """The shards of one event, and where its next child goes.

    Args:
        run_id: Trace id of the run.
        owner_id: Id of the event.
        owner: The event; ``None`` if it is not at hand.
        home: The trace of its own span.
        limit: Spans per trace.
        total: How many jobs it will have; ``None`` if unknown, or if it is not a batch.
        strayed: Called with the id of a job that is not in the trace of its neighbours.

    Attributes:
        shards: What has been opened so far.
        children: Spans below its jobs, so far.
        ahead: Places that are taken for the jobs that start next. To give one of them to a job whose index is above
            `last`, lower it by 1 and set `last`, with no call in between: then no thread comes in between, either.
        last: Index of the job that was given a place last, strays aside; -1 before the first.
    """

    __slots__ = (
        "_built", "_family", "_firsts", "_mark", "_numbers", "_open", "_ranges", "_reach", "_spare", "_strayed",
        "_strays", "ahead", "children", "home", "last", "limit", "owner", "owner_id", "run_id", "shards", "total",
    )  # fmt: skip

    def __init__(
        self,
        run_id: int,
        owner_id: int,
        owner: Event | None,
        home: Room,
        limit: int,
        total: int | None = None,
        strayed: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.run_id = run_id
        self._strayed = strayed
        self.owner_id = owner_id
        self.owner = owner
        self.home = home
        self.limit = limit
        self.total = total
        self.shards: list[Shard] = []
        self.children = 0
        self._numbers = itertools.count()
        self._spare: Shard | None = None  # for children that are no jobs
        # Jobs: the shards for them, the index of the first job in each, and where the next one goes.
        self._ranges: list[Shard] = []
        self._firsts: list[int] = []
        self._strays: dict[int, Room] = {}
        self._family: JobFamily | None = None  # if it has shards
        self.ahead = 0
        self.last = -1
        self._reach = -1
        """The jobs up to this index lie where the last one does, unless a later range says otherwise."""
        self._built: Shard | None = None
        self._open: Room = home
        self._mark = limit // 2 if total is None or home.promise(total) else 0
        """Up to which place there is certainly room; 0 if the first job opens a shard."""

    @property
    def is_at_home(self) -> bool:
        """Whether its jobs go to the trace that its own span lies in."""
        return self._open is self.home and self._mark > 0

    def place(self, job: JobEvent) -> None:
        """Take a place for the next job of the batch; in the order of their start, as far as threads keep to that."""
        if self.ahead > 0 and job.index > self.last:
            self.ahead -= 1
            self.last = job.index
        else:
            with _opening.lock:
                self._place(job)

    def _place(self, job: JobEvent) -> None:
        index = job.index
        if index <= self.last:
            self._place_stray(job)
            return
        self.last = index
        if self.ahead > 0:
            self.ahead -= 1
            return
        room = self._open
        number = room.number()
        if number < self._mark or self._has_room(room, number):
            room.accept(number)
        else:
            self._family = job.family
            self._open_range(index).take()
        self._take_ahead(index)

    def place_unordered(self) -> Room:
        """Take a place for any job of the batch and return where it is; from any thread. Excludes `place`."""
        with _opening.lock:
            room = self._open
            number = room.number()
            if number < self._mark or self._has_room(room, number):
                room.accept(number)
                return room
            shard = self._open_range(0)
            shard.take()
            return shard

    def place_child(self) -> Room:
        """Take a place for a child of the owner that is no job, and return where it is; from any thread."""
        with _opening.lock:
            shard = self._spare
            if shard is None or not shard.take():
                if shard is not None:
                    shard.close()
                shard = self._spare = self._open_shard()
                shard.take()
            return shard

    def room_of(self, index: int) -> Room:
        """Return where `place` has put job `index`, or would put it."""
        if self._strays and index in self._strays:
            return self._strays[index]
        at = bisect_right(self._firsts, index)
        return self._ranges[at - 1] if at else self.home

    def room_of_id(self, event_id: int) -> Room | None:
        """Return the trace of the job with this id; ``None`` if `place` has not placed such a job."""
        family = self._family
        if family is None:
            return None
        index = index_in(family.base_id, event_id)
        return self.room_of(index) if index <= self.last else None

    def range_of(self, index: int) -> tuple[Room, int, int]:
        """Return the trace of job `index`, and the range of indexes (end excluded) whose started jobs are all in it."""
        if self._strays:
            return self.room_of(index), index, index + 1
        end = max(self._reach, index) + 1
        firsts = self._firsts
        at = bisect_right(firsts, index)
        room, low = (self._ranges[at - 1], firsts[at - 1]) if at else (self.home, 0)
        return room, low, firsts[at] if at < len(firsts) else end

    def completed(self, shard: Shard) -> Sequence[Shard]:
        """Return what is complete, and not told, of `shard`, in which a span was built, and of those around it.

        The last span of a shard may be built before the next shard is opened, and nobody looks at it then. A shard
        whose owner is not at hand waits for that: its root is called after it.
        """
        if self.owner is None:
            return ()
        before, self._built = self._built, shard
        if before is shard:
            return (shard,) if shard.is_complete and not shard.is_told else ()
        around = {shard, before or shard, *self.shards[max(0, shard.index - 1) : shard.index]}
        return sorted(
            (each for each in around if each.is_complete and not each.is_told), key=lambda each: each.index
        )

    def close(self) -> list[Shard]:
        """Note that the owner has ended; return the shards whose roots are not built, in order."""
        for shard in self.shards:
            shard.close()
        return [shard for shard in self.shards if not shard.is_told]

    def _place_stray(self, job: JobEvent) -> None:
        """Take a place for a job that was overtaken at its start, in the range that it belongs to."""
        if not self.room_of(job.index).take():
            room = self.place_child()
            if len(self._strays) < MAX_STRAYS:
                self._strays[job.index] = room
                self._strayed(job.event_id)

    def _take_ahead(self, index: int) -> None:
        """Take places for jobs that start after `index`: as many as have started, and as there certainly are.

        None if jobs have children, which need places of their own next to their jobs'. None in a shard of another
        event, which would never be complete if the batch ends early, nor in the run's trace if others may need them
        should the batch turn out to be small. In its own shards, what is left over then is lost: the last one is told
        of at the end of the batch.
        """
        self._reach = index
        room = self._open
        if self.children or (room is self.home and (self.total is None or isinstance(room, Shard))):
            return
        wanted = min(self._mark - room.taken, index + 1)
        if self.total is not None:
            wanted = min(wanted, self.total - index - 1)
        if wanted > 0:
            self.ahead = room.take_below(self._mark, wanted)
            self._reach = index + self.ahead  # by then at the latest, they are used up

    def _open_range(self, first: int) -> Shard:
        room = self._open
        if isinstance(room, Shard):
            room.close()
        shard = self._open_shard()
        self._ranges.append(shard)
        self._firsts.append(first)  # after its shard: another thread that sees this finds that
        self._open = shard
        self._mark = self.limit // 2
        return shard

    def _open_shard(self) -> Shard:
        shard = Shard(self, next(self._numbers), self.limit)
        self.shards.append(shard)
        return shard

    def _has_room(self, room: Room, number: int) -> bool:
        """Return whether place `number` of `room` is for a job: there is room for the children of those in it, too.

        Asked again each time that half of what seemed to be left is taken: the first jobs of a batch have no
        children yet.
        """
        if room is self.home and (self._mark == 0 or self.total is None):
            return False  # all jobs go to shards; or the trace is half full
        end = room.limit - self._children_to_come(room)
        if number >= end:
            return False
        self._mark = number + max(1, (end - number) // 2)
        return True

    def _children_to_come(self, room: Room) -> int:
        if not self.children:
            return 0
        late = max((shard.late for shard in self._ranges[-_RECENT:]), default=0)
        counts = None if self.owner is None else self.owner.counts
        if counts is not None:
            in_room = min(counts.in_flight, room.taken)
            late = max(late, -(-in_room * self.children // max(1, counts.started)))
        # One job with a thousand children is no reason to make shards of two jobs ever after.
        return min(late, room.limit * 3 // 4)
