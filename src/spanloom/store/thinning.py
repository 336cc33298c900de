"""Thinning a run that alone is larger than the file may be: events that ended well are removed, their totals stay.

Events that ended ``ok`` or ``skipped`` are removed, the oldest first, some thousands at a time, and added to the totals
of their batch, type, name and status. Failed, cancelled and open events stay, and so do batches, traces, stalls and
loop lags: they are few, or what a record is for.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from spanloom.events.types import EventType
from spanloom.store.job_lists import MIN_LISTED
from spanloom.store.schema import transaction

__all__ = ["Thinning"]

LOOKED_AT: Final = 5_000
"""Rows looked at in one transaction: some 10 ms."""

_KEPT: Final = tuple(
    kept.value for kept in (EventType.BATCH, EventType.TRACE, EventType.STALL, EventType.LOOP_LAG)
)
_LAST: Final = """
SELECT start_ns, event_id FROM event WHERE run = ? AND (start_ns, event_id) > (?, ?)
ORDER BY start_ns, event_id LIMIT 1 OFFSET ?"""
_WHICH: Final = f"""
run = ? AND (start_ns, event_id) > (?, ?) AND (start_ns, event_id) <= (?, ?) AND end_ns IS NOT NULL AND error IS NULL
AND coalesce(status, 'ok') IN ('ok', 'skipped')
AND label NOT IN (SELECT id FROM label WHERE run = event.run AND type IN ({", ".join("?" * len(_KEPT))}))"""  # noqa: S608 -- marks only
_MERGE: Final = """ON CONFLICT DO UPDATE SET
    events = events + excluded.events, duration_ns = duration_ns + excluded.duration_ns,
    longest_ns = max(longest_ns, excluded.longest_ns), queue_ns = queue_ns + excluded.queue_ns,
    first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns)"""
_ADD: Final = f"""
INSERT INTO thinned (run, label, batch_id, status, events, duration_ns, longest_ns, queue_ns, first_ns, last_ns)
SELECT run, label, coalesce(batch_id, 0), coalesce(status, 'ok'), count(*), sum(end_ns - start_ns),
       max(end_ns - start_ns), sum(coalesce(queue_ns, 0)), min(start_ns), max(end_ns)
FROM event WHERE {_WHICH}
GROUP BY label, coalesce(batch_id, 0), coalesce(status, 'ok')
{_MERGE}"""  # noqa: S608 -- as above
_LISTS: Final = """
SELECT id, first_ns, count FROM job_list WHERE run = ? ORDER BY first_ns, id LIMIT ?"""
_ADD_LIST: Final = f"""
INSERT INTO thinned (run, label, batch_id, status, events, duration_ns, longest_ns, queue_ns, first_ns, last_ns)
SELECT run, label, batch_id, 'ok', count(*), sum(end_ns - start_ns), max(end_ns - start_ns),
       sum(start_ns - coalesce(ready_ns, start_ns)), min(start_ns), max(end_ns)
FROM (
    SELECT list.*, json_extract(job.value, '$[0]') AS start_ns, json_extract(job.value, '$[1]') AS end_ns
    FROM job_list AS list, json_each(list.jobs) AS job WHERE list.run = ? AND list.id = ?
) WHERE true GROUP BY run, label, batch_id
{_MERGE}"""  # noqa: S608 -- our own words
_START: Final = (-(1 << 63), -(1 << 63))
_END: Final = ((1 << 63) - 1, (1 << 63) - 1)


class Thinning:
    """Progress of thinning one run.

    Attributes:
        events: How many events were removed.
    """

    def __init__(self) -> None:
        self.events: int = 0
        self._after: tuple[int, int] = _START
        self._of_pass = 0

    def step(self, connection: sqlite3.Connection, run: int) -> bool:
        """Remove some events; return False if none is left that could be removed.

        Raises:
            sqlite3.Error: it could not be done now.
        """
        # The oldest first, wherever they are.
        first = connection.execute(_LAST, (run, *self._after, 0)).fetchone()
        lists = _lists(connection, run)
        if lists and (first is None or lists[0][1] <= first[0]):
            with transaction(connection):
                for number, _, _ in lists:
                    connection.execute(_ADD_LIST, (run, number))
                    connection.execute("DELETE FROM job_list WHERE run = ? AND id = ?", (run, number))
            self._count(sum(count for _, _, count in lists))
            return True
        with transaction(connection):
            last = connection.execute(_LAST, (run, *self._after, LOOKED_AT - 1)).fetchone()
            if lists and (last is None or lists[0][1] <= last[0]):
                last = lists[0][1] - 1, _END[1]
            which = (run, *self._after, *(last or _END), *_KEPT)
            connection.execute(_ADD, which)
            gone = connection.execute(f"DELETE FROM event WHERE {_WHICH}", which).rowcount  # noqa: S608 -- as above
        self._count(gone)
        self._after = (
            last or _START
        )  # at the end, begin again: events among the earlier ones may have ended meanwhile
        if last is not None:
            return True
        found, self._of_pass = self._of_pass > 0, 0
        return found

    def _count(self, gone: int) -> None:
        self.events += gone
        self._of_pass += gone


def _lists(connection: sqlite3.Connection, run: int) -> list[tuple[int, int, int]]:
    """Return the oldest lists of jobs, up to `LOOKED_AT` jobs but at least one list: number, first start, jobs."""
    found: list[tuple[int, int, int]] = []
    jobs = 0
    for row in connection.execute(_LISTS, (run, 1 + LOOKED_AT // MIN_LISTED)):
        jobs += row[2]
        if found and jobs > LOOKED_AT:
            break
        found.append(row)
    return found
