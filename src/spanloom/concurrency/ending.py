"""The end of a job that did not return."""

from __future__ import annotations

from asyncio import CancelledError

from spanloom.callbacks.batch import BatchScope
from spanloom.concurrency.busy import BusyMeter
from spanloom.events.clock import monotonic_ns
from spanloom.events.error import ErrorInfo
from spanloom.events.event import JobEvent, complete_job, detail_of
from spanloom.events.types import status_of

__all__ = ["end_record"]


def end_record(
    record: JobEvent | None, scope: BatchScope, busy: BusyMeter | None, error: BaseException
) -> None:
    """Count the end in the batch, and complete and deliver the job's event."""
    if isinstance(error, CancelledError):
        scope.counts.cancelled += 1
    else:
        scope.counts.failed += 1
    if record is None or record.end_ns is not None:
        return
    if busy is not None:
        busy.split(record)
    detail = detail_of(record)
    detail.status = status_of(error)
    detail.error = ErrorInfo.of(error)
    complete_job(record, monotonic_ns())
    if scope.deliver is not None:
        scope.deliver(record)
