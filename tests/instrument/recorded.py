"""A wrapper as a target may have: calls of a function as events."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from spanloom import get_callback_manager
from spanloom.instrument.functions import Wrapper
from spanloom.instrument.harmless import guarded

Before = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Mapping[str, object]]


def recorded(name: str, before: Before | None = None) -> Wrapper:
    """Return a wrapper for `Patches.wrap`, by which each call is an event with what `before` makes of its arguments."""

    def event(instance: Any, args: Any, kwargs: Any) -> Any:
        payload = None if before is None else guarded(name, before, instance, args, kwargs)
        return get_callback_manager().event("call", payload, name=name)

    async def call_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        with event(instance, args, kwargs):
            return await wrapped(*args, **kwargs)

    def call(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(wrapped):
            return call_async(wrapped, instance, args, kwargs)
        with event(instance, args, kwargs):
            return wrapped(*args, **kwargs)

    return call
