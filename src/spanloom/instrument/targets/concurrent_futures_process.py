"""concurrent.futures, processes: what is submitted is a job here, and its ids go into the process that works it off.

When a process starts a call is not reported. But calls are started in the order in which they come, by as
many processes as there are: so a call starts when fewer unfinished calls are before it than there are processes.
"""

from __future__ import annotations

import functools
import os
import threading
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import hide_frame
from spanloom.callbacks.manager import CallbackManager
from spanloom.concurrency.names import name_of
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import JobEvent
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.in_child import InChild
from spanloom.instrument.patches import Patches
from spanloom.instrument.pooled import pool_of
from spanloom.instrument.side_table import SideTable
from spanloom.instrument.targets.concurrent_futures import is_open, is_shown, patch_blocks
from spanloom.instrument.task_batch import TaskBatch
from spanloom.instrument.unseen import by_us

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch ``concurrent.futures.process``."""
    patches.wrap(module.ProcessPoolExecutor, "submit", _submit)
    patch_blocks(module.ProcessPoolExecutor, patches)


class _Line:
    """The unfinished calls of one executor, in their order."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._running = 0
        self._waiting: dict[_Submitted, None] = {}
        self._lock = threading.Lock()

    def join(self, call: _Submitted) -> None:
        """Start `call`, or have it wait for its turn."""
        with self._lock:
            if self._running >= self._processes:
                self._waiting[call] = None
                return
            self._running += 1
        call.begin()

    def leave(self, call: _Submitted) -> None:
        """Take `call` out, and start the one whose turn it is."""
        with self._lock:
            if call in self._waiting:
                del self._waiting[call]
                return
            if not self._waiting:
                self._running -= 1
                return
            following = next(iter(self._waiting))
            del self._waiting[following]
        following.begin()


_lines: Final[SideTable[_Line]] = SideTable()


def _line_of(executor: Any) -> _Line:
    return _lines.of(executor, lambda: _Line(getattr(executor, "_max_workers", None) or os.cpu_count() or 1))


class _Submitted:
    """One call, from its submission to its end."""

    def __init__(
        self, manager: CallbackManager, line: _Line, batch: TaskBatch, index: int, function: object
    ) -> None:
        self._manager = manager
        self._line = line
        self.batch = batch
        self._index = index
        self._function: object = function
        self._ready_ns = monotonic_ns()
        self._record: JobEvent | None = None
        self._beginning = threading.Lock()

    def submitted(self, future: Future[Any]) -> None:
        """Take its place in the line until `future` is done."""
        self._line.join(self)
        future.add_done_callback(self.done)

    def begin(self) -> None:
        """Start the event, unless it was started: the end of another call may come in another thread."""
        with self._beginning:
            if self._record is None:
                self._record = copy_context().run(
                    self.batch.begin, self._index, self._function, self._ready_ns
                )
                self._function = None

    def done(self, future: Future[Any]) -> None:
        """End the event."""
        error = CancelledError() if future.cancelled() else future.exception()
        self.begin()  # it may have been cancelled in the line
        if self._record is not None:
            self.batch.end(self._record, error)
        self._line.leave(self)


def _submit(wrapped: Callable[..., Any], executor: Any, args: Args, kwargs: KwArgs) -> Any:
    manager = get_callback_manager()
    call: _Submitted | None = None
    try:
        if not (args and manager.active and is_shown(args[0]) and is_open(executor)) or by_us(2):
            return wrapped(*args, **kwargs)
        function, *rest = args
        job = _job_of(function)
        batch, index = pool_of(executor).reserve(manager, job)
        call = _Submitted(manager, _line_of(executor), batch, index, job)
        carried = InChild(batch.event.trace_id, batch.id_of(index), name_of(job) or "job", function)
        future = wrapped(carried, *rest, **kwargs)
    except BaseException as error:
        if call is not None:
            call.batch.never_began()
        hide_frame(error)
        raise
    call.submitted(future)
    return future


def _job_of(function: object) -> object:
    """Return what to name a job after: of a chunk of ``map``, the function that it is a chunk for."""
    if isinstance(function, functools.partial) and name_of(function) == "_process_chunk":
        return function.args[0] if function.args else function
    return function
