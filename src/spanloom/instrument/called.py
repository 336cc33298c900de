"""A call of somebody else's function as an event."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.context import EventContext
from spanloom.instrument.functions import Args, KwArgs, Wrapper
from spanloom.instrument.harmless import guarded

__all__ = ["After", "Before", "event_of", "recorded"]

Before: TypeAlias = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Mapping[str, object] | None]
"""What to attach to the event of a call, of what the function is bound to and the arguments."""
After: TypeAlias = Callable[[EventContext, Any], object]
"""Attaches to the event what is to be known of the result, by `EventContext.set`."""


def event_of(type: str, name: str, payload: Mapping[str, object] | None = None) -> EventContext:
    """Return a context for an event of the ambient manager, to be used by ``with``."""
    return get_callback_manager().event(type, payload, name=name)


def recorded(type: str, name: str, *, before: Before | None = None, after: After | None = None) -> Wrapper:
    """Return a wrapper for `Patches.wrap`, by which each call of a function is an event.

    The call of a coroutine function lasts until it returns; it begins when it is awaited. An exception ends the event
    and is raised on, the same object. `before` and `after` may raise: that is logged once, and the call goes on.

    Args:
        type: An `EventType`, or any string.
        name: The event's name.
        before: What to attach, of the arguments.
        after: Attaches what is to be known of the result.
    """

    def opened(instance: Any, args: Args, kwargs: KwArgs) -> EventContext:
        payload = None if before is None else guarded(name, before, instance, args, kwargs)
        return event_of(type, name, payload)

    async def call_async(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: KwArgs) -> Any:
        with opened(instance, args, kwargs) as event:
            result = await wrapped(*args, **kwargs)
            if after is not None:
                guarded(name, after, event, result)
            return result

    def call(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: KwArgs) -> Any:
        if inspect.iscoroutinefunction(wrapped):
            return call_async(wrapped, instance, args, kwargs)
        with opened(instance, args, kwargs) as event:
            result = wrapped(*args, **kwargs)
            if after is not None:
                guarded(name, after, event, result)
            return result

    return call
