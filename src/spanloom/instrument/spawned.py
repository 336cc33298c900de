"""A task that the program has started, from its creation to its end."""

from __future__ import annotations

import asyncio
import os
import sys
import weakref
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.route import Route
from spanloom.concurrency.names import name_of
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent, ScopeEvent
from spanloom.events.types import EventType
from spanloom.instrument.task_batch import TaskBatch, error_of

if TYPE_CHECKING:
    from traceback import FrameSummary

__all__ = ["Spawned", "adopt", "is_adoptable", "is_unknown", "observe", "spawn", "spawn_job", "takes_context"]

T = TypeVar("T", bound="asyncio.Future[Any]")

_waiting: Final[dict[int, Spawned]] = {}
"""The spawned tasks that have not had their first step, by id of the task."""
_OURS: Final = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120 -- what paths in frames are


class Spawned:
    """A task of its own until its first step: then it is an event, or the job of a batch that has adopted it.

    Attributes:
        batch: The batch that it is a job of; ``None`` if it is none.
        index: Its index there.
    """

    __slots__ = (
        "_job",
        "_key",
        "_loop",
        "_manager",
        "_ready_ns",
        "_record",
        "_scope",
        "_task",
        "batch",
        "index",
    )

    def __init__(self, manager: CallbackManager, loop: asyncio.AbstractEventLoop, job: object) -> None:
        self._manager = manager
        self._loop = loop
        self._job: object = job
        self._ready_ns = monotonic_ns()
        self._record: JobEvent | None = None
        self._scope: tuple[ScopeEvent, Route] | None = None
        self._task: weakref.ref[asyncio.Future[Any]] | None = None
        self._key = 0
        self.batch: TaskBatch | None = None
        self.index: int | None = None

    def wait_for_first_step(self, task: asyncio.Future[Any]) -> None:
        """Note that the task has been created, and has not had its first step yet."""
        # Weak: else a task that its loop has left behind would never be reported as destroyed.
        self._task = weakref.ref(task, self._forget)
        self._key = id(task)
        _waiting[self._key] = self

    def _forget(self, _: object) -> None:
        if _waiting.get(self._key) is self:
            del _waiting[self._key]

    def is_of(self, task: object) -> bool:
        """Tell whether this is about `task`, not about an earlier task at the same address."""
        return self._task is not None and self._task() is task

    def begin(self) -> None:
        """Open the event, in the task's context, right before the first step."""
        if self._task is not None:
            self._forget(None)
            self._task = None  # the task has a callback of ours: a reference cycle
        manager, job, batch = self._manager, self._job, self.batch
        self._job = None
        if batch is not None and self.index is not None:
            self._record = batch.begin(self.index, job, self._ready_ns)
            batch.take_first_step(self._loop.call_soon)
        else:
            self._scope = manager.begin(EventType.TASK, name_of(job) or "task", None, manager.current.get())
            manager.current.set(self._scope[0])

    def end(self, task: asyncio.Future[Any]) -> None:
        """End the event; the task's done-callback."""
        self.fail(error_of(task))

    def fail(self, error: BaseException | None) -> None:
        """End the event by `error`."""
        record, scope, batch = self._record, self._scope, self.batch
        if record is not None and batch is not None:
            batch.end(record, error)
        elif scope is not None:
            self._scope = None
            self._manager.finish(*scope, error)

    def __del__(self) -> None:
        """End the event if it is still open: the loop was dropped or closed with the task pending in it."""
        if sys.is_finalizing():
            return
        if self._record is None and self.batch is not None and self.index is not None:
            self.batch.never_began()
        elif self._record is not None or self._scope is not None:
            self.fail(CancelledError())


def spawn(
    manager: CallbackManager, create: Callable[..., T], job: Coroutine[Any, Any, Any], **named: Any
) -> T:
    """Create a task that has an event under the current one, unless it becomes a job.

    Args:
        manager: Carries the event.
        create: Creates the task: called with `job` and `named`, and perhaps with the context for it.
        job: What it runs.
        named: Arguments for `create`.
    """
    loop = asyncio.get_running_loop()
    context = copy_context()
    spawned = Spawned(manager, loop, job)
    if "eager_start" not in named and takes_context(loop):
        handle = loop.call_soon(spawned.begin, context=context)
        try:
            task = create(job, context=context, **named)
        except BaseException:
            handle.cancel()
            raise
        spawned.wait_for_first_step(task)
    else:
        # A task factory may take no context, and may start the task eagerly. Whatever it does with the context
        # that it is called in, that is a copy.
        context.run(spawned.begin)
        try:
            task = context.run(create, job, **named)
        except BaseException as error:
            spawned.fail(error)
            raise
    task.add_done_callback(spawned.end, context=context)
    _hide_us(task)
    return task


def spawn_job(
    batch: TaskBatch,
    create: Callable[..., T],
    job: object,
    loop: asyncio.AbstractEventLoop,
    with_context: bool,
    *,
    subject: object = None,
    **named: Any,
) -> T:
    """Create a task that is a job of `batch`.

    Args:
        batch: The batch.
        create: Creates the task: called with `job` and `named`, and perhaps with the context for it.
        job: What it runs.
        loop: The running loop.
        with_context: Whether `create` takes a context; see `takes_context`.
        subject: What the job is named for; `job` itself if that is ``None``.
        named: Arguments for `create`.
    """
    context = copy_context()
    shown = job if subject is None else subject
    record = batch.enter(context, shown, loop.call_soon if with_context else None)
    try:
        if with_context:
            task = create(job, context=context, **named)
        else:
            batch.begin_first_steps()
            try:
                task = context.run(create, job, **named)
            finally:
                batch.end_first_steps()
    except BaseException:
        batch.drop(record)
        raise
    task.add_done_callback(partial(batch.done, record), context=context)
    _hide_us(task)
    return task


def _hide_us(task: object) -> None:
    """Remove our frames from the stack at which a task was created, which asyncio keeps in debug mode."""
    frames: list[FrameSummary] | None = getattr(task, "_source_traceback", None)
    if frames:
        frames[:] = [frame for frame in frames if not frame.filename.startswith(_OURS)]


def takes_context(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a task that is given a context runs in it, and takes its first step in the loop's next turn."""
    if loop.get_task_factory() is not None or "create_task" in getattr(loop, "__dict__", ()):
        return False
    kind = type(loop)
    return (
        getattr(kind, "create_task", None) is asyncio.BaseEventLoop.create_task
        or kind.__module__.partition(".")[0] == "uvloop"
    )


def is_adoptable(task: object) -> bool:
    """Tell whether `task` has been started by `spawn`, is no job yet and has not had its first step."""
    spawned = _waiting.get(id(task))
    return spawned is not None and spawned.batch is None and spawned.is_of(task)


def adopt(task: object, batch: TaskBatch) -> None:
    """Make an adoptable task a job of `batch`."""
    spawned = _waiting[id(task)]
    spawned.batch = batch
    spawned.index = batch.reserve()


def is_unknown(task: object) -> bool:
    """Tell whether `task` is under way without an event, as one made by ``loop.create_task``."""
    if not isinstance(task, asyncio.Task) or task.done():
        return False
    for entry in getattr(task, "_callbacks", None) or ():
        callback = entry[0]
        if isinstance(callback, partial):
            callback = callback.func
        if getattr(callback, "__func__", None) in (Spawned.end, TaskBatch.done):
            return False
    return True


def observe(task: Any, batch: TaskBatch) -> None:
    """Make an unknown task a job of `batch` from now on; its own context is not changed."""
    record = batch.enter(copy_context(), task.get_coro(), None)
    task.add_done_callback(partial(batch.done, record))
