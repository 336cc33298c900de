"""The protocol of a store, in which frames wait for the sender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spanloom.handlers.otel._frame import Envelope

__all__ = ["Parcel", "Store"]


class Parcel:
    """The spans of one request, taken from a store and still in it until they are settled.

    Attributes:
        envelope: What they have in common.
        frames: The spans.
        replayed: True if they are a dead process's.
        number: Which parcel of its store it is, or is a part of.
    """

    __slots__ = ("envelope", "frames", "number", "replayed")

    def __init__(
        self, envelope: Envelope, frames: Sequence[bytes], *, replayed: bool = False, number: int = 0
    ) -> None:
        self.number = number
        self.envelope = envelope
        self.frames = frames
        self.replayed = replayed

    def body(self) -> bytes:
        """Return the request."""
        return self.envelope.wrap(self.frames)

    def halves(self) -> list[Parcel]:
        """Return two parcels of half as many spans each, in order."""
        middle = len(self.frames) // 2
        return [self._part(0, middle), self._part(middle, len(self.frames))]

    def _part(self, start: int, end: int) -> Parcel:
        return Parcel(self.envelope, self.frames[start:end], replayed=self.replayed, number=self.number)


class Store(Protocol):
    """Keeps frames in order, within bounds; counts those that it has to drop.

    `put` and `stop` may be called from any thread; the rest is the sender's. Of a durable store, one parcel is taken
    at a time.
    """

    @property
    def is_durable(self) -> bool:
        """Whether what is not sent is kept for another process."""

    @property
    def waiting(self) -> int:
        """Own spans that nobody has taken yet; to be read without a lock, so a hint."""

    @property
    def waiting_bytes(self) -> int:
        """Their size; a hint as well."""

    def put(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Keep frames; drop the oldest if there is no room."""

    def has_room_for(self, count: int) -> bool:
        """Tell whether so many frames of usual size can be kept, or nothing waits; without a lock, a hint."""

    def take(self, max_spans: int, max_bytes: int) -> Parcel | None:
        """Return the oldest frames that share an envelope; ``None`` if there are none.

        At least one frame, however large it is.
        """

    def settle(self, parcel: Parcel) -> bool:
        """Forget a parcel, or a part of one, in the order of its frames: it was acknowledged or dropped.

        Returns:
            False if the store was stopped meanwhile and has counted these spans itself.
        """

    def holds_any_of(self, count: int) -> bool:
        """Return whether one of the first `count` own frames is under way. Parcels may be settled in any order."""

    def adopt(self, *, now: bool = False) -> bool:
        """Look for spans that a dead process has left; True if there are some to take.

        Without `now`, it looks only every now and then.
        """

    def stop(self) -> None:
        """Take nothing more in or out; drop, and count, what would be lost with this process. From any thread."""

    def close(self) -> None:
        """Let go of files and locks, once nothing is taken any more."""

    def renew(self) -> None:
        """Be empty, and leave what is the parent process's alone; in a forked child."""
