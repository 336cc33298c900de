"""The finding UNKNOWN for batches, or the process, that have stood still for the stall time without a known reason."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.look import forget, look
from spanloom.diagnosis.stuck import APART_S
from spanloom.diagnosis.unknown import unknown_batch, unknown_process
from spanloom.diagnosis.watch.stalls import Reporter
from spanloom.events.event import Event

__all__ = ["unexplained"]

MAX_BATCHES: Final = 5


def unexplained(reporter: Reporter) -> Iterator[Finding]:
    """Yield what stands still; to be called if nothing else was found.

    Costs two looks, but nothing unless something has stood still for so long.
    """
    now_s = time.monotonic()
    stalled = reporter.stalled(now_s)[:MAX_BATCHES]
    still_s = reporter.still_s(now_s)
    if not stalled and still_s is None:
        return
    earlier = look()
    time.sleep(APART_S)
    snapshot = look()
    try:
        found = False
        for event, stalled_s in stalled:
            finding = unknown_batch(snapshot, earlier, _jobs_of(event), event.name, stalled_s)
            if finding is not None:
                found = True
                yield finding
        if not found and still_s is not None:
            finding = unknown_process(snapshot, earlier, still_s)
            if finding is not None:
                yield finding
    finally:
        forget(earlier)
        forget(snapshot)


def _jobs_of(event: Event) -> list[int]:
    """Return the keys of the tasks of the jobs in flight."""
    live = None if event.counts is None else event.counts._live  # noqa: SLF001 -- what shows the runner
    alive = getattr(None if live is None else live(), "_alive", None)
    return [id(task) for task in list(alive.values()) if task is not None] if type(alive) is dict else []
