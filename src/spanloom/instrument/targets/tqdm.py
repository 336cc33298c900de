"""tqdm.asyncio: what ``tqdm.gather`` and ``tqdm.as_completed`` run is a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Mapping
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.callbacks.manager import CallbackManager
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.gathered import jobs_of, listening
from spanloom.instrument.patches import Patches
from spanloom.instrument.spawned import spawn_job, takes_context
from spanloom.instrument.task_batch import TaskBatch

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"tqdm": "4.70.1"}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch the method that both end in."""
    patches.wrap(module.tqdm_asyncio, "as_completed", _as_completed)


def _as_completed(
    wrapped: Callable[..., Any], instance: object, args: Args, kwargs: KwArgs
) -> Generator[Any, Any, Any]:
    del instance
    # A generator, as the original: nothing is started before the first result is asked for.
    fs = args[0] if args else kwargs.get("fs")
    manager = listening()
    # What has no length is not for the original either, unless it is given a total.
    if manager is not None and isinstance(fs, Collection) and not isinstance(fs, asyncio.Future):
        futures = _started(manager, fs)
        if args:
            args = (futures, *args[1:])
        else:
            kwargs = {**kwargs, "fs": futures}
    try:
        yield from wrapped(*args, **kwargs)
    except BaseException as error:
        hide_frame(error)
        raise


def _started(manager: CallbackManager, fs: Collection[Any]) -> Collection[Any]:
    """Return futures in place of awaitables: jobs of a batch that ends with the last of them."""
    wrappers = [_gathered(awaitable) for awaitable in fs]
    if not wrappers or None in wrappers:
        futures, others = jobs_of(manager, "tqdm.as_completed", fs, asyncio.ensure_future)
        if others is not None:
            others.seal()
        return futures
    loop = asyncio.get_running_loop()
    create, with_context = loop.create_task, takes_context(loop)
    batch = TaskBatch(manager, "tqdm.gather", wrappers[0], len(wrappers), manager.current.get(), at_once=True)
    futures = [
        spawn_job(batch, create, wrapper, loop, with_context, subject=subject)
        for wrapper, subject in zip(fs, wrappers, strict=True)
    ]
    batch.seal()
    return futures


def _gathered(awaitable: Any) -> object:
    """Return the awaitable inside of the coroutine that ``gather`` has put around it; ``None`` for any other."""
    frame = getattr(awaitable, "cr_frame", None)
    if frame is None or frame.f_code.co_qualname != "tqdm_asyncio.gather.<locals>.wrap_awaitable":
        return None
    inner: object = frame.f_locals.get("f")
    return inner.get_coro() if isinstance(inner, asyncio.Task) else inner
