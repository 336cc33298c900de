"""asyncio's locks and queues, on request: who holds them, who waits for them, where they were made.

What is learned is in `spanloom.instrument.sync`. A pair of acquire and release costs about twice as much by it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.patches import Patches
from spanloom.instrument.sync import RESOURCES, calling_place, track

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {}

_KINDS: Final[tuple[type, ...]] = (
    asyncio.Lock,
    asyncio.Semaphore,
    asyncio.BoundedSemaphore,
    asyncio.Condition,
    asyncio.Event,
    asyncio.Queue,
)
_HELD: Final[tuple[type, ...]] = (asyncio.Lock, asyncio.Semaphore)
_WAITED_FOR: Final[tuple[tuple[type, str], ...]] = (
    (asyncio.Condition, "wait"),
    (asyncio.Event, "wait"),
    (asyncio.Queue, "get"),
    (asyncio.Queue, "put"),
)


def patch(module: ModuleType, patches: Patches) -> None:  # noqa: ARG001 -- it is imported here, too
    """Patch the classes of ``asyncio.locks`` and ``asyncio.queues``."""
    for kind in _KINDS:
        patches.wrap(kind, "__init__", _made)
    for kind in _HELD:
        patches.replace(kind, "acquire", functools.partial(_acquiring, patches))
        patches.wrap(kind, "release", _release)
    for kind, name in _WAITED_FOR:
        patches.replace(kind, name, functools.partial(_waiting, patches, name))
    patches.at_undo(RESOURCES.clear)


def _made(wrapped: Callable[..., Any], thing: Any, args: Args, kwargs: KwArgs) -> Any:
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        hide_frame(error)
        raise
    size = args[0] if args else kwargs.get("value", kwargs.get("maxsize"))
    if size is None:
        size = 1 if isinstance(thing, (asyncio.Lock, asyncio.Semaphore)) else None
    track(thing, calling_place(), size if isinstance(size, int) else None)
    return result


def _acquiring(patches: Patches, original: Any) -> Any:
    @functools.wraps(original)
    async def acquire(self: Any) -> Any:
        try:
            task = asyncio.current_task() if patches.active else None
            if task is None:
                return await original(self)
            resource = track(self)
            if self.locked():
                resource.waiters[task] = "acquire"
                try:
                    taken = await original(self)
                finally:
                    resource.waiters.pop(task, None)
            else:
                taken = await original(self)
            resource.take(task)
            return taken
        except BaseException as error:
            hide_frame(error)
            raise

    return acquire


def _release(wrapped: Callable[..., Any], thing: Any, args: Args, kwargs: KwArgs) -> Any:
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        hide_frame(error)
        raise
    resource = RESOURCES.get(thing)
    if resource is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # released outside of a loop, by a callback of another thread
            task = None
        resource.give(task)
    return result


def _waiting(patches: Patches, name: str, original: Any) -> Any:
    @functools.wraps(original)
    async def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            task = asyncio.current_task() if patches.active else None
            if task is None:
                return await original(self, *args, **kwargs)
            resource = track(self)
            resource.waiters[task] = name
            try:
                return await original(self, *args, **kwargs)
            finally:
                resource.waiters.pop(task, None)
        except BaseException as error:
            hide_frame(error)
            raise

    return wait
