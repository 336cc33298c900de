"""anyio's synchronization primitives, with lionherd's signatures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ["CapacityLimiter", "Condition", "Event", "Lock", "Queue", "Semaphore"]

T = TypeVar("T")


class _Held(ABC):
    """``async with``: acquired at the start, released at the end."""

    __slots__ = ()

    @abstractmethod
    async def acquire(self) -> None: ...

    @abstractmethod
    def release(self) -> None: ...

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Lock(_Held):
    """One holder at a time, first come, first served (``anyio.Lock``)."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    async def acquire(self) -> None:
        """Wait until it is free, and hold it."""
        await self._lock.acquire()

    def release(self) -> None:
        """Release it to the next waiter."""
        self._lock.release()


class Semaphore(_Held):
    """A number of holders at a time, first come, first served (``anyio.Semaphore``).

    Args:
        initial_value: How many, 0 or more.

    Raises:
        ValueError: `initial_value` is below 0.
    """

    __slots__ = ("_semaphore",)

    def __init__(self, initial_value: int) -> None:
        self._semaphore = anyio.Semaphore(initial_value)

    async def acquire(self) -> None:
        """Wait for a slot, and hold it."""
        await self._semaphore.acquire()

    def release(self) -> None:
        """Give a slot back."""
        self._semaphore.release()


class CapacityLimiter(_Held):
    """A number of borrowers at a time, which may change at any time (``anyio.CapacityLimiter``).

    For how many jobs run at once, give ``limit=`` one of spanloom's limiters instead: its waits are events.

    Args:
        total_tokens: How many: a whole number above 0, or ``math.inf``.

    Raises:
        ValueError: `total_tokens` is not above 0.
    """

    __slots__ = ("_limiter",)

    def __init__(self, total_tokens: float) -> None:
        self._limiter = anyio.CapacityLimiter(self._checked(total_tokens))

    @staticmethod
    def _checked(total_tokens: float) -> float:
        if total_tokens <= 0:
            raise ValueError("total_tokens must be > 0")
        return total_tokens

    async def acquire(self) -> None:
        """Wait for a token, and borrow it for this task."""
        await self._limiter.acquire()

    def release(self) -> None:
        """Give the token of this task back."""
        self._limiter.release()

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a token, and borrow it for `borrower`."""
        await self._limiter.acquire_on_behalf_of(borrower)

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give the token of `borrower` back."""
        self._limiter.release_on_behalf_of(borrower)

    @property
    def total_tokens(self) -> float:
        """How many there are. Lowering it takes no borrowed token back; raising it serves waiters."""
        return self._limiter.total_tokens

    @total_tokens.setter
    def total_tokens(self, value: float) -> None:
        self._limiter.total_tokens = self._checked(value)

    @property
    def borrowed_tokens(self) -> float:
        """How many are borrowed now."""
        return self._limiter.borrowed_tokens

    @property
    def available_tokens(self) -> float:
        """How many are free now."""
        return self._limiter.available_tokens

    @property
    def remaining_tokens(self) -> float:
        """The old name of `available_tokens`."""
        return self._limiter.available_tokens


class Event:
    """A flag to wait for; once set, it stays so (``anyio.Event``)."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Set the flag, and wake all waiters."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the flag is set."""
        await self._event.wait()

    def statistics(self) -> anyio.EventStatistics:
        """Return how many tasks wait."""
        return self._event.statistics()


class Condition(_Held):
    """A lock whose holder can wait to be told of a change (``anyio.Condition``).

    Args:
        lock: The lock; ``None`` for one of its own.
    """

    __slots__ = ("_condition",)

    def __init__(self, lock: Lock | None = None) -> None:
        self._condition = anyio.Condition(None if lock is None else lock._lock)  # noqa: SLF001 -- ours, next door

    async def acquire(self) -> None:
        """Wait until the lock is free, and hold it."""
        await self._condition.acquire()

    def release(self) -> None:
        """Release the lock to the next waiter."""
        self._condition.release()

    async def wait(self) -> None:
        """Release the lock, wait until notified, and acquire it again."""
        await self._condition.wait()

    def notify(self, n: int = 1) -> None:
        """Wake `n` of those that wait."""
        self._condition.notify(n)

    def notify_all(self) -> None:
        """Wake all that wait."""
        self._condition.notify_all()

    def statistics(self) -> anyio.ConditionStatistics:
        """Return how many tasks wait for the lock and for a change."""
        return self._condition.statistics()


class Queue(Generic[T]):
    """First in, first out, between tasks (anyio's memory object streams). Made by `with_maxsize`.

    Args:
        send: The stream that takes items.
        receive: The stream that gives them.
    """

    __slots__ = ("_receive", "_send")

    def __init__(self, send: MemoryObjectSendStream[T], receive: MemoryObjectReceiveStream[T]) -> None:
        self._send = send
        self._receive = receive

    @classmethod
    def with_maxsize(cls, maxsize: int) -> Queue[T]:
        """Return a queue of at most `maxsize` items; with 0, a `put` waits for its `get`."""
        return cls(*anyio.create_memory_object_stream[T](maxsize))

    async def put(self, item: T) -> None:
        """Add an item; wait while the queue is full.

        Raises:
            anyio.ClosedResourceError: the queue is closed.
        """
        await self._send.send(item)

    def put_nowait(self, item: T) -> None:
        """Add an item.

        Raises:
            anyio.WouldBlock: the queue is full.
        """
        self._send.send_nowait(item)

    async def get(self) -> T:
        """Take the oldest item; wait while there is none.

        Raises:
            anyio.ClosedResourceError: the queue is closed.
        """
        return await self._receive.receive()

    def get_nowait(self) -> T:
        """Take the oldest item.

        Raises:
            anyio.WouldBlock: there is none.
        """
        return self._receive.receive_nowait()

    async def close(self) -> None:
        """Close both ends; what is in the queue is lost."""
        await self._send.aclose()
        await self._receive.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def sender(self) -> MemoryObjectSendStream[T]:
        """The stream that takes items."""
        return self._send

    @property
    def receiver(self) -> MemoryObjectReceiveStream[T]:
        """The stream that gives them."""
        return self._receive
