"""`asyncio.gather` and the like: the awaitables that they are given are a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.manager import CallbackManager
from spanloom.instrument.spawned import adopt, is_adoptable, is_unknown, observe, spawn_job, takes_context
from spanloom.instrument.task_batch import TaskBatch

__all__ = ["jobs_of", "listening"]


def listening() -> CallbackManager | None:
    """Return the ambient manager, if there is a running loop and somebody listens; else ``None``."""
    if asyncio._get_running_loop() is None:  # noqa: SLF001 -- the public one raises, which costs more than the rest
        return None
    manager = get_callback_manager()
    return manager if manager.active else None


def jobs_of(
    manager: CallbackManager,
    runner: str,
    aws: Iterable[Any],
    ensure: Callable[..., Any],
    *,
    is_gather: bool = False,
) -> tuple[list[Any], TaskBatch | None]:
    """Start those of `aws` that are no task yet, and make them and the tasks that have not begun a batch.

    Args:
        manager: Carries the events.
        runner: Name of the function that they were given to.
        aws: Awaitables; one that occurs several times is started once.
        ensure: ``asyncio.ensure_future``, as it is.
        is_gather: Whether asyncio does not log tasks that are destroyed while pending, as it does not for
            those that ``gather`` starts.

    Returns:
        Futures in place of the awaitables, and the batch, which the caller must seal. The batch is ``None`` if
        none of them is new, or if one is not awaitable, which the original function will report.
    """
    given = list(aws)
    first, total = _look(given)
    if not total:
        return given, None
    loop = asyncio.get_running_loop()
    batch = TaskBatch(manager, runner, first, total, manager.current.get(), at_once=True)
    create, with_context = loop.create_task, takes_context(loop)
    started: dict[Any, Any] = {}  # equal awaitables are one, as in asyncio
    futures: list[Any] = []
    for aw in given:
        future: Any = started.get(aw)
        if future is None:
            future = aw
            if asyncio.iscoroutine(aw):
                future = spawn_job(batch, create, aw, loop, with_context)
            elif not asyncio.isfuture(aw):
                future = spawn_job(batch, ensure, aw, loop, False)
            elif is_adoptable(aw):
                adopt(aw, batch)
            elif is_unknown(aw):
                observe(aw, batch)
            started[aw] = future
            if is_gather and future is not aw:
                future._log_destroy_pending = False  # noqa: SLF001 -- as gather does with what it starts
        futures.append(future)
    return futures, batch


def _look(aws: list[Any]) -> tuple[object, int]:
    """Return the first job, and how many there are: 0 if anything is not awaitable, or not hashable."""
    seen: set[Any] = set()
    first: object = None
    for aw in aws:
        try:
            if aw in seen:
                continue
        except TypeError:  # asyncio will report that
            return None, 0
        if asyncio.isfuture(aw):  # what is a job elsewhere, or nobody's task, is not looked at
            if not (is_adoptable(aw) or is_unknown(aw)):
                continue
            job: object = aw.get_coro() if isinstance(aw, asyncio.Task) else aw
        elif asyncio.iscoroutine(aw) or hasattr(type(aw), "__await__"):
            job = aw
        else:
            return None, 0
        if not seen:
            first = job
        seen.add(aw)
    return first, len(seen)
