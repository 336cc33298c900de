"""Frames that wait in memory: bounded, first in first out; the oldest are dropped."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from spanloom.handlers.otel._counts import Ledger
from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._store import Parcel

__all__ = ["DROPPED", "MemoryStore"]

_logger = logging.getLogger("spanloom.handlers.otel")

MAX_BYTES: Final = 32 << 20
"""What may wait: some 100,000 spans of 250 bytes. With a request in the making it stays below 64 MB."""
DROPPED: Final = "spans are being dropped: %s; OpenTelemetryHandler.stats() counts them"
"""What the log says, once for a reason."""
MARGIN: Final = 1 << 20
"""Bytes that are left where there is said to be room."""
OVERHEAD: Final = 64
"""Bytes that CPython adds to a frame: a bytes object's header, rounding, a place in a list."""


class _Chunk:
    """The frames of one `put`, from `start` on."""

    __slots__ = ("envelope", "frames", "start")

    def __init__(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        self.envelope = envelope
        self.frames = frames
        self.start = 0


class MemoryStore:
    """Keeps frames in memory.

    Args:
        ledger: Where what comes and goes is accounted for.
        max_bytes: What may wait, as memory; the frames of a request under way come on top.
        max_spans: How many may wait; ``None`` for no bound but the bytes.
    """

    is_durable = False

    def __init__(self, ledger: Ledger, *, max_bytes: int = MAX_BYTES, max_spans: int | None = None) -> None:
        self._ledger = ledger
        self._max_bytes = max_bytes
        self._max_spans = max_spans
        self.renew()

    def renew(self) -> None:
        """Be empty; in a forked child."""
        self._lock = threading.Lock()
        self._chunks: deque[_Chunk] = deque()
        self._in_flight: dict[int, int] = {}  # by what came before a parcel: how many of its frames are left
        self._gone = 0
        self._stopped = False
        self.waiting = 0
        self.waiting_bytes = 0

    def put(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Keep frames; drop the oldest if there is no room."""
        if (reason := self.keep(envelope, frames)) is not None:
            _logger.warning(DROPPED, reason)

    def has_room_for(self, count: int) -> bool:
        """Tell whether nothing would have to give way for so many frames, or nothing waits."""
        waiting, most = self.waiting, self._max_spans
        if not waiting:
            return True
        return (most is None or waiting + count <= most) and self.waiting_bytes <= self._max_bytes - MARGIN

    def keep(self, envelope: Envelope, frames: Sequence[bytes]) -> str | None:
        """Do what `put` does without logging; return the reason when spans are first dropped for it, else ``None``."""
        count = len(frames)
        self._ledger.put(count)
        with self._lock:
            if stopped := self._stopped:
                dropped = count
            else:
                self._chunks.append(_Chunk(envelope, frames))
                self.waiting += count
                self.waiting_bytes += _size(frames)
                dropped = self._make_room()
        reason = "closed" if stopped else "memory full"
        return reason if self._ledger.drop(dropped, reason) else None

    def take(self, max_spans: int, max_bytes: int) -> Parcel | None:
        """Return the oldest frames that share an envelope; ``None`` if there are none."""
        taken: list[bytes] = []
        size = 0
        with self._lock:
            if not self._chunks or self._stopped:
                return None
            envelope = self._chunks[0].envelope
            while self._chunks and (chunk := self._chunks[0]).envelope == envelope:
                frames = chunk.frames[chunk.start : chunk.start + max_spans - len(taken)]
                sizes = list(accumulate(map(len, frames), initial=size))
                if sizes[-1] > max_bytes:
                    frames = frames[: max(bisect_right(sizes, max_bytes) - 1, not taken)]
                taken += frames
                size = sizes[len(frames)]
                self._forget_oldest(chunk, frames)
                if self._chunks and self._chunks[0] is chunk:
                    break
            number = self._gone - len(taken)
            self._in_flight[number] = len(taken)
        return Parcel(envelope, taken, number=number)

    def settle(self, parcel: Parcel) -> bool:
        """Forget a parcel; return False if its spans are counted already."""
        with self._lock:
            if self._stopped:
                return False
            left = self._in_flight[parcel.number] - len(parcel.frames)
            if left:
                self._in_flight[parcel.number] = left
            else:
                del self._in_flight[parcel.number]
            return True

    def holds_any_of(self, count: int) -> bool:
        """Return whether one of the first `count` frames is under way."""
        return any(number < count for number in list(self._in_flight))

    def oldest(self) -> tuple[Envelope, Sequence[bytes]] | None:
        """Return the oldest frames that came together, without taking them."""
        with self._lock:
            if not self._chunks:
                return None
            chunk = self._chunks[0]
            return chunk.envelope, chunk.frames[chunk.start :]

    def forget_oldest(self) -> None:
        """Forget the frames that `oldest` returns: they are kept elsewhere now."""
        with self._lock:
            chunk = self._chunks[0]
            self._forget_oldest(chunk, chunk.frames[chunk.start :])

    def adopt(self, *, now: bool = False) -> bool:
        """Memory is never left behind."""
        return False

    def stop(self) -> None:
        """Drop everything, what is under way included."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            lost = self.waiting + sum(self._in_flight.values())
            self._chunks.clear()
            self.waiting = self.waiting_bytes = 0
        self._ledger.drop(lost, "unsent at exit")

    def close(self) -> None:
        """Memory holds nothing open."""

    def _make_room(self) -> int:
        dropped = 0
        while self.waiting_bytes > self._max_bytes or (
            self._max_spans is not None and self.waiting > self._max_spans
        ):
            chunk = self._chunks[0]
            self._forget_oldest(chunk, chunk.frames[chunk.start : chunk.start + 1])
            dropped += 1
        return dropped

    def _forget_oldest(self, chunk: _Chunk, frames: Sequence[bytes]) -> None:
        """Let go of `frames`, the oldest, with which `chunk` begins."""
        self._gone += len(frames)
        self.waiting -= len(frames)
        self.waiting_bytes -= _size(frames)
        chunk.start += len(frames)
        if chunk.start == len(chunk.frames):
            self._chunks.popleft()


def _size(frames: Sequence[bytes]) -> int:
    return sum(map(len, frames)) + OVERHEAD * len(frames)
