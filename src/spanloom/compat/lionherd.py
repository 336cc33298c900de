"""The names of ``lionherd_core.libs.concurrency``, on spanloom's engine.

Change the import and keep the code: every `gather`, `race`, `bounded_map`, `CompletionStream` and `retry` is a
batch with events from then on. Needs asyncio; locks, scopes and task groups are anyio's.
"""

from builtins import ExceptionGroup  # noqa: A004 -- the very name is exported

from anyio import create_task_group
from anyio.abc import TaskGroup

from spanloom.compat._lionherd.calls import current_time, is_coro_func, run_async, run_sync, sleep
from spanloom.compat._lionherd.cancelling import (
    get_cancelled_exc_class,
    is_cancelled,
    non_cancel_subgroup,
    shield,
    split_cancellation,
)
from spanloom.compat._lionherd.completion import CompletionStream
from spanloom.compat._lionherd.deadlines import (
    CancelScope,
    effective_deadline,
    fail_after,
    fail_at,
    move_on_after,
    move_on_at,
)
from spanloom.compat._lionherd.leaks import LeakInfo, LeakTracker, track_resource, untrack_resource
from spanloom.compat._lionherd.patterns import bounded_map, gather, race
from spanloom.compat._lionherd.primitives import CapacityLimiter, Condition, Event, Lock, Queue, Semaphore
from spanloom.compat._lionherd.priority import PriorityQueue, QueueEmpty, QueueFull
from spanloom.compat._lionherd.retrying import retry

__all__ = [
    "CancelScope",
    "CapacityLimiter",
    "CompletionStream",
    "ConcurrencyEvent",
    "Condition",
    "Event",
    "ExceptionGroup",
    "LeakInfo",
    "LeakTracker",
    "Lock",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "Semaphore",
    "TaskGroup",
    "bounded_map",
    "create_task_group",
    "current_time",
    "effective_deadline",
    "fail_after",
    "fail_at",
    "gather",
    "get_cancelled_exc_class",
    "is_cancelled",
    "is_coro_func",
    "move_on_after",
    "move_on_at",
    "non_cancel_subgroup",
    "race",
    "retry",
    "run_async",
    "run_sync",
    "shield",
    "sleep",
    "split_cancellation",
    "track_resource",
    "untrack_resource",
]

ConcurrencyEvent = Event
