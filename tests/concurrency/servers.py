"""Servers of known capacity, on a virtual clock: what an adaptive limiter has to find out is known here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

from spanloom import async_map
from spanloom.testing import virtual_clock


class OverloadedError(Exception):
    """What a server says that refuses."""


class Server:
    """Serves `capacity` calls at once; the others queue. Each takes `service_s`, more or less.

    Args:
        cliff: What happens above the capacity besides queueing. ``"errors"``: calls are refused from 10 % above it
            on; ``"thrash"``: from 20 % above it on everything becomes slower, the more the more calls there are;
            ``"hard"``: that from the first call above it on.
        jitter: The service takes from ``1 - jitter`` to ``1 + jitter`` of its time.
        burst: From when to when half of all calls fail.
    """

    def __init__(
        self,
        capacity: int,
        *,
        service_s: float | None = None,
        jitter: float = 0.5,
        cliff: str = "",
        burst: tuple[float, float] = (0, 0),
        seed: int = 0,
    ) -> None:
        self.capacity = capacity
        self.ends: list[float] = []
        self._service_s = service_s or (0.5 if capacity < 100 else 1.0)  # fewer calls to simulate
        self._jitter = jitter
        self._cliff = cliff
        self._burst = burst
        self._random = random.Random(seed)
        self._inside = self._busy = 0
        self._queue: list[asyncio.Future[None]] = []

    async def serve(self, _: object = None) -> None:
        loop = asyncio.get_running_loop()
        self._inside += 1
        try:
            if self._refuses(loop.time()):
                await asyncio.sleep(0.01)
                raise OverloadedError
            while self._busy >= self.capacity:
                turn = loop.create_future()
                self._queue.append(turn)
                await turn
            self._busy += 1
            try:
                await asyncio.sleep(self._duration_s())
            finally:
                self._busy -= 1
                if self._queue:
                    self._queue.pop(0).set_result(None)
            self.ends.append(loop.time())
        finally:
            self._inside -= 1

    def _refuses(self, now: float) -> bool:
        if self._burst[0] <= now < self._burst[1] and self._random.random() < 0.5:
            return True
        return self._cliff == "errors" and self._inside > 1.1 * self.capacity

    def _duration_s(self) -> float:
        duration_s = self._service_s * self._random.uniform(1 - self._jitter, 1 + self._jitter)
        bearable = {"thrash": 1.2, "hard": 1.0}.get(self._cliff)
        if bearable is not None and self._inside > bearable * self.capacity:
            duration_s *= (self._inside / self.capacity) ** 1.5
        return duration_s

    def throughput(self, since: float, until: float) -> float:
        return sum(since <= end < until for end in self.ends) / (until - since)


def keep_busy(
    server: Server, limit: Any, seconds: float, *, at: tuple[float, Any] | None = None, **options: Any
) -> Server:
    """Call `server` under `limit` for so many virtual seconds; `at` is a moment, and what to call then."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if at is not None:
            loop.call_at(at[0], at[1])

        def items() -> Iterator[int]:
            number = 0
            while loop.time() < seconds:
                yield number
                number += 1

        await async_map(server.serve, items(), limit=limit, on_error="skip", **options)

    with virtual_clock() as runner:
        runner.run(main())
    return server
