"""What a processor tells of itself while it works."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import Any

__all__ = ["BaseObserver", "ProcessingEvent", "ProcessorObserver"]


class ProcessingEvent(Enum):
    """What happened. Each item has one start and one of the two ends, in every path."""

    ITEM_STARTED = "item_started"
    """Data: ``item_id``, ``worker_id``."""
    ITEM_COMPLETED = "item_completed"
    """The item succeeded. Data: ``item_id``, ``duration`` in seconds, ``tokens``."""
    ITEM_FAILED = "item_failed"
    """It failed, was left out, cancelled, or never came to run. Data: ``item_id``, ``error_type``."""
    RATE_LIMIT_HIT = "rate_limit_hit"
    """An attempt was refused. Data: ``item_id``, ``worker_id``."""
    COOLDOWN_STARTED = "cooldown_started"
    """All workers pause. Data: ``worker_id``, ``duration`` in seconds, ``consecutive``."""
    COOLDOWN_ENDED = "cooldown_ended"
    """They go on. Data: ``duration`` in seconds; ``error`` if the rate-limit strategy failed."""
    WORKER_STARTED = "worker_started"
    """Data: ``worker_id``."""
    WORKER_STOPPED = "worker_stopped"
    """Data: ``worker_id``."""
    BATCH_STARTED = "batch_started"
    """Data: ``total``, ``max_workers``, ``start_time``."""
    BATCH_COMPLETED = "batch_completed"
    """It has ended, however. Data: ``processed``, ``succeeded``, ``failed``, ``total``, tokens, ``duration``."""


class ProcessorObserver(ABC):
    """Is told what happens, in order; nothing it does is felt by the batch."""

    @abstractmethod
    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Take note of an event.

        Awaited in a task of the observer's own, beside the work. It has 5 seconds; it may raise anything.

        Args:
            event: What happened.
            data: As `ProcessingEvent` says; a copy for this observer.
        """


class BaseObserver(ProcessorObserver):
    """An observer that does nothing: for subclasses."""

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Do nothing."""
