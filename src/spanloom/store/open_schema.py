"""The table of open events: one of the numbered migrations of the file, and how the views show it.

Most events that outlive a flush end soon after. Giving each a row of its own, and writing that again at its end, takes
longer than all the rest of recording it. So they are written some hundreds to a row, which never changes: when three in
four have ended, the others move to a new row. An event that has ended has its row among the events, and counts as
ended even if a list still has it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ENTRY", "EVENTS", "LISTED", "OPEN_TABLES"]

ENTRY: Final = (
    "start_ns",
    "event_id",
    "label",
    "trace",
    "parent_id",
    "batch_id",
    "job_index",
    "queue_ns",
    "attempt",
)
"""Columns of `event` that a list has of each event, in that order."""

_UNLISTED: Final = ("end_ns", "status", "busy_ns", "error", "payload")

EVENTS: Final = """
SELECT
    run.run_id,
    label.type,
    label.name,
    printf('%016x', event.event_id) AS event_id,
    CASE WHEN event.parent_id IS NOT NULL THEN printf('%016x', event.parent_id) END AS parent_id,
    trace.trace_id,
    strftime('%Y-%m-%d %H:%M:%f', (run.started_wall_ns + event.start_ns) / 1e9, 'unixepoch') AS started_at,
    event.start_ns / 1e6 AS start_ms,
    (event.end_ns - event.start_ns) / 1e6 AS duration_ms,
    event.status,
    event.queue_ns / 1e6 AS queue_ms,
    event.busy_ns / 1e6 AS busy_ms,
    event.attempt,
    event.job_index,
    CASE WHEN event.batch_id IS NOT NULL THEN printf('%016x', event.batch_id) END AS batch_id,
    batch.name AS batch,
    event.is_point,
    error.type AS error_type,
    error.message AS error_message,
    event.payload
FROM {events} AS event
JOIN run ON run.id = event.run
JOIN label ON label.run = event.run AND label.id = event.label
JOIN trace ON trace.run = event.run AND trace.id = event.trace
LEFT JOIN batch ON batch.run = event.run AND batch.batch_id = event.batch_id
LEFT JOIN error ON error.run = event.run AND error.id = event.error
WHERE NOT run.expired"""

LISTED: Final = f"""(
    SELECT open_list.run, {", ".join(f"json_extract(entry.value, '$[{at}]') AS {it}" for at, it in enumerate(ENTRY))},
           0 AS is_point, {", ".join(f"NULL AS {column}" for column in _UNLISTED)}
    FROM open_list, json_each(open_list.events) AS entry
)"""  # noqa: S608 -- our own names

OPEN_TABLES: Final = (
    """
CREATE TABLE open_list (
    run    INTEGER NOT NULL REFERENCES run (id),
    id     INTEGER NOT NULL,
    events TEXT    NOT NULL, -- JSON array of [start_ns, event_id, ...]; those of them that `event` has not have no end
    PRIMARY KEY (run, id)
) WITHOUT ROWID""",
    "DROP VIEW jobs",
    "DROP VIEW events",
    f"""
CREATE VIEW events AS{EVENTS.format(events="event")}
UNION ALL{EVENTS.format(events=LISTED)}
  AND NOT EXISTS (
    SELECT 1 FROM event AS ended
    WHERE ended.run = event.run AND ended.start_ns = event.start_ns AND ended.event_id = event.event_id
)""",  # noqa: S608 -- our own names
    """
CREATE VIEW jobs AS SELECT * FROM events WHERE type = 'job'""",
)
