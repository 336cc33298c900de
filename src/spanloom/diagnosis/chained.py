"""What is behind a future: what `wrap_future`, `run_coroutine_threadsafe`, `shield` and `gather` have tied to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from types import FunctionType
from typing import Any, Final

from spanloom.diagnosis.fields import callbacks_of, closure_of, field, gathered, is_a, is_future, is_task

__all__ = ["ends_behind", "sources", "stands_for_itself", "task_behind"]

_DEPTH: Final = 6
"""How many futures that stand for one another are followed."""


def sources(callbacks: Iterable[object]) -> Iterator[object]:
    """Yield the sources that asyncio's ``_chain_future`` copies into a future, read from its done-callbacks."""
    for callback in callbacks:
        if type(callback) is FunctionType and callback.__module__ == "asyncio.futures":
            around = closure_of(callback)
            if "source" in around:
                yield around["source"]


def task_behind(future: object) -> Any:  # Any: a task, if there is one
    """Return the task whose end resolves a `concurrent.futures.Future` of `run_coroutine_threadsafe`, or ``None``."""
    return next((one for one in sources(list(field(future, "_done_callbacks", ()))) if is_task(one)), None)


def stands_for_itself(future: object) -> bool:
    """Return whether nothing can be behind a future: a quick test that most futures pass."""
    return not any(type(callback) is FunctionType for callback in callbacks_of(future))


def ends_behind(future: object, depth: int = _DEPTH) -> Iterator[tuple[object, bool]]:
    """Yield the tasks and bare futures that must end for `future` to be done, and whether its cancel reaches them."""
    if is_task(future) or depth == 0:
        yield future, True
        return
    children = gathered(future)
    if children is not None:
        for child in children:
            yield from ends_behind(child, depth - 1)
        return
    callbacks = callbacks_of(future)
    inner = _shielded(callbacks)
    if inner is not None:
        yield from ((end, False) for end, _ in ends_behind(inner, depth - 1))
        return
    tasks = (task_behind(one) for one in sources(callbacks) if is_a(one, Future))
    task = next((one for one in tasks if one is not None), None)
    yield (future if task is None else task), True


def _shielded(callbacks: Iterable[Any]) -> object:  # Any: whatever was hung on a future
    """Return the future that `asyncio.shield` protects, read from the callbacks of the outer one; ``None`` if none."""
    for callback in callbacks:
        is_function = type(callback) is FunctionType
        if is_function and callback.__qualname__ == "shield.<locals>._outer_done_callback":
            inner = closure_of(callback).get("inner")  # from 3.14 on the task that waits is among them, too
            if is_future(inner):
                return inner
    return None
