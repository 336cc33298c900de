"""What a program can see of itself: what has to be the same with and without events."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final

ADDRESS: Final = re.compile(r"0x[0-9a-f]+")


def stack_of(error: BaseException) -> list[str]:
    """Return the functions of the traceback of `error` and of the errors in it, outermost first."""
    found = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    for inner in getattr(error, "exceptions", ()):
        found += [f"in group: {type(inner).__name__}", *stack_of(inner)]
    return found


async def observe(function: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `function` returns, or the type, text and stack of what it raises."""
    try:
        return await function()
    except (Exception, asyncio.CancelledError) as error:
        return type(error), ADDRESS.sub("0x", str(error)), stack_of(error)[1:]  # the first is ours


def seen_from_inside() -> tuple[str, str, list[str]]:
    """Return the name of the current task, of its coroutine, and of the functions on its stack."""
    task = asyncio.current_task()
    assert task is not None
    coroutine: Any = task.get_coro()
    frames = []
    while coroutine is not None and hasattr(coroutine, "cr_code"):
        frames.append(coroutine.cr_code.co_qualname)
        coroutine = coroutine.cr_await
    name = task.get_name()
    return "Task-n" if name.startswith("Task-") else name, frames[0], frames
