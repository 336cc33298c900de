"""The table of totals of removed events: one of the numbered migrations of the file. See `Thinning`."""

from __future__ import annotations

from typing import Final

__all__ = ["THIN_TABLES"]

THIN_TABLES: Final = (
    """
CREATE TABLE thinned (
    run         INTEGER NOT NULL REFERENCES run (id),
    label       INTEGER NOT NULL,
    batch_id    INTEGER NOT NULL, -- 0: of none
    status      TEXT    NOT NULL, -- ok or skipped
    events      INTEGER NOT NULL, -- that are not in `event` any more
    duration_ns INTEGER NOT NULL, -- sum
    longest_ns  INTEGER NOT NULL,
    queue_ns    INTEGER NOT NULL, -- sum
    first_ns    INTEGER NOT NULL, -- the first start, since the start of the run
    last_ns     INTEGER NOT NULL, -- the last end
    PRIMARY KEY (run, label, batch_id, status)
) WITHOUT ROWID""",
)
