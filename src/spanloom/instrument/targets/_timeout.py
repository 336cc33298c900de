"""`asyncio.timeout` and ``timeout_at``: their blocks are deadlines."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.context import EventContext
from spanloom.callbacks.decorate import hide_frame
from spanloom.events import keys
from spanloom.events.types import EventType
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.gathered import listening
from spanloom.instrument.patches import Patches
from spanloom.instrument.side_table import SideTable
from spanloom.instrument.unseen import by_library

__all__ = ["patch_timeout"]

_made: Final[SideTable[bool]] = SideTable()
"""Timeouts that the program has made and not entered yet; asyncio makes some for itself."""
_entered: Final[SideTable[EventContext]] = SideTable()


def patch_timeout(patches: Patches) -> None:
    """Patch ``asyncio.timeout``, ``asyncio.timeout_at`` and the methods of what they return."""

    def make(original: Any) -> Any:
        @functools.wraps(original)
        def timeout(*args: Any, **kwargs: Any) -> Any:
            block = original(*args, **kwargs)
            if patches.active and not by_library():
                _made[block] = True
            return block

        return timeout

    for name in ("timeout", "timeout_at"):
        patches.replace_function(asyncio.timeouts, name, make, asyncio)
    patches.wrap(asyncio.Timeout, "__aenter__", _enter)
    patches.wrap(asyncio.Timeout, "__aexit__", _leave)
    patches.at_undo(_leave_all)


def _enter(wrapped: Callable[..., Any], block: Any, args: Args, kwargs: KwArgs) -> Any:
    # Popped, as a block that is entered again raises, and is not left a second time.
    if _made.pop(block) and listening() is not None:
        when = block.when()
        left_s = None if when is None else max(0.0, when - asyncio.get_running_loop().time())
        event = get_callback_manager().event(EventType.DEADLINE, {keys.DELAY_S: left_s}, name="timeout")
        event.start()
        if sys._getframe(2).f_code.co_flags & inspect.CO_ASYNC_GENERATOR:  # noqa: SLF001 -- as in `unseen`
            event.suspend()  # what is current in a generator is so for its consumer, too, between two values
        _entered[block] = event
    return wrapped(*args, **kwargs)


async def _leave(wrapped: Callable[..., Any], block: Any, args: Args, kwargs: KwArgs) -> Any:
    event = _entered.pop(block)
    error: BaseException | None = args[1] if len(args) > 1 else None
    try:
        return await wrapped(*args, **kwargs)
    except BaseException as raised:
        error = raised
        hide_frame(raised)
        raise
    finally:
        if event is not None:
            event.end(error)
        del error


def _leave_all() -> None:
    """End the events of blocks for which `_leave` will not be called any more."""
    events = _entered.values()
    _entered.clear()
    for event in events:
        event.end()
