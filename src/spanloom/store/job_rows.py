"""The jobs among the events, some hundreds at a time, column by column.

Nearly all events are jobs that went well, so what is done with each of these is what a record costs. A column of five
hundred is worked out by the interpreter's own loops in a fraction of the time that five hundred turns of ours take, and
what the jobs have in common is not written down once more for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import astuple

from spanloom.events.event import JobDetail, JobEvent, JobFamily
from spanloom.events.ids import MASK, STRIDE

__all__ = ["JobColumns", "JobRow", "Shared", "columns_of", "signed_ids_at"]

_SIGN: Final = 1 << 63

JobRow = tuple[int, int, int, int]
"""Start, id, index, end of a job that went well; times as its event has them, the id as SQLite keeps it."""


class Shared(NamedTuple):
    """What such jobs have in common: numbers of their label and trace, their batch, and since when they could run."""

    label: int
    trace: int
    batch_id: int
    ready_ns: int | None


class JobColumns(NamedTuple):
    """Some jobs of one family, see `JobEvent`."""

    family: JobFamily
    indexes: Sequence[int]
    starts_ns: Sequence[int]
    ends_ns: Sequence[int | None]
    details: Sequence[JobDetail | None]

    def parted(self) -> tuple[JobColumns | None, JobColumns | None]:
        """Return those that have no detail, and those that have one; ``None`` for no jobs."""
        plain = self.details.count(None)
        if plain == len(self.details):
            return self, None
        if not plain:
            return None, self
        jobs: list[tuple[Any, ...]] = list(zip(*self[1:], strict=True))
        without = zip(*(job for job in jobs if job[3] is None), strict=True)
        others = zip(*(job for job in jobs if job[3] is not None), strict=True)
        return JobColumns(self.family, *without), JobColumns(self.family, *others)


def columns_of(jobs: Iterable[JobEvent]) -> Iterator[JobColumns]:
    """Yield the columns of `jobs`, family by family."""
    rows: list[tuple[Any, ...]] = list(map(astuple, jobs))
    if not rows:
        return
    families, *columns = zip(*rows, strict=True)
    if families.count(families[0]) == len(families):
        yield JobColumns(families[0], *columns)
        return
    parts: dict[JobFamily, list[tuple[Any, ...]]] = {}
    for row in rows:
        parts.setdefault(row[0], []).append(row[1:])
    for family, part in parts.items():
        yield JobColumns(family, *zip(*part, strict=True))


def signed_ids_at(base: int, indexes: Iterable[int]) -> list[int]:
    """Return the ids of the items at `indexes` of a range, see `event_id_at`, as SQLite keeps them."""
    first = base + STRIDE + _SIGN
    ids = [((first + index * STRIDE) & MASK) - _SIGN for index in indexes]
    if 0 in ids:
        ids[ids.index(0)] = base - _SIGN
    return ids
