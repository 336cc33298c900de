"""concurrent.futures, threads: what is submitted is a job, and what happens in it lies under it.

The current event goes with the call into the thread, and nothing else of the caller's context: a program may rely on
what a thread has, and has not, of its own.
"""

from __future__ import annotations

import functools
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import Context, copy_context
from types import BuiltinMethodType, ModuleType
from typing import Any, Final

from spanloom.callbacks.ambient import get_callback_manager, use_callback_manager
from spanloom.callbacks.decorate import hide_frame
from spanloom.callbacks.manager import CallbackManager
from spanloom.concurrency.names import name_of
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.patches import Patches
from spanloom.instrument.pooled import mapped, pool_of
from spanloom.instrument.task_batch import TaskBatch
from spanloom.instrument.unseen import by_us

__all__ = ["VERSIONS", "is_open", "is_shown", "patch", "patch_blocks"]

VERSIONS: Final[Mapping[str, str]] = {}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch ``concurrent.futures.thread``."""
    patches.wrap(module.ThreadPoolExecutor, "submit", _submit)
    patch_blocks(module.ThreadPoolExecutor, patches)


def patch_blocks(executor: type, patches: Patches) -> None:
    """Patch the methods of a class of executors that enclose calls of ``submit``: ``map`` and the ``with`` block."""
    patches.wrap(executor, "map", _map)
    patches.wrap(executor, "__enter__", _enter)
    patches.wrap(executor, "__exit__", _leave)


def is_shown(function: object) -> bool:
    """Tell whether a submitted callable becomes a job: not one that carries a context itself, or is not callable."""
    inner = function.func if isinstance(function, functools.partial) else function
    carries = type(inner) is BuiltinMethodType and isinstance(inner.__self__, Context)  # to_thread
    return callable(function) and not carries


def is_open(executor: object) -> bool:
    """Tell whether an executor still takes calls, as far as known: a refused call is no job, and makes no batch."""
    return not any(getattr(executor, name, False) for name in ("_broken", "_shutdown", "_shutdown_thread"))


def _submit(wrapped: Callable[..., Any], executor: Any, args: Args, kwargs: KwArgs) -> Any:
    manager = get_callback_manager()
    call: _InThread | None = None
    try:
        if not (args and manager.active and is_shown(args[0]) and is_open(executor)) or by_us(2):
            return wrapped(*args, **kwargs)
        function, *rest = args
        call = _InThread(manager, *pool_of(executor).reserve(manager, function), function)
        future = wrapped(call, *rest, **kwargs)
    except BaseException as error:
        if call is not None:
            call.batch.never_began()
        hide_frame(error)
        raise
    future.add_done_callback(call.done)
    return future


class _InThread:
    """The callable that a thread calls in place of the submitted function."""

    __slots__ = ("_function", "_index", "_manager", "_ready_ns", "batch", "name")

    def __init__(
        self, manager: CallbackManager, batch: TaskBatch, index: int, function: Callable[..., Any]
    ) -> None:
        self._manager = manager
        self.batch = batch
        self._index = index
        self._function: Callable[..., Any] | None = function
        self.name = name_of(function)  # for the diagnosis, which finds us in place of the function
        self._ready_ns = monotonic_ns()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        function, self._function = self._function, None
        assert function is not None  # noqa: S101 -- a thread calls it once
        try:
            if self.batch.tells_starts:  # context variables that handlers set must not stay in the thread
                return copy_context().run(self._call, function, args, kwargs)
            return self._call(function, args, kwargs)
        except BaseException as error:
            hide_frame(error)
            raise

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        current = self._manager.current
        outer = current.get()
        record = self._begin(function)
        try:
            if get_callback_manager() is self._manager:
                result = function(*args, **kwargs)
            else:
                with use_callback_manager(self._manager):
                    result = function(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            self.batch.end(record, error)
            raise
        finally:
            current.set(outer)
        self.batch.end(record, None)
        return result

    def _begin(self, function: object) -> JobEvent:
        return self.batch.begin(self._index, function, self._ready_ns)

    def done(self, future: Future[Any]) -> None:
        """Note that the call is over; it never began if it was cancelled in the queue, or if its pool broke."""
        function, self._function = self._function, None
        if function is not None:
            error = CancelledError() if future.cancelled() else future.exception()
            self.batch.end(copy_context().run(self._begin, function), error)


def _map(wrapped: Callable[..., Any], executor: Any, args: Args, kwargs: KwArgs) -> Any:
    if mapped.call is not None:  # one `map` that is made of another
        return wrapped(*args, **kwargs)
    manager = get_callback_manager()
    mapped.call = call = pool_of(executor).map(manager.current.get())
    try:
        return wrapped(*args, **kwargs)
    except BaseException as error:
        hide_frame(error)
        raise
    finally:
        mapped.call = None
        call.end()


def _enter(wrapped: Callable[..., Any], executor: Any, args: Args, kwargs: KwArgs) -> Any:
    pool_of(executor).enter(get_callback_manager().current.get())
    return wrapped(*args, **kwargs)


def _leave(wrapped: Callable[..., Any], executor: Any, args: Args, kwargs: KwArgs) -> Any:
    pool_of(executor).leave(args[1] if len(args) > 1 else None)
    return wrapped(*args, **kwargs)
