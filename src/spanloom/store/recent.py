"""How many jobs of a run have ended lately, counted by the database."""

from __future__ import annotations

from typing import Any, Final

from spanloom.store.job_records import SINCE_VERSION
from spanloom.store.opening import Opened

__all__ = ["ended_since"]

_ROWS: Final = """
SELECT batch_id, count(*) FROM event
WHERE run = ?1 AND end_ns >= ?2 AND status IS NOT 'skipped'
      AND label IN (SELECT id FROM label WHERE run = event.run AND type = 'job')
GROUP BY batch_id"""
_LISTS: Final = """
SELECT batch_id, sum(CASE WHEN first_end_ns >= ?2 THEN count ELSE
    (SELECT count(*) FROM json_each(jobs) WHERE json_extract(value, '$[1]') >= ?2) END)
FROM job_list WHERE run = ?1 AND last_end_ns >= ?2 GROUP BY batch_id"""


def ended_since(
    opened: Opened, run: int, since_ns: int
) -> list[tuple[Any, ...]]:  # Any: SQLite keeps anything in any column
    """Return how many jobs ended at `since_ns` or later, in one row or two of each batch: its number, the jobs.

    Args:
        opened: The file.
        run: The number of the run.
        since_ns: Since the start of the run.
    """
    statements = (_ROWS, _LISTS) if opened.version >= SINCE_VERSION else (_ROWS,)
    return [row for statement in statements for row in opened.fetch(statement, (run, since_ns))]
