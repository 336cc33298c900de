"""The open events of a run, as a reader goes through the run: see `spanloom.store.open_schema`."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Any, Final

import msgspec

from spanloom.store.job_records import JobRecords
from spanloom.store.opening import Opened
from spanloom.store.wanted import Wanted

__all__ = ["OpenRecords"]

SINCE_VERSION: Final = 3
"""Schema version with lists. In an older file, open events have rows like all others."""
LOOKED_UP: Final = 500
"""Entries that one statement looks for; SQLite before 3.32 takes no more than 999 parameters."""

_LISTS: Final = "SELECT id, CASE WHEN id > ? THEN events END FROM open_list WHERE run = ? ORDER BY id"
_ENDED: Final = (
    "SELECT start_ns, event_id FROM event WHERE run = ? AND start_ns IN ({marks}) AND end_ns IS NOT NULL"
)

_Int = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_IntOrNone = _Int | None
Entry = tuple[_Int, _Int, _Int, _Int, _IntOrNone, _IntOrNone, _IntOrNone, _IntOrNone, _IntOrNone]
"""See `ENTRY`."""
Row = tuple[Any, ...]  # Any: SQLite's values
Key = tuple[int, int]
"""Start and id of an event, by which events are ordered."""

_entries: Final = msgspec.json.Decoder(list[Entry])


class OpenRecords:
    """The entries of the lists of one run, merged with its other events.

    A list never changes, so each is read once. New lists are looked for each time.

    Args:
        opened: The file.
        run: The number of the run.
        wanted: Which types to return.
        jobs: The listed jobs, which tell what has ended.
        only: Whether only open events are read, so that the other rows do not show which entries have ended.
    """

    def __init__(self, opened: Opened, run: int, wanted: Wanted, jobs: JobRecords, *, only: bool) -> None:
        self._opened = opened
        self._run = run
        self._wanted = wanted
        self._jobs = jobs
        self._only = only
        self._lists: dict[int, list[Entry]] = {}
        self._entries: list[Entry] = []

    def refresh(self) -> None:
        """Look for new and deleted lists. Call it before the other events of a stretch are read.

        In this order nothing is missed: an event of a list deleted meanwhile has ended, or is in another list.
        """
        if self._opened.version < SINCE_VERSION:
            return
        found = self._opened.fetch(_LISTS, (max(self._lists, default=0), self._run))
        lists = dict(self._list(*row) for row in found)
        if lists.keys() != self._lists.keys():
            self._lists = lists
            wanted = (entry for entries in lists.values() for entry in entries if self._wanted.has(entry[2]))
            self._entries = sorted(wanted, key=_key)

    def merge(self, rows: list[Row], after: Key, limit: int) -> tuple[list[Row], Key | None]:
        """Merge open events with the rows of a stretch of other events.

        Args:
            rows: All other events after `after` up to the last of these, in order; empty if there are no more.
            after: Key after which the stretch begins.
            limit: Most open events to add.

        Returns:
            The rows of the stretch, in order, and the key at its end; ``None`` if nothing is left.
        """
        first, end = bisect_right(self._entries, after, key=_key), len(self._entries)
        if rows:
            end = bisect_right(self._entries, rows[-1][:2], lo=first, key=_key)
        if end - first > limit:
            end = first + limit
            rows = [row for row in rows if row[:2] <= _key(self._entries[end - 1])]
        entries = self._entries[first:end]
        last = max((each[-1][:2] for each in (rows, entries) if each), default=None)
        if not entries:
            return rows, last
        ended = self._ended(entries) if self._only else {row[:2] for row in rows}
        listed = (_row(entry) for entry in entries if entry[:2] not in ended)
        return sorted((*rows, *listed), key=_key), last

    def _list(
        self, number: Any, text: Any
    ) -> tuple[int, list[Entry]]:  # Any: SQLite keeps anything in any column
        if number in self._lists and text is None:
            return number, self._lists[number]
        if type(number) is not int or type(text) is not str:
            raise ValueError("a list of open events is none")
        return number, _entries.decode(text)

    def _ended(self, entries: list[Entry]) -> set[Key]:
        """Return the keys of the entries that have ended although a list still has them."""
        ended = self._jobs.ended({entry[:2] for entry in entries})
        for first in range(0, len(entries), LOOKED_UP):
            starts = [entry[0] for entry in entries[first : first + LOOKED_UP]]
            statement = _ENDED.format(marks=", ".join("?" * len(starts)))
            ended.update(self._opened.fetch(statement, (self._run, *starts)))
        return ended


def _key(row: Row) -> Key:
    return row[:2]


def _row(entry: Entry) -> Row:
    start_ns, event_id, label, trace, parent_id, batch_id, job_index, queue_ns, attempt = entry
    ids = start_ns, event_id, label, trace, parent_id, batch_id, job_index
    return (*ids, None, None, queue_ns, None, attempt, 0, None, None)
