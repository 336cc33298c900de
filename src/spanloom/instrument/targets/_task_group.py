"""`asyncio.TaskGroup`: a batch, from the first task that it is given until its block has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.callbacks.manager import CallbackManager
from spanloom.events.event import Event
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.gathered import listening
from spanloom.instrument.patches import Patches
from spanloom.instrument.side_table import SideTable
from spanloom.instrument.spawned import spawn_job, takes_context
from spanloom.instrument.task_batch import TaskBatch

__all__ = ["patch_task_group"]


class _Group:
    """What is known of a task group whose block has been entered."""

    def __init__(self, manager: CallbackManager) -> None:
        self.manager = manager
        self.parent: Event | None = manager.current.get()
        self.batch: TaskBatch | None = None

        self.leaving = False

    def batch_of(self, first: object) -> TaskBatch:
        batch = self.batch
        if batch is None or batch.is_over:
            self.batch = batch = TaskBatch(
                self.manager, "asyncio.TaskGroup", first, None, self.parent, fails_with_jobs=True
            )
        return batch


_groups: Final[SideTable[_Group]] = SideTable()


def patch_task_group(patches: Patches) -> None:
    """Patch the methods of ``asyncio.TaskGroup``."""
    patches.wrap(asyncio.TaskGroup, "__aenter__", _enter)
    patches.wrap(asyncio.TaskGroup, "create_task", _create_task)
    patches.wrap(asyncio.TaskGroup, "__aexit__", _leave)
    patches.at_undo(_leave_all)


# None of these is a coroutine function, although two of the originals are: they add nothing to the stack of a task.


def _enter(wrapped: Callable[..., Any], group: Any, args: Args, kwargs: KwArgs) -> Any:
    manager = listening()
    if manager is not None:
        _groups[group] = _Group(manager)
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
        if known.leaving:  # a task of the group has started another one, at the end of the block
            batch.seal()


def _leave(wrapped: Callable[..., Any], group: Any, args: Args, kwargs: KwArgs) -> Any:
    known = _groups.get(group)
    if known is not None:
        known.leaving = True
        if known.batch is not None:
            known.batch.seal(args[1] if len(args) > 1 else None)
    return wrapped(*args, **kwargs)


def _leave_all() -> None:
    """End what `_leave` will not be called for: no more jobs come to these batches."""
    for known in _groups.values():
        if known.batch is not None and not known.leaving:
            known.batch.seal()
    _groups.clear()
