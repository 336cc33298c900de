"""What is open, on its way into the file and out of it again: see `spanloom.store.open_schema`.

Theory of operation. An event that has been found open is an entry of the list that is being filled. Before a
transaction, what of that is still open becomes one text, and the list a row, which stays as it is: of a list that has
been packed, nothing is kept but its text and how many of its events are still open. When those are a quarter of them
or fewer, they move to a new list, and the row goes. So an event is written once more for each time that three times as
many events end as are open with it then, and the rows of a long run are no more than what is open needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

__all__ = ["OpenLists"]

FULL: Final = 500
"""Entries of one list: some 50 kB."""

Entry = Sequence[Any]  # Any: see `ENTRY`

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[list[int | None]]).decode


class OpenList:
    """Some events that were found open at about the same time.

    Attributes:
        number: What it is called in the file.
        entries: What is to be written of each, until that is a text.
        text: The row.
        count: Entries in the text.
        live: Events that have not ended since.
        is_written: Whether the row is in the file.
    """

    __slots__ = ("count", "entries", "is_written", "live", "number", "text")

    def __init__(self, number: int) -> None:
        self.number: int = number
        self.entries: list[Entry] = []
        self.text: str = ""
        self.count: int = 0
        self.live: int = 0
        self.is_written: bool = False


class OpenLists:
    """The open events of one run, in lists of some hundreds.

    Attributes:
        jobs, others: The list of each event that was given as open and not as ended since, by its id; ``None`` for one
            that has a row of its own. Whoever takes an event out says so to its list, by counting down its ``live``.
    """

    def __init__(self) -> None:
        self.jobs: dict[int, OpenList | None] = {}
        self.others: dict[int, OpenList | None] = {}
        self._last = 0
        self._lists: list[OpenList] = []
        self._gone: list[int] = []
        self._filling: OpenList | None = None

    def __len__(self) -> int:
        """Events that are open."""
        return len(self.jobs) + len(self.others)

    def add(self, table: dict[int, OpenList | None], entries: Mapping[int, Entry]) -> None:
        """Put events into lists, and these into `table`, `jobs` or `others`, under the events' ids."""
        ids, rows = list(entries), list(entries.values())
        done = 0
        while done < len(ids):
            filling = self._filling
            if filling is None or len(filling.entries) >= FULL:
                self._last += 1
                self._filling = filling = OpenList(self._last)
                self._lists.append(filling)
            until = done + FULL - len(filling.entries)
            filling.entries += rows[done:until]
            filling.live += len(rows[done:until])
            table.update(dict.fromkeys(ids[done:until], filling))
            done = until

    @property
    def waiting(self) -> bool:
        """Whether there is an entry that is not in the file."""
        return not all(each.is_written for each in self._lists)

    @property
    def rows(self) -> list[tuple[int, str]]:
        """The rows that are not in the file: number, text."""
        return [(each.number, each.text) for each in self._lists if not each.is_written]

    @property
    def gone(self) -> list[tuple[int]]:
        """The rows that need not be in the file any more: number."""
        return [(number,) for number in self._gone]

    def pack(self, *, exactly: bool = False) -> None:
        """Make rows of what is open; to be called before `rows` and `gone` are asked for.

        Args:
            exactly: Have nothing in them that has ended.
        """
        lists, self._lists, self._filling = self._lists, [], None
        moving: list[Entry] = []
        for each in lists:
            if each.entries:
                self._make_row(each)
            is_dense = each.live == each.count if exactly else 4 * each.live > each.count
            if each.live and is_dense:
                self._lists.append(each)
                continue
            if each.is_written:
                self._gone.append(each.number)
            if each.live:
                moving.extend(self._open_of(_decode(each.text)))
        if moving:
            self._move(moving)

    def written(self) -> None:
        """Take note that the file has the `rows`, and not those that are `gone`."""
        for each in self._lists:
            each.is_written = True
        self._gone = []

    def forget(self) -> None:
        """Let go of all events: what is open will be found anew. Rows in the file are gone."""
        self._gone.extend(each.number for each in self._lists if each.is_written)
        self._lists, self._filling = [], None
        self.jobs.clear()
        self.others.clear()

    def _make_row(self, new: OpenList) -> None:
        entries = list(self._open_of(new.entries))
        new.entries, new.count, new.text = [], len(entries), _encode(entries).decode()

    def _open_of(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        jobs, others = self.jobs, self.others
        return (entry for entry in entries if entry[1] in jobs or entry[1] in others)

    def _move(self, entries: Iterable[Entry]) -> None:
        moved = len(self._lists)
        of_jobs: dict[int, Entry] = {}
        of_others: dict[int, Entry] = {}
        for entry in entries:
            (of_jobs if entry[1] in self.jobs else of_others)[entry[1]] = entry
        self.add(self.jobs, of_jobs)
        self.add(self.others, of_others)
        self._filling = None
        for each in self._lists[moved:]:
            self._make_row(each)
