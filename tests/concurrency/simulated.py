"""The servers of `tests.concurrency.servers` without tasks: an adaptive limiter on a heap of events, 50 times as fast.

The limiter is the real one, and told of the starts and ends of calls as its attempts tell it. Only the loop is not.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from itertools import count

from spanloom import AdaptiveLimiter, CallbackManager, use_callback_manager
from tests.concurrency.servers import OverloadedError

__all__ = ["CASES", "share_of_best"]

SUDDEN = 1.2
"""Above so many times its capacity, every call that a server begins takes three times as long."""
CASES = [case + half for case in ("plain", "steady", "errors", "thrash", "hard") for half in ("", ", halved")]
"""``plain``: calls queue. ``steady``: and take all the same time. ``sudden``, which is not one of them: how long
a call takes is settled when it starts, by what is there; see `SUDDEN`. The others: see `Server`, `cliff`."""
SECONDS = 90.0
HALVED_AT = 25.0
REFUSED = OverloadedError()


class Simulation:
    """One server, and one limiter whose slots somebody always wants."""

    def __init__(self, case: str, capacity: int, seed: int, interval_s: float = 2.0) -> None:
        self.cliff, _, halved = case.partition(", ")
        self.capacity = capacity
        self.final = capacity // 2 if halved else capacity
        self.service_s = 0.5 if capacity < 100 else 1.0
        self.now = 0.0
        self.limiter = AdaptiveLimiter(maximum=1000, adaptation_interval=interval_s, clock=lambda: self.now)
        self.ends: list[float] = []
        self._jitter = 0.0 if self.cliff in ("steady", "sudden") else 0.5
        self._bearable = {"thrash": 1.2, "hard": 1.0}.get(self.cliff)
        self._random = random.Random(seed)
        self._running: list[tuple[float, int, float, bool]] = []
        self._numbers = count()
        self._queue: deque[float] = deque()
        self._inside = self._busy = 0

    def run(self) -> None:
        while self.now < SECONDS:
            while self.limiter.try_acquire():
                self._begin()
            self.now, _, started_at, is_ok = heapq.heappop(self._running)
            if self.now >= HALVED_AT:
                self.capacity = self.final
            if is_ok:
                self.ends.append(self.now)
            if is_ok and self.cliff != "sudden":
                self._busy -= 1
                if self._queue and self._busy < self.capacity:
                    self._serve(self._queue.popleft())
            self._inside -= 1
            self.limiter._ended(started_at, None if is_ok else REFUSED)
            self.limiter.release()

    def _begin(self) -> None:
        started_at = self.limiter._started()
        self._inside += 1
        if self.cliff == "errors" and self._inside > 1.1 * self.capacity:
            heapq.heappush(self._running, (self.now + 0.01, next(self._numbers), started_at, False))
        elif self.cliff == "sudden":
            load = self._inside / self.capacity
            seconds = self.service_s * max(1.0, load) * (3 if load > SUDDEN else 1)
            heapq.heappush(self._running, (self.now + seconds, next(self._numbers), started_at, True))
        elif self._busy < self.capacity:
            self._serve(started_at)
        else:
            self._queue.append(started_at)

    def _serve(self, started_at: float) -> None:
        self._busy += 1
        seconds = self.service_s * self._random.uniform(1 - self._jitter, 1 + self._jitter)
        if self._bearable is not None and self._inside > self._bearable * self.capacity:
            seconds *= (self._inside / self.capacity) ** 1.5
        heapq.heappush(self._running, (self.now + seconds, next(self._numbers), started_at, True))


def share_of_best(case: str, capacity: int, seed: int, interval_s: float = 2.0) -> float:
    """Return the throughput in the second half of 90 s, as a share of what the best fixed limit brings in the end."""
    simulation = Simulation(case, capacity, seed, interval_s)
    with use_callback_manager(CallbackManager(recorder=0)):
        simulation.run()
    settled = sum(SECONDS / 2 <= end < SECONDS for end in simulation.ends) / (SECONDS / 2)
    return settled * simulation.service_s / simulation.final
