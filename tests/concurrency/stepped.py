"""What tests that cancel in every turn of a loop are made of."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

Select = Callable[[float | None], Any]


class Turns:
    """Counts the turns of a loop by its calls of `select`, and makes a call at the beginning of one of them."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, select: Select, turn: int | None, call: Callable[[], object]
    ) -> None:
        self.count = 0
        self._loop, self._select, self._turn, self._call = loop, select, turn, call

    def select(self, timeout: float | None = None) -> Any:
        """To be put in the place of the loop's own."""
        self.count += 1
        if self.count == self._turn:
            self._loop.call_soon(self._call)
            return []
        return self._select(timeout)


class Listener:
    """Counts the starts and the ends of each event."""

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_event_start(self, event: Any) -> None:
        self.started[event.event_id] += 1

    def on_event_end(self, event: Any) -> None:
        assert event.end_ns is not None
        assert event.status is not None
        self.ended[event.event_id] += 1
