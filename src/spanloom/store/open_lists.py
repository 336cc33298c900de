"""Open events on their way into the file and out of it again: see `spanloom.store.open_schema`.

Theory of operation. An event that is found open becomes an entry of the list that is being filled. Before a
transaction, the entries still open are packed into one text, and the list becomes a row, which never changes. Of a
packed list only the text, the ids and the number of events still open are kept. When a quarter or less are still open,
these move to a new list, and the row is deleted. So an event is rewritten only after three times as many have ended as
are still open with it, and a long run has no more rows than its open events need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from typing import Any, Final

import msgspec

__all__ = ["OpenLists"]

FULL: Final = 500
"""Entries of one list: some 50 kB."""

Entry = Sequence[Any]  # Any: see `ENTRY`

_encode: Final = msgspec.json.Encoder().encode


class OpenList:
    """Some events that were found open at about the same time.

    Attributes:
        number: Its id in the file.
        table: `OpenLists.jobs` or `OpenLists.others`: holds its events while they are open.
        ids: Ids of its events, as keys of `table`.
        entries: Entries of its events; empty once packed into `text`.
        text: The packed row.
        live: How many of its events have not ended.
        is_written: Whether the row is in the file.
    """

    __slots__ = ("entries", "ids", "is_written", "live", "number", "table", "text")

    def __init__(self, number: int, table: dict[int, OpenList | None]) -> None:
        self.number: int = number
        self.table: dict[int, OpenList | None] = table
        self.ids: list[int] = []
        self.entries: list[Entry] = []
        self.text: str = ""
        self.live: int = 0
        self.is_written: bool = False


class OpenLists:
    """The open events of one run, in lists of some hundreds.

    Attributes:
        jobs, others: The list of each open event, by its id; ``None`` for an event with a row of its own. The key of a
            job is the start of its batch's range of ids plus its index, which takes a third of the time of an id.
    """

    def __init__(self) -> None:
        self.jobs: dict[int, OpenList | None] = {}
        self.others: dict[int, OpenList | None] = {}
        self._last = 0
        self._lists: list[OpenList] = []
        self._gone: list[int] = []
        self._filling: list[OpenList] = []

    def __len__(self) -> int:
        """How many events are open."""
        return len(self.jobs) + len(self.others)

    def add(self, table: dict[int, OpenList | None], ids: Sequence[int], entries: Sequence[Entry]) -> None:
        """Add open events to lists, and to `table`, which is `jobs` or `others`."""
        done = 0
        while done < len(ids):
            filling = self._filling_of(table)
            until = done + FULL - len(filling.ids)
            part = ids[done:until]
            filling.ids += part
            filling.entries += entries[done:until]
            filling.live += len(part)
            table.update(zip(part, repeat(filling), strict=False))
            done = until

    def end(self, table: dict[int, OpenList | None], ids: Iterable[int]) -> bool:
        """Remove ended events from `table`, `jobs` or `others`; return whether one of them was in a list."""
        ended = Counter(map(table.pop, ids, repeat(None)))
        ended.pop(None, None)
        for listed, count in ended.items():
            assert listed is not None  # noqa: S101 -- it has just been taken out
            listed.live -= count
        return bool(ended)

    @property
    def waiting(self) -> bool:
        """Whether a list is not in the file."""
        return not all(each.is_written for each in self._lists)

    @property
    def is_exact(self) -> bool:
        """Whether the rows have nothing that has ended: of what is in a row, the end may not leave the file."""
        return not self._gone and all(each.live == len(each.ids) for each in self._lists)

    @property
    def rows(self) -> list[tuple[int, str]]:
        """Rows to be written: number, text."""
        return [(each.number, each.text) for each in self._lists if not each.is_written]

    @property
    def gone(self) -> list[tuple[int]]:
        """Rows to be deleted: number."""
        return [(number,) for number in self._gone]

    def pack(self, *, exactly: bool = False) -> None:
        """Pack the lists into rows. Call it before reading `rows` and `gone`.

        Args:
            exactly: Leave no ended events in any row.
        """
        lists, self._lists, self._filling = self._lists, [], []
        jobs: list[tuple[int, str]] = []
        others: list[tuple[int, str]] = []
        for each in lists:
            if each.entries:
                _make_row(each)
            is_dense = each.live == len(each.ids) if exactly else 4 * each.live > len(each.ids)
            if each.live and is_dense:
                self._lists.append(each)
                continue
            if each.is_written:
                self._gone.append(each.number)
            if each.live:
                moving = zip(each.ids, _entries_in(each.text), strict=True)
                (jobs if each.table is self.jobs else others).extend(compress(moving, _are_open(each)))
        self._move(self.jobs, jobs)
        self._move(self.others, others)

    def written(self) -> None:
        """Note that `rows` were written and `gone` deleted."""
        for each in self._lists:
            each.is_written = True
        self._gone = []

    def forget(self) -> None:
        """Forget all events, as open ones will be found anew; rows in the file become `gone`."""
        self._gone.extend(each.number for each in self._lists if each.is_written)
        self._lists, self._filling = [], []
        self.jobs.clear()
        self.others.clear()

    def _new(self, table: dict[int, OpenList | None]) -> OpenList:
        self._last += 1
        new = OpenList(self._last, table)
        self._lists.append(new)
        return new

    def _filling_of(self, table: dict[int, OpenList | None]) -> OpenList:
        for filling in self._filling:
            if filling.table is table and len(filling.ids) < FULL:
                return filling
        self._filling = [filling for filling in self._filling if filling.table is not table]
        self._filling.append(new := self._new(table))
        return new

    def _move(self, table: dict[int, OpenList | None], moving: list[tuple[int, str]]) -> None:
        for first in range(0, len(moving), FULL):
            new = self._new(table)
            ids, texts = zip(*moving[first : first + FULL], strict=True)
            new.ids, new.live = list(ids), len(ids)
            new.text = f"[[{'],['.join(texts)}]]"
            table.update(zip(ids, repeat(new), strict=False))


def _are_open(some: OpenList) -> list[bool]:
    return list(map(some.table.__contains__, some.ids))


def _make_row(new: OpenList) -> None:
    if new.live < len(new.ids):
        is_open = _are_open(new)
        new.ids, new.entries = list(compress(new.ids, is_open)), list(compress(new.entries, is_open))
    new.text, new.entries = _encode(new.entries).decode(), []


def _entries_in(text: str) -> list[str]:
    """Return the text between the brackets of each entry of a row; the numbers in it contain no brackets."""
    return text[2:-2].split("],[")
