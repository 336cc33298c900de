"""The calls of one `concurrent.futures` executor as jobs of batches.

What encloses a call decides which batch it belongs to. The calls of one ``Executor.map`` are a batch; so are those in
the ``with`` block of an executor; all others that are submitted under the same event share one for as long as any of
them is unfinished.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from spanloom.callbacks.manager import CallbackManager
from spanloom.events.event import Event
from spanloom.instrument.side_table import SideTable
from spanloom.instrument.task_batch import TaskBatch

__all__ = ["Mapped", "Pool", "mapped", "pool_of"]

KEPT: Final = 64
"""Batches of one executor that are kept before those that have ended are dropped."""


class Mapped(threading.local):
    """The call of ``Executor.map`` that this thread is in, if it is in one."""

    call: _Call | None = None


class _Call:
    """One call of ``Executor.map``, or one ``with`` block of an executor."""

    def __init__(self, runner: str, parent: Event | None) -> None:
        self.runner = runner
        self.parent = parent
        self._batch: TaskBatch | None = None
        self._lock = threading.Lock()

    def reserve(self, manager: CallbackManager, job: object) -> tuple[TaskBatch, int] | None:
        with self._lock:
            if self._batch is None:
                self._batch = TaskBatch(manager, self.runner, job, None, self.parent)
            index = self._batch.reserve()
            return None if index is None else (self._batch, index)

    def end(self, error: BaseException | None = None) -> None:
        with self._lock:
            if self._batch is not None:
                self._batch.seal(error)


mapped: Final = Mapped()


class Pool:
    """What is known of one executor.

    Args:
        runner: The name of its class.
    """

    def __init__(self, runner: str) -> None:
        self.runner = runner
        self._block: _Call | None = None
        self._batches: dict[int | None, TaskBatch] = {}
        self._lock = threading.Lock()

    def enter(self, parent: Event | None) -> None:
        """Note that its ``with`` block has been entered."""
        self._block = _Call(self.runner, parent)

    def leave(self, error: BaseException | None = None) -> None:
        """Note that the block is being left, by `error` if there is one."""
        block, self._block = self._block, None
        if block is not None:
            block.end(error)

    def map(self, parent: Event | None) -> _Call:
        """Return a new call of ``map``."""
        return _Call(f"{self.runner}.map", parent)

    def reserve(self, manager: CallbackManager, job: object) -> tuple[TaskBatch, int]:
        """Expect one more job; return its batch and its index there."""
        parent = manager.current.get()
        call = mapped.call
        if call is None and self._block is not None and self._block.parent is parent:
            call = self._block
        found = None if call is None else call.reserve(manager, job)
        return found or self._reserve_here(manager, job, parent)

    def _reserve_here(
        self, manager: CallbackManager, job: object, parent: Event | None
    ) -> tuple[TaskBatch, int]:
        key = None if parent is None else parent.event_id
        with self._lock:
            batch = self._batches.get(key)
            index = None if batch is None else batch.reserve()
            while batch is None or index is None:
                if len(self._batches) >= KEPT:
                    self._batches = {each: kept for each, kept in self._batches.items() if not kept.is_over}
                batch = TaskBatch(manager, self.runner, job, None, parent, is_sealed=True)
                self._batches[key] = batch
                index = batch.reserve()
            return batch, index


_pools: Final[SideTable[Pool]] = SideTable()


def _after_fork() -> None:
    """Forget, in a forked child, what only the parent process can end."""
    mapped.call = None
    _pools.clear()


os.register_at_fork(after_in_child=_after_fork)


def pool_of(executor: object) -> Pool:
    """Return what is known of `executor`."""
    return _pools.of(executor, lambda: Pool(type(executor).__name__))
