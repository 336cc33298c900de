"""The table of lists of jobs: one of the numbered migrations of the file, and how the views show it.

Inserting a job as a row takes several times as long as all the rest of recording it. So jobs of one batch that ended
``ok`` with nothing but their times are written by the thousand into one row, which never changes. All other jobs have
rows of their own in `event`, and so have these where few end at a time.
"""

from __future__ import annotations

from typing import Final

from spanloom.events.ids import STRIDE
from spanloom.store.open_schema import EVENTS, LISTED

__all__ = ["JOB_TABLES", "MAX_INDEX"]

MAX_INDEX: Final = (1 << 30) - 1
"""Greatest index of a job in a list: up to here, the view can compute its id in 64-bit integers."""

_HALF: Final = (1 << 32) - 1
# The columns of each job in a list: see the table.
_START, _END, _INDEX = (f"json_extract(job.value, '$[{at}]')" for at in range(3))
# `event_id_at` modulo 2**64, computed in halves of 32 bits, as SQLite's integers would overflow.
_LOW: Final = f"((list.base_id & {_HALF}) + ({_INDEX} + 1) * {STRIDE & _HALF})"
_HIGH: Final = f"((list.base_id >> 32) + ({_INDEX} + 1) * {STRIDE >> 32} + ({_LOW} >> 32))"

_ID: Final = f"(({_HIGH} & {_HALF}) << 32) | ({_LOW} & {_HALF})"

_JOBS: Final = f"""(
    SELECT list.run, {_START} AS start_ns, {_ID} AS event_id,
           list.label, list.trace, list.batch_id AS parent_id, list.batch_id, {_INDEX} AS job_index,
           {_START} - coalesce(list.ready_ns, {_START}) AS queue_ns, NULL AS attempt, 0 AS is_point,
           {_END} AS end_ns, 'ok' AS status, NULL AS busy_ns, NULL AS error, NULL AS payload
    FROM job_list AS list, json_each(list.jobs) AS job
)"""  # noqa: S608 -- our own names

_ENDED: Final = f"""
  AND NOT EXISTS (
    SELECT 1 FROM event AS ended
    WHERE ended.run = event.run AND ended.start_ns = event.start_ns AND ended.event_id = event.event_id
)
  AND (event.run, event.event_id) NOT IN (
    SELECT list.run, {_ID} FROM job_list AS list, json_each(list.jobs) AS job
    WHERE list.was_open AND list.run IN (SELECT run FROM open_list)
)"""  # noqa: S608 -- our own names

JOB_TABLES: Final = (
    """
CREATE TABLE job_list (
    run          INTEGER NOT NULL REFERENCES run (id),
    id           INTEGER NOT NULL,
    label        INTEGER NOT NULL,
    trace        INTEGER NOT NULL,
    batch_id     INTEGER NOT NULL, -- also the parent's id
    base_id      INTEGER NOT NULL, -- event_id: base_id + (job_index + 1) * 0x9E3779B97F4A7C15, of that 64 bits
    ready_ns     INTEGER,          -- queue_ns: start_ns - ready_ns, or 0
    first_ns     INTEGER NOT NULL, -- the first start
    last_ns      INTEGER NOT NULL, -- the last start
    first_end_ns INTEGER NOT NULL,
    last_end_ns  INTEGER NOT NULL,
    was_open     INTEGER NOT NULL, -- 1: some may be in an `open_list`, too, and have ended
    count        INTEGER NOT NULL,
    jobs         TEXT    NOT NULL, -- JSON array of [start_ns, end_ns, job_index]; status: ok
    PRIMARY KEY (run, id),
    FOREIGN KEY (run, label) REFERENCES label (run, id),
    FOREIGN KEY (run, trace) REFERENCES trace (run, id)
) WITHOUT ROWID""",
    "CREATE INDEX job_list_starts ON job_list (run, first_ns, last_ns, was_open)",
    "CREATE INDEX job_list_ends ON job_list (run, last_end_ns)",
    "DROP VIEW jobs",
    "DROP VIEW events",
    f"""
CREATE VIEW events AS{EVENTS.format(events="event")}
UNION ALL{EVENTS.format(events=_JOBS)}
UNION ALL{EVENTS.format(events=LISTED)}{_ENDED}""",
    """
CREATE VIEW jobs AS SELECT * FROM events WHERE type = 'job'""",
)
