"""The way of an event to the observers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from spanloom.processing.channel import Channel
from spanloom.processing.observer import ProcessingEvent, ProcessorObserver

__all__ = ["Dispatcher"]

OBSERVER_TIMEOUT_S: Final = 5.0
"""What an observer has for one event."""


class Dispatcher:
    """Tells each observer every event, in one and the same order, beside the work.

    Args:
        observers: Who is told; one that is slow holds back neither the others nor the batch.
    """

    def __init__(self, observers: Sequence[ProcessorObserver]) -> None:
        self._channels = [
            Channel(f"observer {type(one).__name__}", one.on_event, timeout_s=OBSERVER_TIMEOUT_S)
            for one in observers
        ]

    def post(self, event: ProcessingEvent, /, **data: Any) -> None:
        """Have all observers told; never fails, never waits, and so can be done while being cancelled."""
        for channel in self._channels:
            channel.post(event, dict(data))

    async def room(self) -> None:
        """Wait while an observer is far behind."""
        for channel in self._channels:
            await channel.room()

    async def close(self) -> None:
        """Return when all have been told everything, or have used up their time."""
        try:
            for channel in self._channels:
                await channel.close()
        except BaseException:
            for channel in self._channels:
                channel.abandon()
            for channel in self._channels:
                await channel.gone()
            raise
