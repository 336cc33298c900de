"""Bands: the batches of a run, one above the other, with those that follow each other in one place.

A program that maps page after page makes a batch each time, and a job that gathers makes one per job. Batches of one
name, in jobs of one band, share their bands: each takes the lowest one that is free when it starts, as jobs take slots.
So what ran at the same time is drawn apart, and the picture is as high as the run was wide.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

from spanloom.events.keys import LIMIT, RUNNER
from spanloom.handlers._text import printable
from spanloom.store.model import Record
from spanloom.viewer._html_columns import NEAR, PLAIN, Table
from spanloom.viewer._html_texts import Texts
from spanloom.viewer.slots import Slots

__all__ = ["OUTSIDE", "Band", "Bands", "Place"]

MAX_BANDS: Final = 300
"""Batches drawn apart; the others of a run share one more band."""
_OTHERS: Final = MAX_BANDS + 1
"""Number of that one."""
OUTSIDE: Final = 0
"""The band, and the batch, of what happened outside of jobs."""


class Band(TypedDict):
    """One band as the page knows it."""

    name: str
    parent: int
    """The band of the job that the batches were started in; -1 for none."""
    note: str
    """Which runner, and its limit."""
    rows: int


class Place(NamedTuple):
    """Where a job is drawn."""

    batch: int
    """Number of the batch."""
    band: int
    slot: int
    ready: int
    """When the batch started: since when most jobs of it could have run."""


class Bands:
    """Find the band of each batch and the row of each job; one pass in order of start, all times in ticks."""

    def __init__(self, texts: Texts) -> None:
        self.all: list[Band] = []
        self.table = Table(band=NEAR, start=NEAR, name=PLAIN)
        self._texts = texts
        self._lanes = Slots()
        self._slots = Slots()
        self._by_key: dict[tuple[int, str, int], int] = {}
        self._tenants: dict[int, int] = {}
        """By band, the id of the batch that is in it, or was the last one there."""
        self._batches: dict[int, tuple[int, int, int]] = {}
        """By id, the number, the band and the start of the batches that are in a band."""
        self._add_band("outside of jobs", -1, "")
        self._add_batch(OUTSIDE, 0, "outside of jobs")

    def open(self, batch: Record, start: int, end: int | None, parent: int) -> None:
        """Give `batch`, which was started from a job in the band `parent`, a band."""
        self._open(batch.event_id, batch.name, start, end, parent, _note(batch))

    def place(self, job: Record, start: int, end: int | None) -> Place:
        """Return the place of `job`."""
        batch_id = job.batch_id or 0
        known = self._batches.get(batch_id)
        if known is None:  # the record of the batch is lost, or the file is not what it should be
            known = self._open(batch_id, job.name, start, None, -1, "its batch is not in the record")
        number, band, ready = known
        return Place(number, band, self._slots.take(band, start, end), ready)

    def row_outside(self, start: int, end: int | None) -> int:
        """Return the row of something that happened outside of jobs.

        What encloses it has started before it and takes a lower row: the rows of one trace are its flame graph.
        """
        return self._slots.take(OUTSIDE, start, end)

    def measured(self) -> list[Band]:
        """Return all bands, with the rows they have needed."""
        for number, band in enumerate(self.all):
            band["rows"] = self._slots.width(number)
        return self.all

    def _open(
        self, batch_id: int, name: str, start: int, end: int | None, parent: int, note: str
    ) -> tuple[int, int, int]:
        lane = self._lanes.take((parent, name), start, end)
        band = self._by_key.get((parent, name, lane))
        if band is None:
            band = min(len(self.all), _OTHERS)
            if band < _OTHERS:
                self._add_band(name, parent, note)
                self._by_key[parent, name, lane] = band
            elif len(self.all) == _OTHERS:
                self._add_band("other batches", -1, note)
        if band < _OTHERS:
            self._batches.pop(self._tenants.get(band, 0), None)
            self._tenants[band] = batch_id
        opened = self._batches[batch_id] = self._add_batch(band, start, name), band, start
        return opened

    def _add_band(self, name: str, parent: int, note: str) -> None:
        self.all.append(Band(name=printable(name), parent=parent, note=note, rows=0))

    def _add_batch(self, band: int, start: int, name: str) -> int:
        return self.table.add(band, start, self._texts.number(name))


def _note(batch: Record) -> str:
    payload = batch.payload or {}
    runner, limit = payload.get(RUNNER), payload.get(LIMIT)
    parts = [str(runner)] if isinstance(runner, str) else []
    if isinstance(limit, int):
        parts.append(f"limit {limit:,}")
    return printable(", ".join(parts))
