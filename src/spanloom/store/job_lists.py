"""Jobs that ended ``ok`` with nothing but their times, on their way into the file: see `spanloom.store.job_schema`.

A reader goes through a run in order of start, and holds in memory every list whose starts span its place. One list with
a job that took an hour would be held for that hour. So the starts of one list are at most `SPAN_NS` apart or, for older
jobs, a few times their age: a reader then holds a few times the jobs that were open at that place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

from spanloom.events.ids import index_in, signed_ids_at
from spanloom.store.job_schema import MAX_INDEX

if TYPE_CHECKING:
    from spanloom.events.event import JobColumns
    from spanloom.store.statements import Statement

__all__ = ["MAX_LISTED", "MIN_LISTED", "SPAN_NS", "JobStatement", "Jobs", "Shared"]

MAX_LISTED: Final = 4_096
"""Most jobs of one list: some 120 kB."""
MIN_LISTED: Final = 256
"""Least jobs of one list. Fewer get rows of their own: that is cheap, and readers have fewer lists."""
SPAN_NS: Final = 1_000_000_000
"""Most nanoseconds between the first and the last start of a list of young jobs."""
WIDER: Final = 4
"""In a list of older jobs, how many times as old the oldest may be as the youngest."""

_encode: Final = msgspec.json.Encoder().encode
_LIST: Final = """
INSERT INTO job_list (run, id, label, trace, batch_id, base_id, ready_ns, first_ns, last_ns, first_end_ns, last_end_ns,
                      was_open, count, jobs)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))"""

Columns = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""Starts, ends, indexes."""


class Shared(NamedTuple):
    """What the jobs of a batch have in common.

    Attributes:
        label, trace: Numbers of the label and the trace in the file.
        batch_id, base_id: Id of the batch, and start of the range of the jobs' ids; signed, as SQLite keeps ids.
        ready_ns: When they became ready to run, on the clock of the events; ``None`` if that differs.
    """

    label: int
    trace: int
    batch_id: int
    base_id: int
    ready_ns: int | None


class Jobs:
    """Some jobs of one batch that wait to be written, column by column.

    Attributes:
        starts_ns, ends_ns, indexes: As their events have them.
        was_open: Whether one of them is in a list of what is open.
    """

    __slots__ = ("ends_ns", "indexes", "starts_ns", "was_open")

    def __init__(self) -> None:
        self.starts_ns: list[int] = []
        self.ends_ns: list[int] = []
        self.indexes: list[int] = []
        self.was_open: bool = False

    def take(self, jobs: JobColumns, *, was_open: bool) -> None:
        """Add jobs, all of which have ended."""
        self.starts_ns += jobs.starts_ns
        self.ends_ns += cast("Sequence[int]", jobs.ends_ns)
        self.indexes += jobs.indexes
        self.was_open = self.was_open or was_open


class JobStatement:
    """Writes the jobs of each batch in lists; those too few for one, in rows of their own.

    Args:
        run: The number of the run.
        began_ns: Its start, on the clock of the events.
        others: Writes rows of single jobs.
    """

    def __init__(self, run: int, began_ns: int, others: Statement) -> None:
        self._run = run
        self._began_ns = began_ns
        self._others = others
        self._last = 0

    def execute(self, connection: sqlite3.Connection, rows: Mapping[Shared, Jobs]) -> None:
        """Write the jobs of each batch."""
        began = self._began_ns
        others: list[tuple[int, ...]] = []
        for shared, jobs in rows.items():
            starts = [start_ns - began for start_ns in jobs.starts_ns]
            ends = [end_ns - began for end_ns in jobs.ends_ns]
            ready_ns = None if shared.ready_ns is None else shared.ready_ns - began
            if len(starts) < MIN_LISTED or not _has_ids(shared, jobs.indexes):
                others += _rows(shared, ready_ns, starts, ends, jobs.indexes)
                continue
            for part in _parts(starts, ends, jobs.indexes):
                if len(part[0]) < MIN_LISTED:
                    others += _rows(shared, ready_ns, *part)
                else:
                    row = self._row(shared, ready_ns, part, was_open=jobs.was_open)
                    connection.execute(_LIST, row)
        self._others.execute(connection, others)

    def _row(
        self, shared: Shared, ready_ns: int | None, part: Columns, *, was_open: bool
    ) -> tuple[object, ...]:
        starts, ends, _ = part
        self._last += 1
        ids = self._run, self._last, shared.label, shared.trace, shared.batch_id, shared.base_id
        spans = min(starts), max(starts), min(ends), max(ends)
        text = _encode(list(zip(*part, strict=True)))
        return (*ids, ready_ns, *spans, was_open, len(starts), text)


def _has_ids(shared: Shared, indexes: Sequence[int]) -> bool:
    """Return whether the view can compute the ids of these jobs from the start of their range."""
    return max(indexes) <= MAX_INDEX < index_in(shared.base_id, 0)


def _rows(
    shared: Shared, ready_ns: int | None, starts: Sequence[int], ends: Sequence[int], indexes: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Yield rows of single jobs."""
    label, trace, batch_id, base_id, _ = shared
    ids = signed_ids_at(base_id, indexes)
    for start_ns, event_id, index, end_ns in zip(starts, ids, indexes, ends, strict=True):
        queue_ns = 0 if ready_ns is None else start_ns - ready_ns
        yield start_ns, event_id, label, trace, batch_id, batch_id, index, queue_ns, end_ns


def _parts(starts: Sequence[int], ends: Sequence[int], indexes: Sequence[int]) -> Iterator[Columns]:
    """Yield the columns of each list."""
    first_ns, newest_ns, age_ns = min(starts), max(starts), SPAN_NS
    while newest_ns - first_ns > age_ns:
        is_young = list(map((newest_ns - age_ns).__le__, starts))
        if any(is_young):
            yield from _shares(*(list(compress(column, is_young)) for column in (starts, ends, indexes)))
            is_old = list(map(not_, is_young))
            starts, ends, indexes = (list(compress(column, is_old)) for column in (starts, ends, indexes))
        age_ns *= WIDER
    yield from _shares(starts, ends, indexes)  # at least the first one


def _shares(starts: Sequence[int], ends: Sequence[int], indexes: Sequence[int]) -> Iterator[Columns]:
    """Yield the columns in equal parts of at most `MAX_LISTED` jobs."""
    count = len(starts)
    size = -(-count // -(-count // MAX_LISTED))
    for at in range(0, count, size):
        yield starts[at : at + size], ends[at : at + size], indexes[at : at + size]
