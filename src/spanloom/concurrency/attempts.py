"""The loop of attempts and back-offs, whoever decides how long to pause."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.manager import CallbackManager
from spanloom.concurrency.deadline import effective_deadline
from spanloom.concurrency.names import name_of
from spanloom.events import keys
from spanloom.events.event import detail_of
from spanloom.events.types import EventType

__all__ = ["back_off", "make_attempts", "too_late"]

T = TypeVar("T")

_RETRY: Final = EventType.RETRY
_ATTEMPT: Final = EventType.ATTEMPT


async def make_attempts(  # noqa: C901 -- retries wrap small calls: a coroutine per step would outweigh them
    call: Callable[[], Awaitable[T]],
    name: str,
    pause_after: Callable[[Exception, int], float | None],
    attempt_timeout: float | None,
    deadline: float = math.inf,
    *,
    enclosed: bool = False,
) -> T:
    """Await ``call()`` until it succeeds.

    Args:
        call: Makes the awaitable of one attempt.
        name: Name of the events; empty to take that of `call`.
        pause_after: Given the exception and the number of the attempt, from 1, returns the seconds
            to pause, or ``None`` to raise the exception.
        attempt_timeout: Seconds that one attempt may take, or ``None``.
        deadline: On the loop's clock, as far as the caller knows one.
        enclosed: Put an event of type ``retry`` around the attempts and pauses.

    Raises:
        Exception: what the last attempt raised.
        BaseException: anything else is raised at once.
    """
    manager = get_callback_manager()
    active, current = manager.active, manager.current
    task = asyncio.current_task()
    cancels = 0 if task is None else task.cancelling()
    number = 1
    whole = scope = outer = inner = failure = None
    if active:
        name = name or name_of(call) or "retry"
        outer = inner = current.get()
        if enclosed:
            whole = manager.begin(_RETRY, name, None, outer)
            inner = whole[0]
            current.set(inner)
    try:
        while True:
            if active:
                scope = manager.begin(_ATTEMPT, name, None, inner, None, number)
                current.set(scope[0])
            try:
                if attempt_timeout is None:
                    value = await call()
                else:
                    async with asyncio.timeout(attempt_timeout):
                        value = await call()
            except BaseException as error:
                if scope is not None:
                    manager.leave(scope, inner, error)
                if not isinstance(error, Exception):
                    raise
                if task is not None and task.cancelling() > cancels:
                    raise  # it answers a cancel with an exception of its own; another attempt would undo the cancel
                pause = pause_after(error, number)
                if pause is None or too_late(pause, deadline):
                    raise
                reason = type(error).__name__
            else:
                if scope is not None:
                    manager.leave(scope, inner, None)
                return value
            await back_off(manager, name, number, pause, reason)
            number += 1
    except BaseException as raised:
        failure = raised
        raise
    finally:
        if whole is not None:
            manager.leave(whole, outer, failure)
        failure = task = None  # or its traceback and this frame, or this task, would keep each other alive


def too_late(pause: float, deadline: float) -> bool:
    """Tell whether a pause of that many seconds would end after the deadline, or after any that is in force."""
    return asyncio.get_running_loop().time() + pause > min(deadline, effective_deadline())


async def back_off(manager: CallbackManager, name: str, number: int, pause: float, reason: str) -> None:
    """Sleep `pause` seconds after failed attempt `number`, seen by handlers and by the batch's counts."""
    if not manager.active:
        await asyncio.sleep(pause)
        return
    event = manager.current.get()
    job = None if event is None else event.job
    counts = None if job is None else job.family.counts
    with manager.attempt(EventType.BACKOFF, name, number, {keys.DELAY_S: pause, keys.ERROR: reason}):
        if counts is not None:
            counts.backing_off += 1
        try:
            await asyncio.sleep(pause)
        finally:
            if counts is not None:
                counts.backing_off -= 1
                counts.retried += 1
    if job is not None:
        detail = detail_of(job)
        detail.attempt = max(detail.attempt or 0, number + 1)
