"""Two ways to keep a few of many, one at a time and in bounded memory: the greatest, and any."""

from __future__ import annotations

import heapq
import math
import random
from typing import Generic, TypeVar

__all__ = ["Greatest", "Reservoir"]

T = TypeVar("T")


class Greatest(Generic[T]):
    """Keeps the `size` items with the greatest keys; of equals the first to come. A heap: O(log size) an item."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, int, T]] = []
        self._seen = 0

    def offer(self, key: int, item: T) -> T | None:
        """Take `item`; return the item that gives way, be it this one, or ``None`` if there is room."""
        self._seen += 1
        entry = (key, -self._seen, item)  # unique, so items are never compared
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
            return None
        if not self._size or key <= self._heap[0][0]:
            return item
        return heapq.heapreplace(self._heap, entry)[2]

    def items(self) -> list[T]:
        """Return what is kept, in any order."""
        return [item for _, _, item in self._heap]


class Reservoir(Generic[T]):
    """Keeps `size` of the items, each as likely as any other, however many there will have been.

    Algorithm L of K.-H. Li, "Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))", ACM TOMS 20(4),
    1994: instead of a random number for each item (algorithm R, Vitter 1985), one for each item that gets in: how many
    are passed over until the next that does.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        self._size = size
        self._random = rng.random
        self._items: list[T] = []
        self._to_pass = 0
        self._weight = 1.0

    def offer(self, item: T) -> T | None:
        """Take `item`; return the item that gives way, be it this one, or ``None`` if there is room."""
        items, size = self._items, self._size
        if len(items) < size:
            items.append(item)
            if len(items) == size:
                self._skip()
            return None
        if not size:
            return item
        if self._to_pass:
            self._to_pass -= 1
            return item
        at = int(self._random() * size)
        item, items[at] = items[at], item
        self._skip()
        return item

    def items(self) -> list[T]:
        """Return what is kept, in any order."""
        return self._items.copy()

    def _skip(self) -> None:
        self._weight *= math.exp(math.log(1.0 - self._random()) / self._size)
        weight = min(max(self._weight, 1e-300), 1.0 - 1e-16)
        self._to_pass = math.floor(math.log(1.0 - self._random()) / math.log1p(-weight))
