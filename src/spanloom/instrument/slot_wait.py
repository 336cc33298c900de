"""A wait for a semaphore: queue time if it is the first thing that a job does, otherwise an event of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from spanloom.callbacks.ambient import current_event, get_callback_manager
from spanloom.callbacks.decorate import hide_frame
from spanloom.events import keys
from spanloom.events.event import JobEvent
from spanloom.events.types import EventType
from spanloom.instrument.gathered import listening
from spanloom.instrument.patches import Patches
from spanloom.instrument.task_batch import batch_in_first_step

__all__ = ["patch_acquire"]


def _is_locked(semaphore: Any) -> bool:
    return bool(semaphore.locked())


def patch_acquire(
    patches: Patches, kind: type, method: str = "acquire", is_taken: Callable[[Any], bool] = _is_locked
) -> None:
    """Patch the method by which a class of semaphores or locks is acquired; a free one is taken without an event.

    Args:
        patches: Keeps the original.
        kind: The class.
        method: Its method, a coroutine function.
        is_taken: Tells whether an acquire of an instance would have to wait.
    """

    def make(original: Any) -> Any:
        @functools.wraps(original)
        async def acquire(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                if not is_taken(self) or not patches.active or listening() is None:
                    return await original(self, *args, **kwargs)
                current = current_event()
                batch = batch_in_first_step(current) if type(current) is JobEvent else None
                if batch is None or not isinstance(current, JobEvent) or not batch.wait(current):
                    name = type(self).__name__
                    wait = get_callback_manager().event(EventType.SLOT_WAIT, {keys.LIMITER: name}, name=name)
                    with wait:
                        return await original(self, *args, **kwargs)
                taken = await original(self, *args, **kwargs)
                batch.go_on(current, asyncio.get_running_loop().call_soon)
                return taken
            except BaseException as error:
                hide_frame(error)
                raise

        return acquire

    patches.replace(kind, method, make)
