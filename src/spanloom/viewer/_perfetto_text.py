"""What the picture of a run says: on its slices, when one clicks on them, and of the run as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from spanloom.events import EventStatus, EventType
from spanloom.store.model import Record, Run
from spanloom.viewer._frames import place

__all__ = ["MAX_TEXT", "about", "arguments", "label"]

MAX_TEXT: Final = 500
"""Characters of one argument of a slice."""


def label(record: Record) -> str:
    """Return what stands on a slice: few different texts, because its colour and its statistics go by them."""
    name = record.name
    if record.type == EventType.ATTEMPT:
        name = f"attempt {record.attempt}"
    elif record.type == EventType.BACKOFF:
        name = "back-off"
    elif record.type == EventType.SLOT_WAIT:
        name = f"wait for {record.name}"
    if record.end_ns is None and record.status is None:
        return f"{name} [open]"
    return name if record.status in (None, EventStatus.OK) else f"{name} [{record.status}]"


def arguments(record: Record) -> dict[str, object]:
    """Return what the picture tells of an event when it is clicked on."""
    told: dict[str, object] = {"type": record.type}
    if record.status is not None:
        told["status"] = record.status
    if record.type == EventType.JOB:
        told["index"] = record.job_index
    for key, nanoseconds in (("queue_ms", record.queue_ns), ("busy_ms", record.busy_ns)):
        if nanoseconds is not None:
            told[key] = nanoseconds / 1e6
    if record.attempt is not None:
        told["attempt"] = record.attempt
    if record.error is not None:
        told["error"] = f"{record.error.type}: {record.error.message}"[:MAX_TEXT]
        if record.error.frames:
            frame = record.error.frames[-1]
            told["raised at"] = place(frame)[:MAX_TEXT]
    counts = record.counts
    if counts is not None:
        told["jobs"] = {
            "total": counts.total,
            "started": counts.started,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "retried": counts.retried,
        }
    plain = dict(_plain(record.payload or {}))
    if plain:
        told["payload"] = plain
    told["event_id"] = f"{record.event_id:016x}"
    return told


def _plain(payload: dict[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in payload.items():
        if isinstance(value, str):
            yield key, value[:MAX_TEXT]
        elif isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
            yield key, value


def about(run: Run) -> dict[str, object]:
    """Return what the picture says of the run as a whole."""
    return {
        "run": run.run_id,
        "name": run.name,
        "state": run.state,
        "host": run.host,
        "pid": run.pid,
        "python": run.python,
        "spanloom": run.version,
        "started": datetime.fromtimestamp(run.started_wall_ns // 1_000_000_000, UTC).isoformat(),
        "produced": run.produced,
        "dropped": run.dropped,
    }
