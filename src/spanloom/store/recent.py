"""How many jobs of a run have ended recently, counted by SQLite."""

from __future__ import annotations

from typing import Any, Final

from spanloom.store.job_records import SINCE_VERSION
from spanloom.store.opening import Opened

__all__ = ["ended_since"]

_ROWS: Final = """
SELECT batch_id, count(*) FROM event
WHERE run = ? AND end_ns >= ? AND status IS NOT 'skipped'
      AND label IN (SELECT id FROM label WHERE run = event.run AND type = 'job')
GROUP BY batch_id"""
_LISTS: Final = """
SELECT batch_id, sum(CASE WHEN first_end_ns >= ? THEN count ELSE
    (SELECT count(*) FROM json_each(jobs) WHERE json_extract(value, '$[1]') >= ?) END)
FROM job_list WHERE run = ? AND last_end_ns >= ? GROUP BY batch_id"""


def ended_since(
    opened: Opened, run: int, since_ns: int
) -> list[tuple[Any, ...]]:  # Any: SQLite keeps anything in any column
    """Return how many jobs ended at `since_ns` or later, in one or two rows of each batch: batch id, jobs.

    Args:
        opened: The file.
        run: The number of the run.
        since_ns: Nanoseconds since the start of the run.
    """
    rows = opened.fetch(_ROWS, (run, since_ns))
    if opened.version >= SINCE_VERSION:
        rows += opened.fetch(_LISTS, (since_ns, since_ns, run, since_ns))
    return rows
