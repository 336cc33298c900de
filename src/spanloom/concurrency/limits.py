"""What bounds how many jobs run at once: the protocol of limiters, and the plain one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from spanloom._numbers import check_count
from spanloom.concurrency.slots import Slots

__all__ = ["FixedLimiter", "HeedfulLimiter", "Limiter"]


@runtime_checkable
class Limiter(Protocol):
    """What a runner's ``limit=`` takes besides a number. May be shared by any number of batches."""

    def try_acquire(self) -> bool:
        """Take a slot if one is free now and nobody waits for one; never waits."""

    async def acquire(self) -> None:
        """Take a slot, first come, first served. Cancelled while it waits, it has taken none."""

    def release(self) -> None:
        """Give the slot back."""


@runtime_checkable
class HeedfulLimiter(Limiter, Protocol):
    """A limiter that heeds how the calls go which it lets through, as `AdaptiveLimiter` and `Cooldown` do.

    A runner enters `attempt` around every attempt of a job that holds a slot, back-offs left out.
    """

    def attempt(self) -> AbstractAsyncContextManager[object]:
        """Return what is to be entered around one call: it may wait at its start, and sees how the call ends."""


class FixedLimiter(Slots):
    """At most `size` holders at once.

    First come, first served: a slot that is given back goes to the longest waiting, even if
    somebody else asks in the same moment. Use it as ``limit=`` of one or several runners, or by
    itself with ``async with limiter:``. A wait that is not over at once is an event of type
    ``slot_wait``.

    Not safe to use from several event loops at the same time.

    A wait that can never end is refused: where the holders of all slots wait, themselves or through tasks that they
    await, for a slot of this limiter, and for nothing else, the last wait that begins raises `NestedLimiterError`
    instead of leaving all of them waiting for ever. ``docs/reference/limiting.md`` says what is certain enough for it.

    Args:
        size: Number of slots, at least 1.
        name: What events call it.
        refuse_nested: Refuse such waits. False if somebody else may end them, by `resize` for instance.

    Raises:
        ValueError: `size` is below 1.
        TypeError: `size` is not an int.
    """

    def __init__(self, size: int, *, name: str = "limiter", refuse_nested: bool = True) -> None:
        super().__init__(check_count(size, "size"), name, refuse_nested=refuse_nested)

    def resize(self, size: int) -> None:
        """Have `size` slots from now on.

        More slots go to the longest waiting at once. Of fewer, those that are held stay held: nobody
        new gets one until so many have been given back.

        Raises:
            ValueError: `size` is below 1.
            TypeError: `size` is not an int.
        """
        self._resize(check_count(size, "size"))
