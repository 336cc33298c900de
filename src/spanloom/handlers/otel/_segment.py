"""One file of frames: written through a shared memory map, read and acknowledged through its descriptor.

A store into a shared map is in the page cache when it returns. It survives the death of the process, by SIGKILL too,
though not of the machine: nothing is synced, for that takes 4 ms a time. The blocks are reserved when the file
is made: on a disk that runs full later, a store into a hole would be a SIGBUS.

A header of 64 bytes, little-endian: magic and version (8 bytes), time of creation in Unix ns (8), the offset up to
which everything is settled (8), zeros. Then records; a frame belongs to the last envelope before it.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._records import RecordReader, envelope_record, frame_records
from spanloom.handlers.otel._store import Parcel

__all__ = ["HEADER_SIZE", "SEGMENT_SIZE", "Segment", "SegmentParcel"]

MAGIC: Final = b"SPLOOM\0\x01"
_HEADER: Final = struct.Struct("<8sQQ")
_SETTLED: Final = struct.Struct("<Q")
_SETTLED_AT: Final = 16
HEADER_SIZE: Final = 64
SEGMENT_SIZE: Final = 4 << 20
"""Bytes of a segment: some 14,000 spans. The unit in which a spool is mapped, and dropped when it is full."""


class Segment:
    """A file of frames.

    Attributes:
        path: Where it is.
        size: Its bytes.
        unread: Frames that have not been taken.
        in_flight: Frames that were taken, and not settled yet.
        damaged: Records that were found unreadable when an old file was opened.
        touched: When the last frame was written; Unix time in s.
    """

    def __init__(self, path: Path, fd: int, size: int) -> None:
        self.path = path
        self.size = size
        self.unread = 0
        self.in_flight = 0
        self.damaged = 0
        self.touched = time.time()
        self._fd = fd
        self._map: mmap.mmap | None = None
        self._written = HEADER_SIZE
        self._written_envelope: Envelope | None = None
        self._reader = RecordReader(fd, HEADER_SIZE)
        self._read_envelope: Envelope | None = None

    @classmethod
    def create(cls, path: Path, size: int = SEGMENT_SIZE) -> Self:
        """Make a new, empty file.

        Raises:
            OSError: there is no room for it, or no permission, or there is such a file already.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            _reserve(fd, size)
            os.pwrite(fd, _HEADER.pack(MAGIC, time.time_ns(), HEADER_SIZE), 0)
            segment = cls(path, fd, size)
            segment._map = mmap.mmap(fd, size)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return segment

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Open what a dead process has left; ``None`` if it is not a segment of ours.

        Raises:
            OSError: it cannot be opened.
        """
        # Not blocking: a FIFO of that name must not hold us.
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        segment = None
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                header = os.pread(fd, _HEADER.size, 0)
                is_unfinished = not header.strip(b"\0")  # its maker died before it held a frame
                if (header.startswith(MAGIC) and len(header) == _HEADER.size) or is_unfinished:
                    segment = cls(path, fd, status.st_size)
                    segment.touched = status.st_mtime
                    if not is_unfinished:
                        segment._scan(_HEADER.unpack(header)[2])
        finally:
            if segment is None:
                os.close(fd)
        return segment

    # writing ---------------------------------------------------------------------------------------------

    def append(self, envelope: Envelope, frames: Sequence[bytes]) -> bool:
        """Write frames, all or none; False if there is no room. They are safe when this returns."""
        data = frame_records(frames)
        if envelope is not self._written_envelope and envelope != self._written_envelope:
            data = envelope_record(envelope) + data
        start = self._written
        end = start + len(data)
        if end > self.size or self._map is None:
            return False
        self._map[start:end] = data
        self._written = end
        self._written_envelope = envelope
        self.unread += len(frames)
        return True

    def seal(self) -> None:
        """Append no more; give back the room that is not used."""
        if self._map is not None:
            self.touched = time.time()
            self._map.close()
            self._map = None
            os.ftruncate(self._fd, self._written)
            self.size = self._written

    @property
    def is_open(self) -> bool:
        """Whether frames can be appended, while there is room."""
        return self._map is not None

    @property
    def is_over(self) -> bool:
        """Whether nothing can come any more, and all that came is settled."""
        return self._map is None and not self.unread and not self.in_flight

    @property
    def untaken_bytes(self) -> int:
        """How much shorter `skip` would make a sealed file; all of it, if nothing of it is in flight."""
        if not self.unread:
            return 0
        return self.size - self._reader.at if self.in_flight else self.size

    @property
    def is_removed(self) -> bool:
        """Whether somebody has deleted the file: it can still be read here, but by no other process."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    # reading ---------------------------------------------------------------------------------------------

    def take(self, max_spans: int, max_bytes: int) -> SegmentParcel | None:
        """Return the next frames that share an envelope; ``None`` if there are none."""
        frames: list[bytes] = []
        ends: list[int] = []
        size = 0
        envelope = None
        reader = self._reader
        while self.unread > len(frames) and len(frames) < max_spans:
            record = reader.peek(self._written)
            if record is None:
                break
            if record.frame is not None and self._read_envelope is not None:
                size += len(record.frame)
                if frames and (size > max_bytes or self._read_envelope != envelope):
                    break
                envelope = self._read_envelope
                frames.append(record.frame)
                ends.append(record.end)
                reader.at = record.end
                room = min(max_spans, self.unread) - len(frames)
                more, more_ends = reader.frames(self._written, room, max_bytes - size)
                size += sum(map(len, more))
                frames += more
                ends += more_ends
                continue
            if record.is_envelope:
                self._read_envelope = record.envelope
            reader.at = record.end
        self.unread -= len(frames)
        self.in_flight += len(frames)
        if not self.unread:
            reader.forget()
        return None if envelope is None else SegmentParcel(self, envelope, frames, ends)

    def skip(self) -> int:
        """Let nobody take more frames from here; return how many frames are left untaken."""
        skipped, self.unread = self.unread, 0
        self._reader.forget()
        if self._map is None and self._fd >= 0:
            self._written = self.size = self._reader.at
            os.ftruncate(self._fd, self.size)
        return skipped

    def settle(self, end: int, count: int) -> None:
        """Note, in the file too, that `count` frames in flight, up to the offset `end`, are settled."""
        self.in_flight -= count
        os.pwrite(self._fd, _SETTLED.pack(end), _SETTLED_AT)

    def _scan(self, settled: int) -> None:
        """Count what is there beyond `settled`, and find where it ends."""
        reader = RecordReader(self._fd, HEADER_SIZE)
        envelope = None
        while (record := reader.peek(self.size)) is not None:
            if record.is_envelope:
                envelope = record.envelope
            if record.end <= settled:
                self._reader.at, self._read_envelope = record.end, envelope
            elif record.frame is not None and envelope is not None:
                self.unread += 1
            elif record.envelope is None:
                self.damaged += 1
            reader.at = record.end
        self._written = reader.at
        # Behind the last record there are zeros, or one that was being written, or whatever has damaged the file.
        if os.pread(self._fd, self.size - reader.at, reader.at).strip(b"\0"):
            self.damaged += 1

    # the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file without deleting it."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Close the file, and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)


class SegmentParcel(Parcel):
    """Frames taken from a segment; knows where each of them ends there."""

    __slots__ = ("ends", "segment")

    def __init__(
        self,
        segment: Segment,
        envelope: Envelope,
        frames: Sequence[bytes],
        ends: Sequence[int],
        *,
        replayed: bool = False,
    ) -> None:
        super().__init__(envelope, frames, replayed=replayed)
        self.segment = segment
        self.ends = ends

    def _part(self, start: int, end: int) -> Parcel:
        return SegmentParcel(
            self.segment,
            self.envelope,
            self.frames[start:end],
            self.ends[start:end],
            replayed=self.replayed,
        )


def _reserve(fd: int, size: int) -> None:
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        allocate(fd, 0, size)
    else:
        os.pwrite(fd, bytes(size), 0)  # macOS: the only way to have the blocks
