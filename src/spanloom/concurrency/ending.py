"""The end of a job that did not return."""

from __future__ import annotations

from asyncio import CancelledError

from spanloom.callbacks.batch import BatchScope
from spanloom.concurrency.busy import BusyMeter
from spanloom.events.clock import monotonic_ns
from spanloom.events.error import ErrorInfo
from spanloom.events.event import JobEvent, detail_of, write_event
from spanloom.events.types import status_of
from spanloom.exceptions import HandlerError

__all__ = ["end_record"]


def end_record(
    record: JobEvent | None,
    scope: BatchScope,
    busy: BusyMeter | None,
    error: BaseException,
    *,
    start: bool = False,
    ended_ns: int | None = None,
) -> HandlerError | None:
    """Count the end in the batch, and complete and deliver the job's event.

    Args:
        record: The job's event, if anyone wants it.
        scope: The batch's events.
        busy: Measures busy time, if deep timing is on.
        error: What ended the job.
        start: Deliver the start first, because the job ended before its first step.
        ended_ns: When it ended; ``None`` for now.

    Returns:
        The failure of a handler under ``raise_handler_errors``. Returned, not raised: the caller must
        remove the job from the table of live jobs in any case.
    """
    if issubclass(type(error), (CancelledError, GeneratorExit)):  # see status_of
        scope.counts.cancelled += 1
    else:
        scope.counts.failed += 1
    if record is None or record.end_ns is not None:
        return None
    detail = detail_of(record)
    detail.status = status_of(error)
    detail.error = ErrorInfo.of(error)
    try:
        if start and scope.starts is not None:
            scope.starts(record)
        if busy is not None:
            busy.split(record)
        write_event(record, "end_ns", monotonic_ns() if ended_ns is None else ended_ns)
        if scope.deliver is not None:
            scope.deliver(record)
        if scope.deliver_too is not None:
            scope.deliver_too(record)
    except HandlerError as harm:
        if record.end_ns is None:
            write_event(record, "end_ns", monotonic_ns())
        return harm
    return None
