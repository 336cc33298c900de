"""A task group as a batch: from the first task that it is given until its block has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spanloom.callbacks.manager import CallbackManager
from spanloom.events.event import Event
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.side_table import SideTable
from spanloom.instrument.task_batch import TaskBatch

__all__ = ["TaskGroup", "TaskGroups"]


class TaskGroup:
    """What is known of a task group whose block has been entered.

    Args:
        manager: Carries the events.
        runner: The name of the batch's runner.
    """

    def __init__(self, manager: CallbackManager, runner: str) -> None:
        self._batch: TaskBatch | None = None
        self._is_left = False
        self._manager = manager
        self._parent: Event | None = manager.current.get()
        self._runner = runner

    def batch_of(self, job: object) -> TaskBatch:
        """Return the batch that `job`, which is about to be started, belongs to."""
        batch = self._batch
        if batch is None or batch.is_over:
            self._batch = batch = TaskBatch(
                self._manager, self._runner, job, None, self._parent, fails_with_jobs=True
            )
        return batch

    def started(self) -> None:
        """Note that the job has been started.

        A task of the group may start another one while the block waits for its end: nothing else will seal that batch.
        """
        if self._is_left and self._batch is not None:
            self._batch.seal()

    def leave(self, error: BaseException | None = None) -> None:
        """Note that the block has ended, by `error` if there is one."""
        self._is_left = True
        if self._batch is not None:
            self._batch.seal(error)


class TaskGroups:
    """The groups of one library."""

    def __init__(self) -> None:
        self._known: SideTable[TaskGroup] = SideTable()

    def enter(self, group: object, manager: CallbackManager, runner: str) -> None:
        """Note that the block of `group` is entered."""
        self._known[group] = TaskGroup(manager, runner)

    def get(self, group: object) -> TaskGroup | None:
        """Return what is known of `group`, or ``None``."""
        return self._known.get(group)

    def leave(self, wrapped: Callable[..., Any], group: Any, args: Args, kwargs: KwArgs) -> Any:
        """Replacement of ``__aexit__``; no coroutine function, so that it adds no frame to the stack of a task."""
        known = self._known.get(group)
        if known is not None:
            known.leave(args[1] if len(args) > 1 else None)
        return wrapped(*args, **kwargs)

    def leave_all(self) -> None:
        """Seal the batches of groups for which `leave` will not be called any more."""
        for known in self._known.values():
            known.leave()
        self._known.clear()
