"""The events of a processor, and the interface of those who receive them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import Any

__all__ = ["BaseObserver", "ProcessingEvent", "ProcessorObserver"]


class ProcessingEvent(Enum):
    """What happened. Each item has exactly one of the two ends, and one start before it if it ever ran."""

    ITEM_STARTED = "item_started"
    """Data: ``item_id``, ``worker_id``."""
    ITEM_COMPLETED = "item_completed"
    """The item succeeded. Data: ``item_id``, ``duration`` in seconds, ``tokens``."""
    ITEM_FAILED = "item_failed"
    """The item failed, was skipped, was cancelled, or never ran. Data: ``item_id``, ``error_type``."""
    RATE_LIMIT_HIT = "rate_limit_hit"
    """An attempt was refused. Data: ``item_id``, ``worker_id``."""
    COOLDOWN_STARTED = "cooldown_started"
    """All workers pause. Data: ``worker_id``, ``duration`` in seconds, ``consecutive``."""
    COOLDOWN_ENDED = "cooldown_ended"
    """The pause is over. Data: ``duration`` in seconds; ``error`` if the rate-limit strategy failed."""
    WORKER_STARTED = "worker_started"
    """Data: ``worker_id``."""
    WORKER_STOPPED = "worker_stopped"
    """Data: ``worker_id``."""
    BATCH_STARTED = "batch_started"
    """Data: ``total``, ``max_workers``, ``start_time``."""
    BATCH_COMPLETED = "batch_completed"
    """The batch has ended, in whatever way.

    Data: ``processed``, ``succeeded``, ``failed``, ``total``, ``total_tokens``, ``cached_input_tokens``, and
    ``duration`` in seconds.
    """


class ProcessorObserver(ABC):
    """Receives the events of a batch in order; cannot fail it. One over 1,000 events behind slows the batch down."""

    @abstractmethod
    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Handle an event.

        Awaited in a task of the observer's own, while the work goes on. It has 5 seconds; it may raise anything.

        Args:
            event: What happened.
            data: As `ProcessingEvent` says; a copy for this observer.
        """


class BaseObserver(ProcessorObserver):
    """An observer that does nothing: for subclasses."""

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Do nothing."""
