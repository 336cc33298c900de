"""What the picture of a page is drawn from: bars in rows, and what happened inside of them.

A bar is a job, in a row of its batch's band, or something that happened outside of jobs. An inset is something that
happened inside of a job: an attempt, a back-off, a wait for a slot, a step. Both are rows of integers; everything that
is text is a number into a list of texts.

One pass over the records in order of start. What is held by id is held while it can still be somebody's parent: until
its job's slot is taken by the next job.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

from spanloom.events.types import EventType
from spanloom.store.model import Record, Run
from spanloom.viewer._html_bands import OUTSIDE, Bands
from spanloom.viewer._html_columns import NEAR, PLAIN, RISING, Table
from spanloom.viewer._html_texts import Errors, Payloads, Texts

__all__ = ["STATUSES", "Picture"]

STATUSES: Final = ("ok", "error", "cancelled", "timeout", "skipped", "interrupted", "open", "other")
"""By number. ``open``: not ended in a run that is running. ``other``: a status of a later version."""

_NUMBERS: Final = {status: number for number, status in enumerate(STATUSES)}
_OPEN: Final = _NUMBERS["open"]
_OTHER: Final = _NUMBERS["other"]

STEPS: Final = 100_000_000
"""Into how many ticks a run is divided at least, if that is not finer than a nanosecond..."""
MAX_TICK_NS: Final = 1_000
"""... and the longest tick."""
MAX_TICKS: Final = 2**52
"""Longer times, 142 years of microseconds, are those of a broken file; JavaScript's numbers are exact up to there."""

_LEAVES: Final = frozenset({EventType.BACKOFF, EventType.SLOT_WAIT, EventType.MARK})


class _Bar(NamedTuple):
    """A job that can be a parent."""

    row: int
    band: int
    ids: list[int]
    """Its event id and those of its insets: what is forgotten with it."""


class Picture:
    """Collect the bars and insets of a run.

    Attributes:
        tick_ns: Nanoseconds of one tick, the unit of all times in here: a power of ten.
        end: When the last thing ended, or the run was last seen, in ticks.
    """

    def __init__(self, run: Run) -> None:
        self.tick_ns = 1
        while self.tick_ns < MAX_TICK_NS and run.seen_ns >= 10 * self.tick_ns * STEPS:
            self.tick_ns *= 10
        self.end = self._seen = self._ticks(run.seen_ns)
        self.texts = Texts()
        self.errors = Errors()
        self.bands = Bands(self.texts)
        self.bar_payloads, self.inset_payloads = Payloads(), Payloads()
        self._last = 0
        self._parents: dict[int, tuple[_Bar, int]] = {}
        """By event id, the bar that it is in, and how deep its children are in that."""
        self._in_slot: dict[tuple[int, int], _Bar] = {}
        self.bars = Table(
            start=RISING,
            length=PLAIN,
            batch=NEAR,
            slot=PLAIN,
            kind=PLAIN,
            name=PLAIN,
            status=PLAIN,
            index=NEAR,  # from 1; 0 for none
            ready=NEAR,  # when it could have run, from the start of its batch
            attempts=PLAIN,
            busy=PLAIN,  # from 1; 0 for not measured
            error=PLAIN,
        )
        self.insets = Table(
            start=RISING,
            length=PLAIN,
            bar=NEAR,
            depth=PLAIN,
            kind=PLAIN,
            name=PLAIN,
            status=PLAIN,
            attempt=PLAIN,
            error=PLAIN,
        )

    def add(self, record: Record) -> None:
        """Take one record; those of a run come in order of start, and no child comes before its parent."""
        if record.type == EventType.JOB:
            self._add_job(record)
            return
        parent = None
        if record.job_index is not None and record.parent_id is not None:
            parent = self._parents.get(record.parent_id)
        if parent is None:  # outside of jobs, or in one that is not in the record or has ended long ago
            self._add_outside(record)
        else:
            self._add_inset(record, *parent)

    def bars_of(self, records: Iterable[Record]) -> dict[int, int]:
        """Return which bars `records` became, by event id; those that are not to be found are left out."""
        starts, indices = self.bars.column("start"), self.bars.column("index")
        found = {}
        for record in records:
            start, index = self._ticks(record.start_ns), _index(record)
            for row in range(bisect_left(starts, start), bisect_right(starts, start)):
                if indices[row] == index:
                    found[record.event_id] = row
        return found

    def _add_job(self, record: Record) -> None:
        start, end = self._span(record)
        place = self.bands.place(record, start, None if record.end_ns is None else end)
        previous = self._in_slot.get((place.band, place.slot))
        if previous is not None:
            for event_id in previous.ids:
                self._parents.pop(event_id, None)
        row = self._add_bar(record, start, end, place.batch, place.slot, place.ready)
        bar = self._in_slot[place.band, place.slot] = _Bar(row, place.band, [record.event_id])
        self._parents[record.event_id] = bar, 0

    def _add_outside(self, record: Record) -> None:
        start, end = self._span(record)
        slot = self.bands.row_outside(start, None if record.end_ns is None else end)
        self._add_bar(record, start, end, OUTSIDE, slot, start)
        if record.type == EventType.BATCH:
            self.bands.open(record, start, None if record.end_ns is None else end, -1)

    def _add_bar(self, record: Record, start: int, end: int, batch: int, slot: int, ready: int) -> int:
        status = self._status(record)
        queued = self._ticks(record.queue_ns or 0) if record.type == EventType.JOB else 0
        row = self.bars.add(
            start,
            end - start,
            batch,
            slot,
            self.texts.number(record.type),
            self.texts.number(record.name),
            status,
            _index(record),
            start - queued - ready,
            _bounded(record.attempt or 0),
            0 if record.busy_ns is None else 1 + self._ticks(record.busy_ns),
            self.errors.number(record.error),
        )
        if record.payload:
            self.bar_payloads.add(row, record.payload, is_well=status == 0)
        return row

    def _add_inset(self, record: Record, bar: _Bar, depth: int) -> None:
        start, end = self._span(record)
        status = self._status(record)
        row = self.insets.add(
            start,
            end - start,
            bar.row,
            depth,
            self.texts.number(record.type),
            self.texts.number(record.name),
            status,
            _bounded(record.attempt or 0),
            self.errors.number(record.error),
        )
        if record.payload:
            self.inset_payloads.add(row, record.payload, is_well=status == 0)
        if record.type == EventType.BATCH:
            self.bands.open(record, start, None if record.end_ns is None else end, bar.band)
        if record.type not in _LEAVES:
            bar.ids.append(record.event_id)
            self._parents[record.event_id] = bar, depth + 1

    def _span(self, record: Record) -> tuple[int, int]:
        """Return start and end of a record, in ticks; what has no end lasts until the run was last seen."""
        start = self._last = max(self._last, self._ticks(record.start_ns))
        end = max(start, self._seen if record.end_ns is None else self._ticks(record.end_ns))
        self.end = max(self.end, end)
        return start, end

    def _status(self, record: Record) -> int:
        if record.status is None:
            return _OPEN
        return _NUMBERS.get(record.status, _OTHER)

    def _ticks(self, ns: int) -> int:
        return _bounded(ns // self.tick_ns)


def _index(record: Record) -> int:
    return 0 if record.job_index is None else 1 + _bounded(record.job_index)


def _bounded(number: int) -> int:
    return 0 if number < 0 else number if number < MAX_TICKS else MAX_TICKS
