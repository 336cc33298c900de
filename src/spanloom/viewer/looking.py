"""A look at a run in its record: read what is open, and put together what the run is at."""

from __future__ import annotations

import time
from collections import deque

from spanloom.events.types import EventType
from spanloom.store.model import Run, RunState
from spanloom.store.reader import StoreReader
from spanloom.viewer.top import ENDED_BATCHES, WINDOW_NS, Now, look

__all__ = ["look_at"]


def look_at(store: StoreReader, run: Run) -> Now:
    """Return what `run` is at: now if it is running, else when it was last heard of.

    Args:
        store: The record, open.
        run: The run, as it was found there, however long ago.
    """
    # In this order: what the run says that it has produced is then never less than what is counted here.
    summary = store.summary(run)
    run = store.find(run.run_id)
    now_ns = run.seen_ns
    if run.state == RunState.RUNNING:
        now_ns = max(now_ns, time.time_ns() - run.started_wall_ns)
    still_open = list(store.records(run, is_open=True))
    batches = [record for record in still_open if record.type == EventType.BATCH]
    if not batches:
        batches = list(deque(store.records(run, types=[EventType.BATCH]), maxlen=ENDED_BATCHES))
    return look(run, now_ns, summary, batches, still_open, store.jobs_ended_since(run, now_ns - WINDOW_NS))
