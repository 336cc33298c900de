"""What bounds how many jobs run at once: the protocols of limiters, and the plain one."""

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
        """Take a slot if one is free and no task waits for one; return whether it did. Never waits."""

    async def acquire(self) -> None:
        """Take a slot, first come, first served. If cancelled while waiting, it has taken none."""

    def release(self) -> None:
        """Give the slot back."""


@runtime_checkable
class HeedfulLimiter(Limiter, Protocol):
    """A limiter that observes the calls of its slots' holders, as `AdaptiveLimiter` and `Cooldown` do.

    A runner enters `attempt` around every attempt of a job that holds a slot, without back-offs.
    """

    def attempt(self) -> AbstractAsyncContextManager[object]:
        """Return an async context manager for one call: it may wait on entry, and sees on exit how the call ended."""


class FixedLimiter(Slots):
    """At most `size` holders at once.

    First come, first served: a slot that is given back goes to the longest waiting task, even if
    another task asks at the same moment. Use it as ``limit=`` of one or several runners, or by
    itself with ``async with limiter:``. A wait for a slot is an event of type ``slot_wait``.

    Not safe to use from several event loops at the same time.

    A deadlock is refused: if the holders of all slots wait, themselves or through tasks that they await, for a slot of
    this limiter and for nothing else, the wait that began last raises `NestedLimiterError`. See
    ``docs/reference/limiting.md`` for what counts as certain.

    Args:
        size: Number of slots, at least 1.
        name: Its name in events.
        refuse_nested: Refuse such waits. False if other code may end them, for example by `resize`.

    Raises:
        ValueError: `size` is below 1.
        TypeError: `size` is not an int.
    """

    def __init__(self, size: int, *, name: str = "limiter", refuse_nested: bool = True) -> None:
        super().__init__(check_count(size, "size"), name, refuse_nested=refuse_nested)

    def resize(self, size: int) -> None:
        """Set the number of slots.

        Additional slots go to the longest waiting tasks at once. Slots that are held stay held: with
        fewer slots, no task gets one until fewer than `size` are held.

        Raises:
            ValueError: `size` is below 1.
            TypeError: `size` is not an int.
        """
        self._resize(check_count(size, "size"))
