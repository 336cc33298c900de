"""The tables of results: one of the numbered migrations of the file, which may be a record as well."""

from __future__ import annotations

from typing import Final

__all__ = ["CHECKPOINT_TABLES"]

# A row id in spite of the unique key: results may be long, and a table WITHOUT ROWID would read them in every look-up
# of a key. The index has 30 bytes a result, and a look-up of missing results reads nothing else.
CHECKPOINT_TABLES: Final = (
    """
CREATE TABLE checkpoints (
    id              INTEGER PRIMARY KEY,               -- what `checkpoint` means in the table of results
    function        TEXT    NOT NULL,                  -- qualified name, with the module
    version         TEXT    NOT NULL,                  -- the user's, or a digest of the function's code
    codec           TEXT    NOT NULL,                  -- what the results were written by
    created_wall_ns INTEGER NOT NULL,                  -- since the epoch
    UNIQUE (function, version)
)""",
    """
CREATE TABLE results (
    id              INTEGER PRIMARY KEY,
    checkpoint      INTEGER NOT NULL REFERENCES checkpoints (id),
    digest          BLOB    NOT NULL,                  -- BLAKE2b, 16 bytes, of the key as JSON
    key             TEXT,                              -- the key itself, shortened, where the user named one
    value           NOT NULL,                          -- as the codec wrote it: TEXT or BLOB
    stored_wall_ns  INTEGER NOT NULL,                  -- since the epoch
    UNIQUE (checkpoint, digest)
)""",
    """
CREATE VIEW checkpoint_results AS
SELECT
    checkpoints.function,
    checkpoints.version,
    results.key,
    lower(hex(results.digest)) AS digest,
    results.value,
    strftime('%Y-%m-%d %H:%M:%f', results.stored_wall_ns / 1e9, 'unixepoch') AS stored_at
FROM results
JOIN checkpoints ON checkpoints.id = results.checkpoint""",
)
