"""Failures raised together, as by a task group."""

from __future__ import annotations

import asyncio

from spanloom.concurrency.engine import Engine
from spanloom.concurrency.runner import Run
from spanloom.concurrency.sink import ListSink, Sink
from spanloom.concurrency.stream import StreamSink
from spanloom.events.event import JobEvent
from spanloom.exceptions import HandlerError

__all__ = ["Failures", "GroupSink", "GroupStreamSink", "run_together"]


class Failures:
    """Collects the failures of one batch, and stops it after the first.

    A task group cancels its tasks one turn of the loop after a failure. What fails in the same turn, or
    later while it is being cancelled, is a failure of its own, and none may hide another.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.engine: Engine | None = None
        self._first: Exception | None = None

    def add(self, error: Exception) -> bool:
        """Add a failure of the running batch; return True if the batch has to stop at once."""
        if isinstance(error, HandlerError):
            return True  # not a job's error; only with raise_handler_errors=True
        self.errors.append(error)
        if self._first is not None:
            return False
        self._first = error
        loop = asyncio.get_running_loop()
        if loop.get_task_factory() is not None:
            return True  # eager tasks: by the next turn, the batch may have ended as if nothing had happened
        loop.call_soon(self._stop)
        return False

    def _stop(self) -> None:
        if self.engine is not None:
            self.engine.stop(self._first)

    def caused(self, error: Exception) -> bool:
        """Return whether `error` is the one that stopped the batch."""
        return error is self._first

    def end(self) -> list[Exception]:
        """Return the failures, and drop them; call it when all jobs have ended."""
        errors, self.errors = self.errors, []
        self.engine = self._first = None  # the traceback of an error leads here
        return errors


class _Together(Sink):
    """Adds the collection of failures to a sink."""

    failures: Failures

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        return self.failures.add(error)

    def late(self, error: Exception) -> None:
        self.failures.errors.append(error)


class GroupSink(_Together, ListSink):
    """Results in input order, or all failures."""

    def __init__(self) -> None:
        super().__init__("raise")
        self.failures = Failures()


class GroupStreamSink(_Together, StreamSink):
    """Outcomes as jobs end, until one fails."""

    def __init__(self) -> None:
        super().__init__("raise")
        self.failures = Failures()


async def run_together(run: Run, sink: GroupSink) -> list[object]:
    """Run a batch and return its results.

    Raises:
        ExceptionGroup: the failures of its jobs, in the order in which they came.
        BaseException: anything else that ended the batch early, unchanged.
    """
    failures = sink.failures
    failures.engine = run.engine
    try:
        try:
            await run.run()
        except Exception as error:
            if not failures.caused(error):
                raise
    finally:
        errors = failures.end()
    try:
        if errors:
            raise ExceptionGroup(f"unhandled errors in {run.runner}", errors)
    finally:
        del errors  # its frame would keep the tracebacks alive, and they their frames
    return sink.results()
