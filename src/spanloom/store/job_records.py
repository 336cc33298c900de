"""The listed jobs, as a reader goes through a run: see `spanloom.store.job_schema`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator
from heapq import heappop, heappush
from itertools import repeat
from operator import itemgetter
from typing import Annotated, Any, Final

import msgspec

from spanloom.events.ids import signed_ids_at
from spanloom.store.opening import Opened
from spanloom.store.wanted import Wanted

__all__ = ["SINCE_VERSION", "JobRecords"]

SINCE_VERSION: Final = 5
"""Schema version with lists. In an older file, all jobs have rows of their own."""

_SPANS: Final = "SELECT first_ns, id, label FROM job_list WHERE run = ? AND id > ? AND last_ns >= ?"
_OVERLAPPING: Final = """
SELECT first_ns, last_ns, id FROM job_list
WHERE run = ? AND first_ns <= ? AND last_ns >= ? AND was_open"""
_LIST: Final = """
SELECT label, trace, batch_id, base_id, ready_ns, jobs FROM job_list WHERE run = ? AND id = ?"""
MAX_NS: Final = (1 << 63) - 1
NOT_A_LIST: Final = "a list of jobs is none"

_Int = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Row = tuple[Any, ...]  # Any: SQLite's values
Key = tuple[int, int]
"""Start and id of an event, by which events are ordered."""

_jobs: Final = msgspec.json.Decoder(list[tuple[_Int, _Int, _Int]])
_key: Final = itemgetter(0, 1)


class JobRecords:
    """The jobs in the lists of one run, merged with its other events.

    A list never changes, so each is read once, when its first job may be next. New lists are looked for each time.

    Args:
        opened: The file.
        run: The number of the run.
        wanted: Which types to return.
    """

    def __init__(self, opened: Opened, run: int, wanted: Wanted) -> None:
        self._opened = opened
        self._run = run
        self._wanted = wanted
        self._seen = 0
        self._ahead: list[Key] = []
        """First start and number of the lists that have not been read, as a heap."""
        self._rows: list[Row] = []
        """Rows of the lists that were read which `merge` has not returned yet; in order."""

    def merge(self, rows: list[Row], after: Key, limit: int) -> list[Row]:
        """Merge the jobs with the rows of a stretch of other events.

        Args:
            rows: All other events after `after` up to the last of these, in order; empty if there are no more.
            after: Key after which the stretch begins.
            limit: Most jobs to add.

        Returns:
            All rows after `after` up to the last returned, in order; empty if there are no more.
        """
        self._look(after)
        until = _key(rows[-1]) if rows else None
        ahead = self._ahead
        while not self._has(limit) and ahead and (until is None or ahead[0][0] <= until[0]):
            self._read(heappop(ahead)[1], after)
        end = len(self._rows) if until is None else bisect_right(self._rows, until, key=_key)
        if not end:
            return rows
        if end >= limit:
            end = limit
            rows = [row for row in rows if _key(row) <= _key(self._rows[end - 1])]
        jobs, self._rows = self._rows[:end], self._rows[end:]
        return sorted((*jobs, *rows), key=_key)

    def ended(self, keys: set[Key]) -> set[Key]:
        """Return those of `keys`, from a list of open events, that have ended."""
        ended: set[Key] = set()
        if self._opened.version < SINCE_VERSION or not keys:
            return ended
        some = {start_ns for start_ns, _ in keys}
        starts = sorted(some)
        for first_ns, last_ns, number in self._opened.fetch(_OVERLAPPING, (self._run, starts[-1], starts[0])):
            _require(first_ns, last_ns, number)
            if bisect_left(starts, first_ns) < bisect_right(starts, last_ns):
                ended.update(keys.intersection(map(_key, self._list(number, some))))
        return ended

    def _has(self, limit: int) -> bool:
        """Return whether `limit` rows have been read that no unread list can precede."""
        if not self._ahead:
            return len(self._rows) >= limit
        return bisect_left(self._rows, (self._ahead[0][0],), key=_key) >= limit

    def _look(self, after: Key) -> None:
        """Look for new lists."""
        if self._opened.version < SINCE_VERSION:
            return
        found = self._opened.fetch(_SPANS, (self._run, self._seen, after[0]))
        for first_ns, number, label in found:
            _require(first_ns, number, label)
            self._seen = max(self._seen, number)
            if self._wanted.has(label):
                heappush(self._ahead, (first_ns, number))

    def _read(self, number: int, after: Key) -> None:
        """Read a list, and keep what comes after `after`."""
        self._rows += (row for row in self._list(number) if _key(row) > after)
        self._rows.sort(key=_key)

    def _list(self, number: int, starts_ns: Container[int] | None = None) -> Iterator[Row]:
        """Return the rows of a list, or only those of jobs with one of `starts_ns`."""
        found = self._opened.fetch(_LIST, (self._run, number))
        if not found:
            return iter(())  # it was thinned or deleted meanwhile
        label, trace, batch_id, base_id, ready_ns, text = found[0]
        _require(label, trace, batch_id, base_id, ready_ns or 0)
        if type(text) is not str or not (jobs := _jobs.decode(text)):
            raise ValueError(NOT_A_LIST)
        if starts_ns is not None and not (jobs := [job for job in jobs if job[0] in starts_ns]):
            return iter(())
        starts, ends, indexes = zip(*jobs, strict=True)
        if ready_ns is not None and max(max(starts) - ready_ns, ready_ns - min(starts)) > MAX_NS:
            raise ValueError(NOT_A_LIST)
        queued = repeat(0) if ready_ns is None else [start_ns - ready_ns for start_ns in starts]
        same = repeat(label), repeat(trace), repeat(batch_id), repeat(batch_id)
        none = repeat(None)
        ids = signed_ids_at(base_id, indexes)
        rest = ends, repeat("ok"), queued, none, none, repeat(0), none, none
        return zip(starts, ids, *same, indexes, *rest, strict=False)


def _require(*numbers: object) -> None:
    if set(map(type, numbers)) != {int}:
        raise ValueError(NOT_A_LIST)
