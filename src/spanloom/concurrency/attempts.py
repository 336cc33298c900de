"""The loop of attempts and back-offs; the policy is a function."""

from __future__ import annotations

import asyncio
import math
from asyncio import current_task
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.retries import Begun, BegunRetry
from spanloom.callbacks.tries import Try
from spanloom.concurrency.deadline import effective_deadline
from spanloom.concurrency.names import name_of
from spanloom.events import keys
from spanloom.events.event import Event, detail_of
from spanloom.events.types import EventType

__all__ = [
    "Failed",
    "back_off",
    "cancels_of_task",
    "first_failed",
    "make_attempts",
    "make_retry",
    "too_late",
    "try_again",
]

T = TypeVar("T")

PauseAfter = Callable[[Exception, int], float | None]


async def make_attempts(
    call: Callable[[], Awaitable[T]],
    name: str,
    pause_after: PauseAfter,
    attempt_timeout: float | None,
    deadline: float = math.inf,
    *,
    failed: Failed | None = None,
) -> T:
    """Await ``call()`` until it succeeds.

    Args:
        call: Makes the awaitable of one attempt.
        name: Name of the events.
        pause_after: Given the exception and the number of the attempt, from 1, returns the seconds
            to pause, or ``None`` to raise the exception.
        attempt_timeout: Seconds that one attempt may take, or ``None``.
        deadline: On the loop's clock, if the caller knows one. No pause begins that would end later.
        failed: The failed first attempt, if it has been made already.

    Raises:
        Exception: what the last attempt raised.
        BaseException: anything else is raised at once.
    """
    manager = get_callback_manager()
    active = manager.active
    cancels, number = cancels_of_task(), 1
    if failed is not None:
        cancels, number = failed.cancels, 2
        await back_off(manager, name, 1, failed.pause_s, failed.reason)
    begun = None
    inner = manager.current.get()
    while True:
        if active:
            begun = manager.begin_attempt(name, number, inner)
        try:
            if attempt_timeout is None:
                value = await call()
            else:
                async with asyncio.timeout(attempt_timeout):
                    value = await call()
        except BaseException as error:
            if begun is not None:
                manager.end_attempt(begun, inner, error)
            pause_s = _pause_s(error, number, cancels, pause_after, deadline)
            if pause_s is None:
                raise
            reason = type(error).__name__
        else:
            if begun is not None:
                manager.end_attempt(begun, inner, None)
            return value
        await back_off(manager, name, number, pause_s, reason)
        number += 1


async def make_retry(
    call: Callable[[], Awaitable[T]],
    name: str,
    pause_after: PauseAfter,
    attempt_timeout: float | None,
    deadline: float = math.inf,
) -> T:
    """Await ``call()`` until it succeeds, with an event of type ``retry`` around the attempts and pauses.

    Args:
        call, pause_after, attempt_timeout, deadline: As for `make_attempts`.
        name: Name of the events; empty for the name of `call`.

    Raises:
        BaseException: as `make_attempts` does.
    """
    manager = get_callback_manager()
    name = name or (name_of(call) or "retry" if manager.active else "")
    cancels = cancels_of_task()
    begun = manager.begin_retry(name) if manager.active else None
    try:
        if attempt_timeout is None:
            value = await call()
        else:
            async with asyncio.timeout(attempt_timeout):
                value = await call()
    except BaseException as error:
        failed = first_failed(manager, begun, error, cancels, pause_after, deadline)
        if failed is None:
            raise
    else:
        if begun is not None:
            manager.end_retry(begun)
        return value
    return await try_again(failed, call, name, pause_after, attempt_timeout, deadline)


class Failed(msgspec.Struct, frozen=True, eq=False):
    """A failed first attempt that another one is to follow.

    Attributes:
        manager: Carries the events.
        whole: The event of type ``retry`` around the attempts; ``None`` if nobody listens.
        outer: The event that was current before the retry.
        cancels: What `cancels_of_task` returned before the attempt.
        pause_s: Seconds to pause.
        reason: Name of the exception's class.
    """

    manager: CallbackManager
    whole: Begun | None
    outer: Event | None
    cancels: int
    pause_s: float
    reason: str


def first_failed(
    manager: CallbackManager,
    begun: Try | BegunRetry | None,
    error: BaseException,
    cancels: int,
    pause_after: PauseAfter,
    deadline: float = math.inf,
) -> Failed | None:
    """End a retry's first attempt, which raised, and decide whether another one follows.

    Args:
        manager: Carries the events.
        begun: What its `begin_retry` returned; ``None`` if nobody listens.
        error: What the attempt raised.
        cancels: What `cancels_of_task` returned before the attempt.
        pause_after, deadline: As for `make_attempts`.

    Returns:
        The argument for `try_again`; ``None`` if the caller must raise `error`: the retry has been ended with it.

    Raises:
        BaseException: what `pause_after` raised; the retry has been ended with it.
    """
    whole = outer = None
    if begun is not None:
        whole, outer = manager.fail_retry(begun, error)
    end: BaseException | None = error
    try:
        pause_s = _pause_s(error, 1, cancels, pause_after, deadline)
        if pause_s is not None:
            end = None
            return Failed(manager, whole, outer, cancels, pause_s, type(error).__name__)
    except BaseException as raised:
        end = raised
        raise
    finally:
        if end is not None and whole is not None:
            manager.leave(whole, outer, end)
        end = None  # else its traceback and this frame would keep each other alive
    return None


async def try_again(
    failed: Failed,
    call: Callable[[], Awaitable[T]],
    name: str,
    pause_after: PauseAfter,
    attempt_timeout: float | None,
    deadline: float = math.inf,
) -> T:
    """Make the further attempts of a retry whose first one failed, then end the retry; see `make_retry`."""
    failure: BaseException | None = None
    try:
        return await make_attempts(call, name, pause_after, attempt_timeout, deadline, failed=failed)
    except BaseException as raised:
        failure = raised
        raise
    finally:
        if failed.whole is not None:
            failed.manager.leave(failed.whole, failed.outer, failure)
        failure = None  # the same


def cancels_of_task() -> int:
    """Return ``cancelling()`` of the current task: requests to cancel it, less those taken back; 0 without a task."""
    task = current_task()
    return 0 if task is None else task.cancelling()


def _pause_s(
    error: BaseException, number: int, cancels: int, pause_after: PauseAfter, deadline: float
) -> float | None:
    """Return the seconds to pause after attempt `number` has raised `error`; ``None`` to raise that."""
    if not isinstance(error, Exception):
        return None
    if cancels_of_task() > cancels:
        return None  # it turned a cancel into an exception of its own; another attempt would undo the cancel
    pause_s = pause_after(error, number)
    return None if pause_s is None or too_late(pause_s, deadline) else pause_s


def too_late(pause: float, deadline: float) -> bool:
    """Tell whether a pause of `pause` seconds would end after `deadline`, or after `effective_deadline`."""
    return asyncio.get_running_loop().time() + pause > min(deadline, effective_deadline())


async def back_off(manager: CallbackManager, name: str, number: int, pause: float, reason: str) -> None:
    """Sleep `pause` seconds after failed attempt `number`, with a ``backoff`` event, and count it in the batch."""
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
