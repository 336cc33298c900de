"""The hooks of a handler: their names, and which of them it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spanloom.callbacks.decorate import is_coroutine_function

__all__ = ["HOOKS", "INLINE", "ON_EVENT", "hook_of", "types_of"]

ON_EVENT: Final = (
    "on_event_start",
    "on_event_end",
    "on_event_pause",
    "on_event_resume",
    "on_event",
    "job_hooks",
)
"""Called inline, in the task or thread of the work, with an event."""
INLINE: Final = (*ON_EVENT, "start_trace", "end_trace")
"""Called inline; the last two only if the handler does not take lists."""
HOOKS: Final = (*INLINE, "on_events", "attached", "on_tick", "flush", "close")
"""All hooks; a handler must have at least one of them."""


def hook_of(handler: object, name: str) -> Callable[..., object] | None:
    """Return a hook of a handler; ``None`` if it has none of that name.

    Raises:
        TypeError: it cannot be called, or is async where it must not be.
    """
    hook: Callable[..., object] | None = getattr(handler, name, None)
    if hook is None:
        return None
    if not callable(hook):
        raise TypeError(f"{type(handler).__name__}.{name} must be a method, not {type(hook).__name__}")
    if name != "on_events" and is_coroutine_function(hook):
        raise TypeError(
            f"{type(handler).__name__}.{name} is async, but only on_events may be: it runs on the handler's own "
            f"thread. Move the awaiting part to 'async def on_events(self, events)'."
        )
    return hook


def types_of(handler: object, attribute: str) -> frozenset[str] | None:
    """Return the event types that a handler gives in `attribute`; ``None`` if it gives none.

    Raises:
        TypeError: it gives a string instead of a set.
    """
    types = getattr(handler, attribute, None)
    if isinstance(types, str):
        raise TypeError(
            f"{type(handler).__name__}.{attribute} must be a set of event types, not the string {types!r}"
        )
    return None if types is None else frozenset(types)
