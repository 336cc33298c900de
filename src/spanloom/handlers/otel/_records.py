"""Records in a file: frames and envelopes, each with its length and a checksum.

A record is its length (4 bytes, little-endian; the top bit marks an envelope), the CRC-32 of its body, seeded with
that number (4 bytes), and the body. A length of zero is the end. The checksum finds a torn or damaged record, which
does not hide the records behind it unless its length is damaged.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from spanloom.handlers.otel._frame import SPANS, Envelope

__all__ = ["Record", "RecordReader", "envelope_record", "frame_records"]

_HEAD: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")
_ENVELOPE_BIT: Final = 1 << 31
_READ_SIZE: Final = 1 << 20
_SPANS: Final = bytes((SPANS,))
_TRACE_ID: Final = b"\x0a\x10"
"""How a span's message begins: tag and length of its trace id."""


class Record(NamedTuple):
    """What was read.

    Attributes:
        end: Where the next record begins.
        is_envelope: Whether it is an envelope or a frame.
        frame: The frame; ``None`` if that is damaged.
        envelope: The envelope; ``None`` if that is damaged.
    """

    end: int
    is_envelope: bool
    frame: bytes | None = None
    envelope: Envelope | None = None


def frame_records(frames: Sequence[bytes]) -> bytes:
    """Return the records of frames."""
    pack, crc32 = _HEAD.pack, zlib.crc32
    if len(frames) == 1:  # as they come, one by one, where an event ends
        (frame,) = frames
        size = len(frame)
        return pack(size, crc32(frame, size)) + frame
    return b"".join([pack(size := len(frame), crc32(frame, size)) + frame for frame in frames])


def envelope_record(envelope: Envelope) -> bytes:
    """Return the record of an envelope."""
    body = _LENGTH.pack(len(envelope.resource)) + envelope.resource + envelope.scope
    length = len(body) | _ENVELOPE_BIT
    return _HEAD.pack(length, zlib.crc32(body, length)) + body


class RecordReader:
    """Reads the records of a file one by one, in large pieces.

    Attributes:
        at: Where the next record begins.
    """

    def __init__(self, fd: int, at: int) -> None:
        self._fd = fd
        self._buffer = b""
        self._buffer_at = at
        self.at = at

    def peek(self, limit: int) -> Record | None:
        """Return the next record; ``None`` at the end, or if what is left of the file before `limit` is no record.

        Set `at` to its end to go on.
        """
        head = self._get(_HEAD.size, limit)
        if len(head) < _HEAD.size:
            return None
        length, checksum = _HEAD.unpack(head)
        size = length & ~_ENVELOPE_BIT
        end = self.at + _HEAD.size + size
        if not length or end > limit:
            return None
        body = self._get(_HEAD.size + size, limit)[_HEAD.size :]
        is_envelope = length & _ENVELOPE_BIT != 0
        if len(body) < size or zlib.crc32(body, length) != checksum:
            return Record(end, is_envelope)
        if is_envelope:
            return Record(end, is_envelope, envelope=_envelope(body))
        return Record(end, is_envelope, frame=body if _is_frame(body) else None)

    def frames(self, limit: int, max_frames: int, max_bytes: int) -> tuple[list[bytes], list[int]]:
        """Read on over plain frames, as far as they are in what was read ahead, and return them and their ends.

        What stops it (the end, an envelope, damage, a bound) is for `peek` to find out.
        """
        frames: list[bytes] = []
        ends: list[int] = []
        unpack, crc32, head = _HEAD.unpack_from, zlib.crc32, _HEAD.size
        buffer, base = self._buffer, self._buffer_at
        at = self.at - base
        last = min(len(buffer), limit - base) - head
        while 0 <= at <= last and len(frames) < max_frames:
            size, checksum = unpack(buffer, at)
            start = at + head
            end = start + size
            max_bytes -= size
            if not size or size & _ENVELOPE_BIT or end > last + head or max_bytes < 0:
                break
            frame = buffer[start:end]
            if crc32(frame, size) != checksum or not _is_frame(frame):
                break
            frames.append(frame)
            at = end
            ends.append(at + base)
        if ends:
            self.at = ends[-1]
        return frames, ends

    def forget(self) -> None:
        """Drop what was read ahead."""
        self._buffer = b""

    def _get(self, size: int, limit: int) -> bytes:
        """Return `size` bytes from `at` on, or fewer at the end."""
        start = self.at - self._buffer_at
        if start + size > len(self._buffer):
            self._buffer = os.pread(self._fd, max(size, min(_READ_SIZE, limit - self.at)), self.at)
            self._buffer_at = self.at
            start = 0
        return self._buffer[start : start + size]


def _envelope(body: bytes) -> Envelope | None:
    if len(body) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack_from(body)
    middle = _LENGTH.size + size
    return Envelope(body[_LENGTH.size : middle], body[middle:]) if middle <= len(body) else None


def _is_frame(body: bytes) -> bool:
    """Return whether `body` begins as a frame does; the rest is not checked."""
    if body[:1] != _SPANS:
        return False
    at = 1
    while at < 6 and at < len(body) and body[at] > 127:
        at += 1
    return body[at + 1 : at + 3] == _TRACE_ID and len(body) >= at + 29
