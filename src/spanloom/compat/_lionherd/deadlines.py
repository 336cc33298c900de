"""Scopes with a deadline, and the deadline of the caller, as its jobs see it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

import anyio
from anyio import CancelScope

from spanloom.concurrency import deadline as own

__all__ = [
    "CancelScope",
    "HandedDown",
    "ambient",
    "effective_deadline",
    "fail_after",
    "fail_at",
    "move_on_after",
    "move_on_at",
    "unlimited",
]


@contextlib.contextmanager
def fail_after(seconds: float | None) -> Iterator[CancelScope]:
    """Cancel the block after that many seconds and raise ``TimeoutError``.

    Args:
        seconds: From the entry on; ``None`` for no deadline. The block can be cancelled from outside either way.

    Raises:
        TimeoutError: the deadline ended the block.
    """
    with anyio.fail_after(seconds) as scope:
        yield scope


@contextlib.contextmanager
def move_on_after(seconds: float | None) -> Iterator[CancelScope]:
    """Cancel the block after that many seconds, and continue after it.

    Args:
        seconds: From the entry on; ``None`` for no deadline. The block can be cancelled from outside either way.

    Returns:
        A context manager that gives a scope: its ``cancelled_caught`` tells whether the deadline ended the block.
    """
    with anyio.move_on_after(seconds) as scope:
        yield scope


@contextlib.contextmanager
def fail_at(deadline: float | None) -> Iterator[CancelScope]:
    """Cancel the block at a time on the clock of `current_time` and raise ``TimeoutError``.

    Args:
        deadline: One that has passed ends the block at its first ``await``; ``None`` for no deadline.

    Raises:
        TimeoutError: the deadline ended the block.
    """
    with move_on_at(deadline) as scope:
        yield scope
    if scope.cancelled_caught and anyio.current_time() >= scope.deadline:
        raise TimeoutError


@contextlib.contextmanager
def move_on_at(deadline: float | None) -> Iterator[CancelScope]:
    """Cancel the block at a time on the clock of `current_time`, and continue after it.

    Args:
        deadline: One that has passed ends the block at its first ``await``; ``None`` for no deadline.

    Returns:
        A context manager that gives a scope, as `move_on_after` does.
    """
    with CancelScope(deadline=math.inf if deadline is None else deadline) as scope:
        yield scope


def effective_deadline() -> float | None:
    """Return the earliest deadline that the caller runs under, on the clock of `current_time`.

    Considers these scopes, anyio's own, ``asyncio.timeout`` and, in a job of `gather`, `race`, `bounded_map` or
    `CompletionStream`, those around that call.

    Returns:
        The deadline; ``None`` if there is none.
    """
    deadline = ambient()
    return None if math.isinf(deadline) and deadline > 0 else deadline


class HandedDown:
    """The deadline around a call, for its jobs, which are tasks outside of the caller's scopes.

    Attributes:
        deadline: On the loop's clock; ``math.inf`` for none.
        over: True when the call has ended. A task that a job has left behind has the context of that job,
            but no scope that would end it any more.
    """

    __slots__ = ("deadline", "over")

    def __init__(self) -> None:
        self.deadline = ambient()
        self.over = False

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """Pass the deadline to the jobs started in this block, by their copy of its context."""
        with _handing(None if math.isinf(self.deadline) else self):
            yield


@contextlib.contextmanager
def unlimited() -> Iterator[None]:
    """Hide, in the block, the deadlines around the batch of the running job."""
    with _handing(None):
        yield


@contextlib.contextmanager
def _handing(handed: HandedDown | None) -> Iterator[None]:
    token = _handed_down.set(handed)
    try:
        yield
    finally:
        try:
            _handed_down.reset(token)
        except ValueError:  # closed from another context, which then never had it
            pass


_handed_down: ContextVar[HandedDown | None] = ContextVar("spanloom_lionherd_deadline", default=None)


def ambient() -> float:
    """Return the earliest deadline that the caller runs under; ``math.inf`` for none."""
    handed = _handed_down.get()
    deadline = own.effective_deadline()
    return deadline if handed is None or handed.over else min(deadline, handed.deadline)
