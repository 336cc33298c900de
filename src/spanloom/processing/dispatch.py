"""Delivery of events to the observers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from spanloom.processing.channel import Channel
from spanloom.processing.observer import ProcessingEvent, ProcessorObserver

__all__ = ["Dispatcher"]

OBSERVER_TIMEOUT_S: Final = 5.0
"""Seconds that an observer has for one event."""


class Dispatcher:
    """Delivers every event to each observer, in the same order, while the work goes on.

    Args:
        observers: The receivers. A slow one never holds back the others, and the batch only in `room`.
    """

    def __init__(self, observers: Sequence[ProcessorObserver]) -> None:
        self._channels = [
            Channel(f"observer {type(one).__name__}", one.on_event, timeout_s=OBSERVER_TIMEOUT_S)
            for one in observers
        ]

    def post(self, event: ProcessingEvent, /, **data: Any) -> None:
        """Queue `event` for all observers. Never raises, never waits: safe while being cancelled."""
        for channel in self._channels:
            channel.post(event, dict(data))

    async def room(self) -> None:
        """Wait while an observer is more than 1,000 events behind."""
        for channel in self._channels:
            await channel.room()

    async def close(self) -> None:
        """Return when all events were delivered, or observers used up their time. A cancel abandons what is left."""
        try:
            for channel in self._channels:
                await channel.close()
        except BaseException:
            for channel in self._channels:
                channel.abandon()
            for channel in self._channels:
                await channel.gone()
            raise
