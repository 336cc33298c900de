"""What a run has open, as its reader goes through the run: see `spanloom.store.open_schema`."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Any, Final

import msgspec

from spanloom.store.job_records import JobRecords
from spanloom.store.opening import Opened
from spanloom.store.wanted import Wanted

__all__ = ["OpenRecords"]

SINCE_VERSION: Final = 3
"""Of the schema. In an older file, what is open has rows like all others."""
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
"""Start and id of an event: what events are in the order of."""

_entries: Final = msgspec.json.Decoder(list[Entry])


class OpenRecords:
    """The entries of the lists of one run, put among its other events.

    A list never changes, so each is read once; which ones there are is asked for each time.

    Args:
        opened: The file.
        run: The number of the run.
        wanted: Of which types.
        jobs: The jobs that went well.
        only: Whether the other events are only those without an end, too.
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
        """Look which lists there are now; to be called before the other events of a stretch are read.

        In this order nothing is missing: what a list has that goes meanwhile has ended, or is in another one already.
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
        """Put what is open among the rows of a stretch of other events.

        Args:
            rows: In order, all after `after` up to the last of them; none if there are no more.
            after: Where the stretch begins.
            limit: How much of what is open is taken at once.

        Returns:
            What is in the stretch, in order, and its end; ``None`` if there is no more of it.
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
        """Return which of them have ended, although a list has them still."""
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
