"""The load: what every contender of a cell is given, and the kinds of job it is made of."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

Job = Callable[[int], Coroutine[Any, Any, int]]
"""A coroutine function that is given its index and returns it."""


async def ready(index: int) -> int:
    """Return at once, without suspending."""
    return index


async def sleep0(index: int) -> int:
    """Suspend once, by a bare yield to the loop: the cheapest suspension there is."""
    await asyncio.sleep(0)
    return index


async def future(index: int) -> int:
    """Suspend until a future is resolved: what waiting for a socket looks like to the loop."""
    loop = asyncio.get_running_loop()
    reply = loop.create_future()
    loop.call_soon(reply.set_result, index)
    answer: int = await reply
    return answer


WARM_UP_JOBS = 300
"""Enough for CPython to specialise every hot instruction, and for lazy imports to be over."""

JOBS: dict[str, Job] = {"ready": ready, "sleep0": sleep0, "future": future}


@dataclass(frozen=True, slots=True)
class Load:
    """How much work one timed run is, and of what kind.

    Attributes:
        job: Makes the coroutine of one index.
        count: How many jobs (or calls) one call of the contender has.
        limit: How many of them may be alive at once.
        repeat: How often the contender is called within one timed run, so that short calls fill the clock.
        as_list: Give the coroutines as a list made up front, not as an iterator that makes them as it goes.
        expected: The results a contender must return; None for `0 .. count - 1` in input order.
    """

    job: Job
    count: int
    limit: int
    repeat: int = 1
    as_list: bool = False
    expected: tuple[int, ...] | None = None

    def coroutines(self) -> Iterable[Coroutine[Any, Any, int]]:
        """Give the jobs as coroutines, in input order."""
        lazily = map(self.job, range(self.count))
        return list(lazily) if self.as_list else lazily

    def check(self, results: object, contender: str) -> None:
        """Refuse a contender that did not do the work it was timed for.

        Raises:
            AssertionError: The results are not the expected list, in order.
        """
        expected = list(range(self.count)) if self.expected is None else list(self.expected)
        if results != expected:
            raise AssertionError(f"{contender} returned other results than its {self.count} jobs have")
