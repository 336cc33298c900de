"""The tables of a record, and the numbered migrations that make them.

``PRAGMA application_id`` marks a file as a record; ``PRAGMA user_version`` is the number of migrations it has been
through. A released migration is never changed: a later one alters what it made. docs/reference/store.md describes the
result for readers with other tools.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from spanloom.exceptions import StoreCorruptError, StoreVersionError
from spanloom.store.checkpoint_schema import CHECKPOINT_TABLES
from spanloom.store.job_schema import JOB_TABLES
from spanloom.store.open_schema import OPEN_TABLES
from spanloom.store.thin_schema import THIN_TABLES

__all__ = ["APPLICATION_ID", "MIGRATIONS", "check", "ended_transaction", "migrate", "transaction"]

APPLICATION_ID: Final = 0x73706C6D
"""``splm`` in ASCII: lets ``file`` and other tools recognize a record."""

# All keys begin with the run: rows of two runs hardly share pages, a run is deleted in ranges, and its events are
# stored in order of start, so reading them in that order reads the file from front to back.
_FIRST: Final = (
    """
CREATE TABLE run (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- what `run` means in the other tables
    run_id          TEXT    NOT NULL UNIQUE,           -- 32 hexadecimal digits
    name            TEXT    NOT NULL,                  -- the script or module
    argv            TEXT    NOT NULL,                  -- JSON array of strings
    cwd             TEXT    NOT NULL,
    host            TEXT    NOT NULL,
    pid             INTEGER NOT NULL,
    machine         TEXT    NOT NULL,                  -- where the pid has a meaning: boot and pid namespace
    process         TEXT    NOT NULL,                  -- start time of the process, on the clock of that boot
    python          TEXT    NOT NULL,
    version         TEXT    NOT NULL,                  -- of spanloom
    started_wall_ns INTEGER NOT NULL,                  -- since the epoch; the zero of the run's other times
    seen_wall_ns    INTEGER NOT NULL,                  -- last write; every second while an event is open
    ended_wall_ns   INTEGER,                           -- NULL: running, or its process is gone
    exit_code       INTEGER,                           -- where it was known
    deep            INTEGER NOT NULL,                  -- 1: busy time was measured
    payloads        INTEGER NOT NULL,                  -- 1: payloads were recorded
    events          INTEGER NOT NULL DEFAULT 0,        -- rows of `event`
    jobs            INTEGER NOT NULL DEFAULT 0,        -- of type job
    failed          INTEGER NOT NULL DEFAULT 0,        -- jobs with status error or timeout
    cancelled       INTEGER NOT NULL DEFAULT 0,        -- jobs with status cancelled
    open            INTEGER NOT NULL DEFAULT 0,        -- events without an end
    produced        INTEGER NOT NULL DEFAULT 0,        -- ended events that were to be recorded
    dropped         INTEGER NOT NULL DEFAULT 0,        -- those of them that were lost
    expired         INTEGER NOT NULL DEFAULT 0         -- 1: being deleted
)""",
    """
CREATE TABLE label (
    run  INTEGER NOT NULL REFERENCES run (id),
    id   INTEGER NOT NULL,
    type TEXT    NOT NULL, -- batch, job, attempt, ... or the user's own
    name TEXT    NOT NULL,
    PRIMARY KEY (run, id)
) WITHOUT ROWID""",
    """
CREATE TABLE trace (
    run      INTEGER NOT NULL REFERENCES run (id),
    id       INTEGER NOT NULL,
    trace_id TEXT    NOT NULL, -- 32 hexadecimal digits, W3C
    root_id  INTEGER NOT NULL, -- event_id of its root
    PRIMARY KEY (run, id)
) WITHOUT ROWID""",
    """
CREATE TABLE stack (
    run    INTEGER NOT NULL REFERENCES run (id),
    id     INTEGER NOT NULL,
    frames TEXT    NOT NULL, -- JSON array of [file, line, function], outermost first
    PRIMARY KEY (run, id)
) WITHOUT ROWID""",
    """
CREATE TABLE error (
    run     INTEGER NOT NULL REFERENCES run (id),
    id      INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    message TEXT    NOT NULL,
    stack   INTEGER NOT NULL,
    PRIMARY KEY (run, id),
    FOREIGN KEY (run, stack) REFERENCES stack (run, id)
) WITHOUT ROWID""",
    """
CREATE TABLE event (
    run       INTEGER NOT NULL REFERENCES run (id),
    start_ns  INTEGER NOT NULL,           -- since the start of the run
    event_id  INTEGER NOT NULL,           -- 64 bits, as a signed number
    label     INTEGER NOT NULL,
    trace     INTEGER NOT NULL,
    parent_id INTEGER,                    -- NULL: root of its trace
    batch_id  INTEGER,                    -- of the job that it is or happened in; of a batch its own
    job_index INTEGER,                    -- from 0
    end_ns    INTEGER,                    -- NULL: open when last written
    status    TEXT,                       -- NULL: the same
    queue_ns  INTEGER,
    busy_ns   INTEGER,
    attempt   INTEGER,
    is_point  INTEGER NOT NULL DEFAULT 0,
    error     INTEGER,
    payload   TEXT,                       -- JSON object
    PRIMARY KEY (run, start_ns, event_id),
    FOREIGN KEY (run, label) REFERENCES label (run, id),
    FOREIGN KEY (run, trace) REFERENCES trace (run, id),
    FOREIGN KEY (run, error) REFERENCES error (run, id)
) WITHOUT ROWID""",
    """
CREATE TABLE batch (
    run         INTEGER NOT NULL REFERENCES run (id),
    batch_id    INTEGER NOT NULL, -- event_id of the batch
    name        TEXT    NOT NULL,
    total       INTEGER,          -- NULL: nobody could know
    started     INTEGER NOT NULL,
    in_flight   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    cancelled   INTEGER NOT NULL,
    backing_off INTEGER NOT NULL,
    retried     INTEGER NOT NULL,
    skipped     INTEGER NOT NULL,
    PRIMARY KEY (run, batch_id)
) WITHOUT ROWID""",
    """
CREATE VIEW runs AS
SELECT
    run_id,
    name,
    strftime('%Y-%m-%d %H:%M:%f', started_wall_ns / 1e9, 'unixepoch') AS started_at,
    strftime('%Y-%m-%d %H:%M:%f', ended_wall_ns / 1e9, 'unixepoch') AS ended_at,
    strftime('%Y-%m-%d %H:%M:%f', seen_wall_ns / 1e9, 'unixepoch') AS seen_at,
    (coalesce(ended_wall_ns, seen_wall_ns) - started_wall_ns) / 1e9 AS duration_s,
    exit_code, events, jobs, failed, cancelled, open, produced, dropped,
    host, pid, argv, cwd, python, version
FROM run
WHERE NOT expired""",
    """
CREATE VIEW events AS
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
FROM event
JOIN run ON run.id = event.run
JOIN label ON label.run = event.run AND label.id = event.label
JOIN trace ON trace.run = event.run AND trace.id = event.trace
LEFT JOIN batch ON batch.run = event.run AND batch.batch_id = event.batch_id
LEFT JOIN error ON error.run = event.run AND error.id = event.error
WHERE NOT run.expired""",
    """
CREATE VIEW jobs AS SELECT * FROM events WHERE type = 'job'""",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    _FIRST,
    CHECKPOINT_TABLES,
    OPEN_TABLES,
    THIN_TABLES,
    JOB_TABLES,
)
"""SQL statements of each migration, in order. ``PRAGMA user_version`` is how many a file has been through."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing in the block; first wait for other writers, as long as ``busy_timeout`` allows."""
    connection.execute("BEGIN IMMEDIATE")
    with ended_transaction(connection):
        yield


@contextmanager
def ended_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the open transaction at the end of the block; roll it back if the block raises."""
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some faults, such as a full disk, have rolled it back already
            connection.execute("ROLLBACK")
        raise


def check(
    connection: sqlite3.Connection,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
    application_id: int = APPLICATION_ID,
) -> int:
    """Return how many of the `migrations` a file has been through; 0 for an empty one.

    Raises:
        StoreCorruptError: it belongs to another program.
        StoreVersionError: it has been through more than are known: a newer version wrote it.
    """
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if found != application_id:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not (found or version or tables):
            return 0
        # Another process may have created the tables between these queries.
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if found != application_id:
            raise StoreCorruptError("it is a database, but not a record of spanloom")
    if not 0 <= version <= len(migrations):
        raise StoreVersionError(
            f"a newer version of spanloom wrote it: it has schema version {version}, and this one knows up to "
            f"{len(migrations)}; upgrade spanloom, or record to another file"
        )
    return int(version)


def migrate(
    connection: sqlite3.Connection,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
    application_id: int = APPLICATION_ID,
) -> None:
    """Bring a new file, or one of any older version, to the latest version; all or nothing.

    Raises:
        StoreCorruptError: it belongs to another program.
        StoreVersionError: a newer version wrote it.
    """
    if check(connection, migrations, application_id) == len(migrations):
        return
    with transaction(connection):
        for step in migrations[
            check(connection, migrations, application_id) :
        ]:  # another process may have migrated meanwhile
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {application_id:d}")
        connection.execute(f"PRAGMA user_version = {len(migrations):d}")
