"""asyncio: what runs several coroutines at once is a batch, a task of its own and a deadline have events of theirs.

Each function here replaces the one it is named after. It does the same, by calling that, and is not seen
in tracebacks. What asyncio and other libraries that manage tasks call themselves is left alone.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import hide_frame
from spanloom.concurrency.names import name_of
from spanloom.events import keys
from spanloom.events.types import EventType
from spanloom.instrument.gathered import jobs_of, listening
from spanloom.instrument.patches import Patches
from spanloom.instrument.slot_wait import patch_acquire
from spanloom.instrument.spawned import spawn
from spanloom.instrument.stand_in import stand_in
from spanloom.instrument.targets._task_group import patch_task_group
from spanloom.instrument.targets._timeout import patch_timeout
from spanloom.instrument.task_batch import TaskBatch, error_of
from spanloom.instrument.unseen import by_library
from spanloom.instrument.unstarted import Unstarted

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {}


def patch(module: ModuleType, patches: Patches) -> None:  # noqa: ARG001 -- it is imported here, too
    """Patch asyncio."""
    for name, make in _FUNCTIONS.items():
        patches.replace_function(asyncio.tasks, name, functools.partial(make, patches), asyncio)
    patches.replace_function(asyncio.threads, "to_thread", functools.partial(_to_thread, patches), asyncio)
    patch_task_group(patches)
    patch_timeout(patches)
    patch_acquire(patches, asyncio.Semaphore)


def _in_place_of(original: Any, function: Any) -> Any:
    """Return `function` with the names of `original`, in a module of that name, as far as its frames tell.

    Without a running loop, asyncio warns of that at the first line whose module is none of its own.
    """
    made = FunctionType(
        function.__code__,
        {**function.__globals__, "__name__": original.__module__},
        closure=function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return functools.wraps(original)(made)


def _gather(patches: Patches, original: Any) -> Any:
    def gather(*aws: Any, return_exceptions: bool = False) -> Any:
        manager = listening() if patches.active and not by_library() else None
        try:
            if manager is None:
                return original(*aws, return_exceptions=return_exceptions)
            futures, batch = jobs_of(manager, "asyncio.gather", aws, asyncio.ensure_future, is_gather=True)
            outer = original(*futures, return_exceptions=return_exceptions)
        except BaseException as error:
            hide_frame(error)
            raise
        if batch is not None:
            outer.add_done_callback(functools.partial(_seal, batch))
        return outer

    return _in_place_of(original, gather)


def _seal(batch: TaskBatch, outer: asyncio.Future[Any]) -> None:
    batch.seal(error_of(outer))


def _wait(patches: Patches, original: Any) -> Any:
    # No coroutine function, so that it adds no frame to the stack of the task that waits.
    def wait(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        manager = listening() if not by_library(2) else None
        fs = args[0] if args else kwargs.get("fs")
        if manager is not None and isinstance(fs, (list, tuple, set, frozenset)):
            _adopted(manager, "asyncio.wait", fs)
        return wrapped(*args, **kwargs)

    return stand_in(original, wait, patches.is_active, is_method=False)


def _adopted(manager: Any, runner: str, fs: Any) -> None:
    if all(asyncio.isfuture(future) for future in fs):  # else the original raises
        _, batch = jobs_of(manager, runner, fs, asyncio.ensure_future)
        if batch is not None:
            batch.seal()


def _as_completed(patches: Patches, original: Any) -> Any:
    def started(fs: Any) -> Any:
        manager = listening() if patches.active else None
        if manager is None or asyncio.isfuture(fs) or asyncio.iscoroutine(fs) or not isinstance(fs, Iterable):
            return fs
        try:
            given = list(fs)
        except BaseException as error:
            hide_frame(error)
            raise
        futures, batch = jobs_of(manager, "asyncio.as_completed", given, asyncio.ensure_future)
        if batch is not None:
            batch.seal()
        return futures

    def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
        try:
            return original(fs if by_library() else started(fs), timeout=timeout)
        except BaseException as error:
            hide_frame(error)
            raise

    def as_completed_later(fs: Any, *, timeout: float | None = None) -> Any:
        try:
            yield from original(started(fs), timeout=timeout)
        except BaseException as error:
            hide_frame(error)
            raise

    is_later = inspect.isgeneratorfunction(original)
    return _in_place_of(original, as_completed_later if is_later else as_completed)


def _create_task(patches: Patches, original: Any) -> Any:
    def create_task(coro: Any, **options: Any) -> Any:
        manager = (
            listening() if patches.active and options.get("context") is None and not by_library() else None
        )
        try:
            if manager is None or not asyncio.iscoroutine(coro):
                return original(coro, **options)
            options.pop("context", None)
            return spawn(manager, original, coro, **options)
        except BaseException as error:
            hide_frame(error)
            raise

    return functools.wraps(original)(create_task)


def _ensure_future(patches: Patches, original: Any) -> Any:
    def ensure_future(coro_or_future: Any, *, loop: Any = None) -> Any:
        manager = listening() if patches.active and not by_library() else None
        try:
            if (
                manager is None
                or not asyncio.iscoroutine(coro_or_future)
                or loop not in (None, asyncio.get_running_loop())
            ):
                return original(coro_or_future, loop=loop)
            return spawn(manager, asyncio.get_running_loop().create_task, coro_or_future)
        except BaseException as error:
            hide_frame(error)
            raise

    return _in_place_of(original, ensure_future)


def _wait_for(patches: Patches, original: Any) -> Any:
    def wait_for(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        unstarted = Unstarted()
        work = wrapped(*args, **kwargs)
        future = args[0] if args else kwargs["fut"]
        timeout = args[1] if len(args) > 1 else kwargs["timeout"]
        if timeout is None or by_library(2):
            return work
        name = name_of(future.get_coro() if isinstance(future, asyncio.Task) else future)
        unstarted.work = work
        return under(unstarted, EventType.DEADLINE, name or "wait_for", {keys.DELAY_S: timeout})

    under = _under(original)
    return stand_in(original, wait_for, patches.is_active, is_method=False)


def _to_thread(patches: Patches, original: Any) -> Any:
    def to_thread(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        unstarted = Unstarted()
        work = wrapped(*args, **kwargs)
        if by_library(2):
            return work
        name = name_of(args[0]) or "to_thread"
        unstarted.work = work
        return under(unstarted, EventType.CALL, name, {keys.RUNNER: "asyncio.to_thread"})

    under = _under(original)
    return stand_in(original, to_thread, patches.is_active, is_method=False)


def _under(original: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return a coroutine function by the name of `original` that awaits a coroutine of it under an event."""

    @functools.wraps(original)
    async def under(unstarted: Unstarted, type: str, name: str, payload: dict[str, object]) -> object:
        try:
            if listening() is None:
                return await unstarted.work
            with get_callback_manager().event(type, payload, name=name):
                return await unstarted.work
        except BaseException as error:
            hide_frame(error)
            raise

    return under


_FUNCTIONS: Final[Mapping[str, Callable[[Patches, Any], Any]]] = {
    "gather": _gather,
    "wait": _wait,
    "as_completed": _as_completed,
    "create_task": _create_task,
    "ensure_future": _ensure_future,
    "wait_for": _wait_for,
}
