"""aiometer on asyncio: a call of one of its functions is a batch, whose jobs are queued until their meters let them go.

All of its functions end in ``run_on_each``, which gives each item to a ``_worker`` in a task of anyio.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

import msgspec

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.gathered import listening
from spanloom.instrument.harmless import guarded
from spanloom.instrument.patches import Patches
from spanloom.instrument.task_batch import TaskBatch

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"aiometer": "1.0.0"}


class _Run(msgspec.Struct, gc=False):
    """One call of ``run_on_each``."""

    batch: TaskBatch
    ready_ns: int
    by_item: bool
    """Whether the items are the functions to be run."""


_run: ContextVar[_Run | None] = ContextVar("spanloom_aiometer_run", default=None)


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch ``run_on_each`` and what it runs in each task."""
    inside = sys.modules[f"{module.__name__}._impl.run_on_each"]  # as an attribute, that is the function
    patches.wrap(inside, "run_on_each", _run_on_each)
    patches.wrap(inside, "_worker", _work)


async def _run_on_each(wrapped: Callable[..., Any], instance: object, args: Args, kwargs: KwArgs) -> Any:
    del instance
    try:
        run = guarded("aiometer", _opened, args, kwargs)
        if run is None:
            return await wrapped(*args, **kwargs)
        outer = _run.get()
        _run.set(run)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            run.batch.seal(error)
            raise
        finally:
            _run.set(outer)
        run.batch.seal()
        return result
    except BaseException as error:
        hide_frame(error)
        raise


def _opened(args: Args, kwargs: KwArgs) -> _Run | None:
    manager = listening()
    given = dict(zip(("async_fn", "args"), args, strict=False)) | dict(kwargs)
    function, items = given["async_fn"], given["args"]
    if manager is None or not isinstance(items, Sequence) or not items:
        return None
    by_item = str(getattr(function, "__module__", "")).startswith("aiometer.")
    if by_item:  # a lambda of `run_all` or `run_any`
        name = function.__qualname__.partition(".")[0]
    else:
        name = "run_on_each" if given.get("_send_to") is None else "amap"
    first = items[0] if by_item else function
    limit = given.get("max_at_once")
    batch = TaskBatch(manager, f"aiometer.{name}", first, len(items), manager.current.get(), limit=limit)
    manager.current.set(batch.event)  # until it ends; what its meters wait for is its own affair
    return _Run(batch, batch.event.start_ns, by_item)


def _job_of(run: _Run, args: Args, kwargs: KwArgs) -> object:
    given = dict(zip(("async_fn", "index", "value"), args, strict=False)) | dict(kwargs)
    return given["value" if run.by_item else "async_fn"]


async def _work(wrapped: Callable[..., Any], instance: object, args: Args, kwargs: KwArgs) -> Any:
    del instance
    try:
        run = _run.get()
        if run is None:
            return await wrapped(*args, **kwargs)
        batch = run.batch
        job = guarded("aiometer", _job_of, run, args, kwargs)
        index = batch.reserve()
        if index is None:
            return await wrapped(*args, **kwargs)
        record = batch.begin(index, job, run.ready_ns)
        try:
            batch.take_first_step(asyncio.get_running_loop().call_soon)
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            batch.end(record, error)
            raise
        batch.end(record, None)
        return result
    except BaseException as error:
        hide_frame(error)
        raise
