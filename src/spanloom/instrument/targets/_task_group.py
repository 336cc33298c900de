"""`asyncio.TaskGroup`: a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.gathered import listening
from spanloom.instrument.patches import Patches
from spanloom.instrument.spawned import spawn_job, takes_context
from spanloom.instrument.task_group import TaskGroups

__all__ = ["patch_task_group"]


_groups: Final = TaskGroups()


def patch_task_group(patches: Patches) -> None:
    """Patch the methods of ``asyncio.TaskGroup``."""
    patches.wrap(asyncio.TaskGroup, "__aenter__", _enter)
    patches.wrap(asyncio.TaskGroup, "create_task", _create_task)
    patches.wrap(asyncio.TaskGroup, "__aexit__", _groups.leave)
    patches.at_undo(_groups.leave_all)


# Neither is a coroutine function, although one of the originals is: they add nothing to the stack of a task.


def _enter(wrapped: Callable[..., Any], group: Any, args: Args, kwargs: KwArgs) -> Any:
    manager = listening()
    if manager is not None:
        _groups.enter(group, manager, "asyncio.TaskGroup")
    return wrapped(*args, **kwargs)


def _create_task(wrapped: Callable[..., Any], group: Any, args: Args, kwargs: KwArgs) -> Any:
    known = _groups.get(group)
    coroutine = args[0] if args else None
    if (
        known is None
        or len(args) != 1
        or kwargs.get("context") is not None
        or not asyncio.iscoroutine(coroutine)
    ):
        return wrapped(*args, **kwargs)
    options = {name: value for name, value in kwargs.items() if name != "context"}
    batch = known.batch_of(coroutine)
    try:
        loop = asyncio.get_running_loop()
        with_context = takes_context(loop) and "eager_start" not in options
        return spawn_job(batch, wrapped, coroutine, loop, with_context, **options)
    except BaseException as error:
        hide_frame(error)
        raise
    finally:
        known.started()
