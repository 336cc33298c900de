"""Frames that wait on disk, so that they outlive the process, or in memory while the disk fails."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from spanloom.handlers.otel._counts import Ledger
from spanloom.handlers.otel._frame import Envelope, span_id_of
from spanloom.handlers.otel._memory import DROPPED, MemoryStore
from spanloom.handlers.otel._seen import SeenIds
from spanloom.handlers.otel._segment import SEGMENT_SIZE, Segment, SegmentParcel
from spanloom.handlers.otel._spool_dir import Run, SpoolDir
from spanloom.handlers.otel._spool_options import SpoolOptions
from spanloom.handlers.otel._store import Parcel

__all__ = ["SpoolStore"]

_logger = logging.getLogger("spanloom.handlers.otel")

MAX_BYTES: Final = 256 << 20
"""What may lie in the directory: some 900,000 spans."""
MAX_AGE_S: Final = 7 * 86_400.0
"""How long spans are kept: a long week-end's outage, and no more than most backends accept."""
LOOK_EVERY_S: Final = 30.0
"""How often the directory is searched for what a dead process has left."""
RETRY_DISK_S: Final = 10.0
"""How long a disk that failed is left alone."""
RECORD_OVERHEAD: Final = 64 << 10
"""Room for the header and an envelope in a segment that is made for one large `put`."""


class SpoolStore:
    """Keeps frames in segments in a directory.

    A process sends what it has written itself, in order. What a dead process has left is sent by the next one that
    looks, each span once: an id that occurs again is not sent again.
    What is acknowledged is noted in the segment at once, so a span is sent again only if the process is killed
    between the collector's answer and that note, or if an answer was lost on its way.

    Args:
        options: The directory; what may lie in it, of all processes (`MAX_BYTES`), and how long (`MAX_AGE_S`).
        ledger: Where what comes and goes is accounted for.
        memory: Where frames go that the disk cannot take.
    """

    is_durable = True

    def __init__(self, options: SpoolOptions, ledger: Ledger, memory: MemoryStore) -> None:
        self._dir = SpoolDir(options.path)
        self._ledger = ledger
        self._memory = memory
        self._max_bytes = MAX_BYTES if options.max_bytes is None else options.max_bytes
        self._max_age_s = MAX_AGE_S if options.max_age_s is None else options.max_age_s
        self._segment_size = max(2 * RECORD_OVERHEAD, min(SEGMENT_SIZE, self._max_bytes // 4))
        self._own: deque[Segment] = deque()
        self._old: deque[Segment] = deque()
        self._run: Run | None = None
        self._old_run: Run | None = None
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._waiting_bytes = 0
        self._seen = SeenIds()
        self._look_at = 0.0
        self._disk_at = 0.0
        self._said_so = False
        self._stopped = False
        self._closed = False
        # What is to be logged once the lock is free: a handler of the log may put spans in here in its turn.
        self._unsaid: deque[tuple[object, ...]] = deque()

    @property
    def waiting(self) -> int:
        """Own frames that nobody has taken; a hint."""
        return self._waiting + self._memory.waiting

    @property
    def waiting_bytes(self) -> int:
        """Their size; a hint."""
        return self._waiting_bytes + self._memory.waiting_bytes

    # writing: from any thread --------------------------------------------------------------------------------

    def has_room_for(self, _: int) -> bool:
        """Say yes: the oldest give way on the disk, however long one waits."""
        return True

    def put(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Write frames to disk; if that cannot be, keep them in memory."""
        with self._lock:
            own = self._own
            if not self._stopped and (
                (own and own[-1].append(envelope, frames)) or self._append_to_new(envelope, frames)
            ):
                self._ledger.put(len(frames))
                self._came(frames)
            else:
                if (reason := self._memory.keep(envelope, frames)) is not None:
                    self._unsaid.append((DROPPED, reason))
                self._ledger.unspooled(len(frames))
        if self._unsaid:
            self._say()

    def _say(self) -> None:
        """Log what there is to say; never under the lock."""
        while self._unsaid:
            try:
                message, *values = self._unsaid.popleft()
            except IndexError:
                return  # another thread has said it
            _logger.warning(message, *values)

    def _append_to_new(self, envelope: Envelope, frames: Sequence[bytes]) -> bool:
        size = sum(map(len, frames)) + 8 * len(frames)
        return self._open_segment(size) and self._own[-1].append(envelope, frames)

    def _open_segment(self, size: int) -> bool:
        """Have a segment with room for records of `size` bytes; False if that cannot be."""
        if time.monotonic() < self._disk_at:
            return False
        try:
            self._append_segment(size)
            self._take_from_memory()
        except OSError as error:
            self._disk_at = time.monotonic() + RETRY_DISK_S
            if self._own:
                self._own[-1].seal()  # else what comes next would overtake what is in memory
            if not self._said_so:
                self._said_so = True
                told = "spans are kept in memory, since the spool %s cannot be written: %s"
                self._unsaid.append((told, self._dir.path, error))
            return False
        return True

    def _append_segment(self, size: int) -> None:
        if self._own:
            self._own[-1].seal()
        size = max(size + RECORD_OVERHEAD, self._segment_size)
        self._make_room(size)
        if self._run is not None:
            try:
                self._own.append(Segment.create(self._run.next_path(), size))
            except FileNotFoundError:
                # Somebody has removed the directory. What lay there can still be read, by us alone.
                self._run.release(remove=True)
            else:
                return
        self._run = self._dir.new_run()
        self._own.append(Segment.create(self._run.next_path(), size))

    def _make_room(self, size: int) -> None:
        """Drop the oldest segments until one of `size` bytes may be made.

        Raises:
            OSError: there are too many of other processes; then nothing is dropped, for it would be in vain.
        """
        excess = self._dir.total_bytes() + size - self._max_bytes
        if excess > sum(segment.untaken_bytes for segment in [*self._old, *self._own]):
            raise OSError(f"there is no room below the bound of {self._max_bytes} bytes")
        for segment in [*self._old, *self._own]:
            if excess > 0 and segment.unread:
                excess -= segment.size
                self._drop(segment, "spool full")
                excess += 0 if segment.is_over else segment.size  # of which some is under way just now

    def _take_from_memory(self) -> None:
        """Write down what was kept in memory meanwhile: it is older than what comes now."""
        while (chunk := self._memory.oldest()) is not None:
            envelope, frames = chunk
            if self._own[-1].append(envelope, frames):
                self._memory.forget_oldest()
                self._came(frames)
            else:
                self._append_segment(sum(map(len, frames)) + 8 * len(frames))

    def _came(self, frames: Sequence[bytes]) -> None:
        count = len(frames)
        self._waiting += count
        self._waiting_bytes += len(frames[0]) if count == 1 else sum(map(len, frames))

    def _drop(self, segment: Segment, reason: str) -> None:
        """Drop what nobody has taken from a segment; delete it, unless some of it is with the sender just now."""
        replayed = segment in self._old
        dropped = segment.skip()
        if not replayed:
            self._went(dropped, self._waiting_bytes * dropped // max(1, self._waiting))
        if self._ledger.drop(dropped, reason, replayed=replayed):
            self._unsaid.append(("spans are being dropped: %s (%s)", reason, self._dir.path))
        self._remove_if_over(segment)

    def _went(self, count: int, size: int) -> None:
        self._waiting -= count
        self._waiting_bytes = self._waiting_bytes - size if self._waiting else 0

    def _remove_if_over(self, segment: Segment) -> None:
        if segment.is_over:
            (self._own if segment in self._own else self._old).remove(segment)
            segment.remove()

    # sending: on the sender's thread ---------------------------------------------------------------------------

    def take(self, max_spans: int, max_bytes: int) -> Parcel | None:
        """Return the oldest own frames; if there are none, the oldest of a dead process."""
        with self._lock:
            parcel = None if self._stopped else self._take(max_spans, max_bytes)
        self._say()
        return parcel

    def _take(self, max_spans: int, max_bytes: int) -> Parcel | None:
        for segment in list(self._own):
            parcel = self._take_from(segment, max_spans, max_bytes)
            if parcel is not None:
                self._went(len(parcel.frames), sum(map(len, parcel.frames)))
                return parcel
        if (kept := self._memory.take(max_spans, max_bytes)) is not None:
            return kept
        for segment in list(self._old):
            parcel = self._take_from(segment, max_spans, max_bytes)
            while parcel is not None and not self._is_new(parcel):
                parcel = self._take_from(segment, max_spans, max_bytes) if segment.unread else None
            if parcel is not None:
                return parcel
        return None

    def _take_from(self, segment: Segment, max_spans: int, max_bytes: int) -> SegmentParcel | None:
        if segment.is_open and segment.is_removed:
            segment.seal()  # where it was, another process would find nothing: the next frame opens a new one
        if not segment.is_open and time.time() - segment.touched > self._max_age_s:
            self._drop(segment, "too old")
            return None
        if segment.unread:
            parcel = segment.take(max_spans, max_bytes)
            if parcel is not None:
                return parcel
            self._drop(segment, "damaged on disk")  # by somebody, under our hands
        else:
            self._remove_if_over(segment)
        return None

    def _is_new(self, parcel: SegmentParcel) -> bool:
        """Mark a parcel as a dead process's, and leave out what was sent before; False if that is all of it."""
        parcel.replayed = True
        new = [at for at, frame in enumerate(parcel.frames) if self._seen.add(span_id_of(frame))]
        twice = len(parcel.frames) - len(new)
        if not twice:
            return True
        end = parcel.ends[-1]
        self._ledger.drop(twice, "duplicate in the spool", replayed=True)
        parcel.segment.in_flight -= twice
        parcel.frames = [parcel.frames[at] for at in new]
        parcel.ends = [parcel.ends[at] for at in new[:-1]] + [end]
        if not new:
            parcel.segment.settle(end, 0)
            self._remove_if_over(parcel.segment)
        return bool(new)

    def settle(self, parcel: Parcel) -> bool:
        """Note on disk that a parcel is settled."""
        if not isinstance(parcel, SegmentParcel):
            return self._memory.settle(parcel)
        with self._lock:
            try:
                parcel.segment.settle(parcel.ends[-1], len(parcel.frames))
                self._remove_if_over(parcel.segment)
            except OSError as error:
                self._unsaid.append(("what was sent cannot be noted in %s: %s", parcel.segment.path, error))
        self._say()
        return True

    def holds_any_of(self, count: int) -> bool:
        """One parcel is under way at a time, and what is settled is settled in order."""
        return False

    def adopt(self, *, now: bool = False) -> bool:
        """Look for what a dead process has left; True if there is something to take."""
        with self._lock:  # a `put` that makes room may remove some of them just now
            if self._old:
                return any(segment.unread for segment in self._old)
        if self._stopped or not (now or time.monotonic() >= self._look_at):
            return False
        try:
            found = self._adopt_next()
        except OSError as error:
            self._dir.ignore("what other processes have left", str(error))
            found = False
        if not found:
            self._look_at = time.monotonic() + LOOK_EVERY_S
        return found

    def _adopt_next(self) -> bool:
        self._release_old_run()
        while (run := self._dir.dead_run()) is not None:
            self._old_run = run
            found = [segment for path in run.paths() if (segment := self._open(run, path)) is not None]
            with self._lock:
                self._old.extend(found)
            if found:
                return True
            self._release_old_run()
        self._seen = SeenIds()
        return False

    def _open(self, run: Run, path: Path) -> Segment | None:
        """Open a dead process's segment and account for it; ``None`` if there is nothing in it to send."""
        try:
            segment = Segment.open(path)
        except OSError as error:
            self._dir.ignore(run.name, f"{path.name}: {error}")
            return None
        if segment is None:
            self._dir.ignore(run.name, f"{path.name} is not a segment")
            return None
        self._ledger.put(segment.unread + segment.damaged, replayed=True)
        if self._ledger.drop(segment.damaged, "damaged on disk", replayed=True):
            _logger.warning("%d records in %s are damaged", segment.damaged, path)
        if segment.unread:
            return segment
        segment.remove()
        return None

    def _release_old_run(self) -> None:
        if self._old_run is not None:
            self._old_run.release(remove=not self._old_run.paths())
            self._old_run = None

    # the end ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing more in or out; what is on disk stays there."""
        with self._lock:
            self._stopped = True
        self._memory.stop()

    def close(self) -> None:
        """Let go of all files; delete those that are done with."""
        with self._lock:
            if self._closed:
                return
            self._closed = self._stopped = True
            for segment in [*self._own, *self._old]:
                segment.seal()
                if segment.is_removed:
                    segment.unread += segment.in_flight  # nothing is under way any more
                    segment.in_flight = 0
                    self._drop(segment, "spool removed")
                elif segment.is_over:
                    segment.remove()
                segment.close()
            for run in (self._run, self._old_run):
                if run is not None:
                    run.release(remove=not run.paths())
        self._say()

    def renew(self) -> None:
        """Leave the files to the parent process; in a forked child."""
        for segment in [*self._own, *self._old]:
            segment.close()
        for run in (self._run, self._old_run):
            if run is not None:
                run.release(remove=False)
        self._own.clear()
        self._old.clear()
        self._run = self._old_run = None
        self._memory.renew()
        self._begin()
