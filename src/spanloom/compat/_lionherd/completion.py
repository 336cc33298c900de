"""`CompletionStream`: results as they come."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Sized
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from spanloom.compat._lionherd.deadlines import HandedDown
from spanloom.compat._lionherd.failures import GroupStreamSink
from spanloom.compat._lionherd.patterns import check_limit
from spanloom.concurrency.call import compose
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.runner import Run
from spanloom.concurrency.source import Source
from spanloom.concurrency.stream import OutcomeStream
from spanloom.exceptions import HandlerError

__all__ = ["CompletionStream"]

T = TypeVar("T")


class CompletionStream(Generic[T]):
    """Run awaitables and yield ``(index, result)`` of each as soon as it has ended, in that order.

    ::

        async with CompletionStream(tasks, limit=5) as stream:
            async for index, result in stream:
                ...

    Jobs go on while the body does something else; no slot waits for the consumer. Leaving the block cancels
    those that run and waits for them; those that have not started never start.

    Args:
        aws: The awaitables; any iterable.
        limit: How many run at once, at least 1, or one of spanloom's limiters; ``None`` for no bound.

    Raises:
        ExceptionGroup: out of the ``async with`` block, if a job failed: its exception, those of others that
            failed in the same turn of the loop or on being cancelled, and that of the body, which comes first.
            The iteration raises it, too.
        ValueError: `limit` is below 1.
        RuntimeError: by iterating outside of the block, or entering it twice.
        asyncio.CancelledError: by iterating, if a job was cancelled by itself or from outside.
    """

    def __init__(
        self, aws: Iterable[Awaitable[T]] | AsyncIterable[Awaitable[T]], *, limit: int | Limiter | None = None
    ) -> None:
        check_limit(limit)
        self.aws = aws
        self.limit = limit
        self._sink = GroupStreamSink()
        self._errors: list[Exception] = []
        self._raised: ExceptionGroup[Exception] | None = None
        self._completed_count = 0  # these two are in lionherd's reference, underscore and all
        self._total_count = len(aws) if isinstance(aws, Sized) else None
        self._handed: HandedDown | None = None
        self._stream: OutcomeStream[T] | None = None

    async def __aenter__(self) -> Self:
        if self._handed is not None:
            raise RuntimeError("a CompletionStream can be entered only once; make another one")
        run = Run.bounded(
            "CompletionStream",
            Source.of(self.aws, "aws"),
            self._sink,
            limit=self.limit,
            call=compose(None, timeout=None, retry=None, limit=self.limit),
        )
        self._handed = HandedDown()
        self._sink.failures.engine = run.engine
        with self._handed.given():
            self._stream = await OutcomeStream[T](run, self._sink).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stream, self._stream = self._stream, None
        if stream is None or self._handed is None:
            return
        try:
            await stream.__aexit__(kind, error, traceback)
        except Exception as failure:
            if not self._sink.failures.caused(failure):
                raise
        finally:
            self._handed.over = True
            raised, self._raised = self._raised, None
            errors, self._errors = self._errors + self._sink.failures.end(), []
        try:
            if error is None:
                self._raise(errors)
            elif isinstance(error, Exception) and error is not raised and not isinstance(error, HandlerError):
                self._raise([error, *errors])
        finally:
            del errors, raised, error  # this frame would keep the tracebacks alive, and they their frames

    def __aiter__(self) -> Self:
        self._entered()
        return self

    async def __anext__(self) -> tuple[int, T]:
        try:
            outcome = await anext(self._entered())
        except Exception as error:
            failures = self._sink.failures
            if not (failures.caused(error) or (isinstance(error, StopAsyncIteration) and failures.errors)):
                raise
        else:
            self._completed_count += 1
            return outcome.index, cast("T", outcome.value)
        self._errors += self._sink.failures.end()
        group = self._raised = ExceptionGroup("unhandled errors in CompletionStream", self._errors)
        try:
            raise group
        finally:
            del group

    def _entered(self) -> OutcomeStream[T]:
        if self._stream is None:
            raise RuntimeError(
                "CompletionStream must be used as async context manager: async with CompletionStream(...) as stream:"
            )
        return self._stream

    def _raise(self, errors: list[Exception]) -> None:
        try:
            if errors:
                raise ExceptionGroup("unhandled errors in CompletionStream", errors) from None
        finally:
            del errors
