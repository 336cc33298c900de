"""`race`: the first of several."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Literal, TypeVar

from spanloom.concurrency.runner import Run
from spanloom.concurrency.sink import MISSING, Sink
from spanloom.events.event import JobEvent

__all__ = ["race"]

T = TypeVar("T")


class _RaceSink(Sink):
    """Keeps the first result, and all exceptions."""

    def __init__(self, *, success: bool) -> None:
        self._success = success
        self.winner: Any = MISSING
        self.errors: list[Exception] = []

    def ok(self, index: int, record: JobEvent | None, value: object) -> bool:
        if self.winner is MISSING:  # a loser may still return while it is being cancelled
            self.winner = value
        return True

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        self.errors.append(error)
        return not self._success


async def race(*aws: Awaitable[T], first: Literal["completed", "success"] = "completed") -> T:
    """Run awaitables at once, return the result of the first to end, and cancel the others.

    All of them have ended when this returns. If several end in the same turn of the event loop, the
    one that ended first wins.

    Args:
        aws: At least one coroutine, task, future or other awaitable.
        first: ``"completed"``: the first to end wins, and its exception is raised if it failed.
            ``"success"``: the first to succeed wins; failures count only if all fail.

    Raises:
        Exception: the winner's, the same object.
        ExceptionGroup: with ``first="success"``, if all failed: all of their exceptions, in the
            order in which they were raised.
        asyncio.CancelledError: if this call, or one of them before there was a winner, is cancelled.
        ValueError: there are no awaitables, or `first` is not one of the two.
    """
    if first not in ("completed", "success"):
        raise ValueError(f"first must be 'completed' or 'success' (got {first!r})")
    if not aws:
        raise ValueError("race needs at least one awaitable: there is no first of none")
    sink = _RaceSink(success=first == "success")
    await Run.unbounded("race", aws, sink).run()
    errors, sink.errors = sink.errors, []  # their tracebacks lead to the sink: see ListSink.results
    if sink.winner is MISSING:
        raise ExceptionGroup(f"all {len(aws)} awaitables of the race failed", errors)
    winner: T = sink.winner
    return winner
