"""anyio on asyncio: a task group is a batch, and what runs in one by ``gather``, ``amap`` and ``as_completed``.

The task of a job is known by what anyio itself keeps of its tasks. A group is the program's own unless a library has
made it: those of anyio are part of a call that is about something else, and aiometer is a target of its own.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Mapping
from contextvars import copy_context
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.ambient import current_event
from spanloom.callbacks.decorate import hide_frame
from spanloom.events.types import EventType
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.gathered import listening
from spanloom.instrument.patches import Patches
from spanloom.instrument.slot_wait import patch_acquire
from spanloom.instrument.task_group import TaskGroups
from spanloom.instrument.unseen import LIBRARIES

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"anyio": "4.16.0"}

_FUNCTIONS: Final = "anyio._core._concurrency_utils"
"""The module of anyio whose functions run what the program gives them."""
_SKIPPED: Final = LIBRARIES | {"aiometer"}


_groups: Final = TaskGroups()


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch task groups, semaphores and capacity limiters of the asyncio backend."""
    group = module.TaskGroup
    patches.wrap(group, "__aenter__", _enter)
    patches.wrap(group, "_spawn", functools.partial(_spawn, module._task_states))  # noqa: SLF001 -- see above
    patches.wrap(group, "__aexit__", _groups.leave)
    patches.at_undo(_groups.leave_all)
    patch_acquire(patches, module.Semaphore, is_taken=_no_value)
    patch_acquire(patches, module.CapacityLimiter, "acquire_on_behalf_of", is_taken=_no_token)


def _no_value(semaphore: Any) -> bool:
    return semaphore.value == 0 and not _is_runner()


def _no_token(limiter: Any) -> bool:
    return limiter.available_tokens <= 0 and not _is_runner()


def _is_runner() -> bool:
    """Tell whether the batch itself waits, not one of its jobs: that wait is part of their queue time already."""
    event = current_event()
    return event is not None and event.type == EventType.BATCH


# Not a coroutine function, although the original is one: it adds nothing to the stack of a task.
def _enter(wrapped: Callable[..., Any], group: Any, args: Args, kwargs: KwArgs) -> Any:
    manager = listening()
    runner = None if manager is None else _runner_of(sys._getframe(2))  # noqa: SLF001 -- as in `by_library`
    if manager is not None and runner is not None:
        _groups.enter(group, manager, runner)
    return wrapped(*args, **kwargs)


def _runner_of(frame: Any) -> str | None:
    """Return the runner's name for a group that is entered in `frame`; ``None`` if the group is a library's."""
    while frame.f_globals.get("__name__") == "contextlib" and frame.f_back is not None:  # an AsyncExitStack
        frame = frame.f_back
    module = str(frame.f_globals.get("__name__", ""))
    if module == _FUNCTIONS:
        return f"anyio.{frame.f_code.co_name}"
    return None if module.partition(".")[0] in _SKIPPED else "anyio.TaskGroup"


def _spawn(states: Any, wrapped: Callable[..., Any], group: Any, args: Args, kwargs: KwArgs) -> Any:
    known = _groups.get(group)
    coroutine = args[0] if args else kwargs.get("coro")
    if known is None or not asyncio.iscoroutine(coroutine):
        return wrapped(*args, **kwargs)
    job = _job_of(coroutine)
    batch = known.batch_of(job)
    loop = asyncio.get_running_loop()
    # A task factory may start tasks eagerly; without one, the first step is in the next turn of the loop.
    at_once = loop.get_task_factory() is not None
    # anyio gives its tasks no context, so they get a copy of the one that they are made in.
    context = copy_context()
    record = batch.enter(context, job, None if at_once else loop.call_soon)
    if at_once:
        batch.begin_first_steps()
    try:
        handle = context.run(wrapped, *args, **kwargs)
    except BaseException as error:
        batch.end(record, error)
        hide_frame(error)
        raise
    finally:
        if at_once:
            batch.end_first_steps()
    task = _newest(states, group)
    if task is None:
        batch.end(record, None)
    else:
        task.add_done_callback(functools.partial(batch.done, record), context=context)
    known.started()
    return handle


def _job_of(coroutine: Any) -> object:
    """Return the function that the program gave; ``as_completed`` has functions of its own around it."""
    frame = getattr(coroutine, "cr_frame", None)
    if frame is not None and frame.f_globals.get("__name__") == _FUNCTIONS:
        return frame.f_locals.get("awaitable", coroutine)
    return coroutine


def _newest(states: Any, group: Any) -> asyncio.Task[Any] | None:
    """Return the task that `group` has just started: the last one of all that anyio keeps a state of."""
    try:
        task = next(reversed(states.data))()
        return task if task in group._tasks else None  # noqa: SLF001 -- anyio's own record of them
    except (AttributeError, StopIteration, TypeError):
        return None
